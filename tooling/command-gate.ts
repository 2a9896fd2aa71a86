/**
 * A proxy in front of one Redis node, for crash tests. It passes requests on one command at a time, the next one only
 * when the reply to the one before is complete, so that a pipeline can be cut between any two of its commands.
 *
 * Requests must be RESP arrays of bulk strings (what every client library sends). Commands without exactly one reply
 * (SUBSCRIBE and its relatives, MONITOR, SYNC, CLIENT REPLY) are refused. A blocking command holds up all connections.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { PUSH, parseRequest, RespSplitter } from './resp.ts';

const HOST = '127.0.0.1';

/** Commands that clients send by themselves. They pass without a hook and are not counted. */
export const SETUP_COMMANDS: ReadonlySet<string> = new Set([
  ...['ASKING', 'AUTH', 'CLIENT', 'CLUSTER', 'COMMAND', 'HELLO', 'INFO', 'QUIT', 'READONLY', 'READWRITE', 'SELECT'],
]);

const REFUSED_COMMANDS: ReadonlySet<string> = new Set([
  ...['SUBSCRIBE', 'PSUBSCRIBE', 'SSUBSCRIBE', 'UNSUBSCRIBE', 'PUNSUBSCRIBE', 'SUNSUBSCRIBE'],
  ...['MONITOR', 'SYNC', 'PSYNC', 'CLIENT REPLY'],
]);

export interface GateCommand {
  /** In capitals. */
  readonly name: string;
  /** Without the name. */
  readonly args: readonly Buffer[];
  /** Position among all commands of the sequence, from 0. Set-up commands are not counted. */
  readonly index: number;
  /** The port of the node that the gate stands before. */
  readonly targetPort: number;
}

/** `cut-before`: Redis never sees the command. `cut-after`: it takes effect, and the reply is dropped. */
export type GateDecision = 'pass' | 'cut-before' | 'cut-after';

export interface GateOptions {
  /** Called before a command is passed on. Must not send commands through the gate itself. */
  readonly onCommand?: (command: GateCommand) => GateDecision | Promise<GateDecision>;
  /** Called when the reply has arrived (also before `cut-after`) and awaited before the client gets it. */
  readonly afterCommand?: (command: GateCommand) => void | Promise<void>;
  /** Close new connections at once after a cut, until `reopen()`. */
  readonly refuseAfterCut?: boolean;
}

/**
 * The one order in which commands pass. Gates that share a sequence (one gate per cluster node) take turns, count
 * together and are cut together, as the connections of one crashed process are.
 */
export class CommandSequence {
  /** How many commands were counted so far, the one that was cut included. */
  commands = 0;
  /** The first error that a hook threw. The sequence is cut then, and refuses connections for good. */
  failure: unknown;
  #refusing = false;
  #tail: Promise<void> = Promise.resolve();
  readonly #options: GateOptions;
  readonly #connections = new Set<GateConnection>();

  constructor(options: GateOptions = {}) {
    this.#options = options;
  }

  get refusing(): boolean {
    return this.#refusing || this.failure !== undefined;
  }

  /** Destroys all client connections of all gates of the sequence; commands that wait are dropped. */
  cut(): void {
    this.#refusing = this.#options.refuseAfterCut ?? false;
    for (const connection of this.#connections) connection.destroy();
  }

  /** Accepts connections again after a cut. */
  reopen(): void {
    this.#refusing = false;
  }

  /** For gates: takes in a client's connection. */
  accept(client: Socket, target: { readonly port: number }, connections: Set<GateConnection>): void {
    if (this.refusing) {
      client.destroy();
      return;
    }
    const connection = new GateConnection(client, target, {
      request: (request) => this.#run(() => this.#pass(connection, request)),
      // Commands sent before the client hung up still count, as they do in Redis.
      hungUp: () => this.#run(async () => connection.destroy()),
      closed: () => {
        this.#connections.delete(connection);
        connections.delete(connection);
      },
    });
    this.#connections.add(connection);
    connections.add(connection);
  }

  #run(task: () => Promise<void>): void {
    this.#tail = this.#tail.then(task).catch((error: unknown) => {
      this.failure ??= error;
      this.cut();
    });
  }

  async #pass(connection: GateConnection, request: Buffer): Promise<void> {
    if (connection.destroyed) return;
    const [name = '', ...args] = parseRequest(request);
    const upper = name.toString().toUpperCase();
    if (REFUSED_COMMANDS.has(upper) || REFUSED_COMMANDS.has(`${upper} ${args[0]}`.toUpperCase())) {
      connection.reply(Buffer.from(`-ERR the command gate cannot pass ${upper}\r\n`));
    } else if (SETUP_COMMANDS.has(upper)) {
      connection.reply(await connection.forward(request));
    } else {
      await this.#passCounted(connection, request, {
        name: upper,
        args,
        index: this.commands++,
        targetPort: connection.targetPort,
      });
    }
  }

  async #passCounted(connection: GateConnection, request: Buffer, command: GateCommand): Promise<void> {
    const decision = (await this.#options.onCommand?.(command)) ?? 'pass';
    if (decision === 'cut-before') return this.cut();
    const reply = await connection.forward(request);
    // No reply: the node is gone, or someone called cut(); whether the command took effect is open.
    if (reply === undefined) return;
    await this.#options.afterCommand?.(command);
    if (decision === 'cut-after') this.cut();
    else connection.reply(reply);
  }
}

interface ConnectionEvents {
  request(request: Buffer): void;
  /** The client is gone. */
  hungUp(): void;
  /** The connection to Redis is gone, the last thing to happen. */
  closed(): void;
}

/** One client's connection and its own connection to Redis. */
class GateConnection {
  /** By the gate. A client that hung up is not destroyed until its commands have passed. */
  destroyed = false;
  readonly targetPort: number;
  readonly #client: Socket;
  readonly #upstream: Socket;
  #waiting: ((reply: Buffer | undefined) => void) | undefined;

  constructor(client: Socket, target: { readonly port: number }, events: ConnectionEvents) {
    this.targetPort = target.port;
    this.#client = client.setNoDelay();
    this.#upstream = connect(target.port, HOST).setNoDelay();
    this.#listen(client, (message) => events.request(message));
    this.#listen(this.#upstream, (message) => this.#receive(message));
    client.once('close', () => events.hungUp());
    this.#upstream.once('close', () => {
      this.destroy();
      events.closed();
    });
  }

  /** Sends a request to Redis and waits for its reply; undefined when the connection ends before. */
  forward(request: Buffer): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      if (this.destroyed) return resolve(undefined);
      this.#waiting = resolve;
      this.#upstream.write(request);
    });
  }

  reply(reply: Buffer | undefined): void {
    if (reply !== undefined && this.#client.writable) this.#client.write(reply);
  }

  /** Replies that were written before still reach the client. */
  destroy(): void {
    this.destroyed = true;
    this.#client.destroySoon();
    this.#upstream.destroy();
    this.#settle(undefined);
  }

  /** Like destroy, and drops what the client has not read. */
  abort(): void {
    this.destroy();
    this.#client.destroy();
  }

  #listen(socket: Socket, onMessage: (message: Buffer) => void): void {
    const splitter = new RespSplitter();
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      try {
        for (const message of splitter.push(chunk)) onMessage(message);
      } catch (error) {
        this.reply(Buffer.from(`-ERR the command gate cannot read this: ${(error as Error).message}\r\n`));
        this.destroy();
      }
    });
  }

  #receive(message: Buffer): void {
    // Redis pushes what nobody asked for between replies, never within one.
    if (message[0] === PUSH) this.reply(message);
    else this.#settle(message);
  }

  #settle(reply: Buffer | undefined): void {
    this.#waiting?.(reply);
    this.#waiting = undefined;
  }
}

export interface CommandGate {
  /** Clients connect to 127.0.0.1 and this port. */
  readonly port: number;
  /** How many commands were counted so far, by all gates of the sequence. */
  readonly commands: number;
  /** See `CommandSequence`. */
  cut(): void;
  reopen(): void;
  /** Destroys the gate's connections and stops listening. Rejects with the first error that a hook threw. */
  close(): Promise<void>;
}

/**
 * Opens a gate on a free port of loopback.
 * @param target the Redis node.
 * @param options hooks of this gate alone, or a `CommandSequence` to share.
 */
export async function openCommandGate(
  target: { readonly port: number },
  options: GateOptions | CommandSequence = {},
): Promise<CommandGate> {
  const sequence = options instanceof CommandSequence ? options : new CommandSequence(options);
  const connections = new Set<GateConnection>();
  const server = createServer((client) => sequence.accept(client, target, connections));
  await once(server.listen(0, HOST), 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    get commands() {
      return sequence.commands;
    },
    cut: () => sequence.cut(),
    reopen: () => sequence.reopen(),
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const connection of connections) connection.abort();
      await closed;
      if (sequence.failure !== undefined) throw sequence.failure;
    },
  };
}
