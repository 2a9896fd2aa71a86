import { Command, type Redis } from 'ioredis';

/** A command as a node takes it. */
export interface NodeCommand {
  readonly name: string;
  readonly args: readonly (string | number | Buffer)[];
}

/** What a node answered to one command, bulk strings as buffers; or why it did not. */
export type NodeResult = readonly [error: Error | null, reply: unknown];

/**
 * Sends commands over the connection of a node in one write, in their order, and waits for all replies. What a pipeline of
 * ioredis does, for half of its CPU: that one makes a buffer of each command that has bytes in it, and then one of all of
 * them. See docs/decisions/0014-one-write-per-node.md.
 * @returns An error for each command that got no reply because the connection was lost; none of them is sent again.
 */
export function sendTogether(node: Redis, commands: readonly NodeCommand[]): Promise<NodeResult[]> {
  // Otherwise ioredis would keep the commands for a later connection, to which nobody writes their bytes.
  if (node.status !== 'ready' || !node.stream.writable) {
    return Promise.resolve(commands.map(() => [new Error('the connection is being closed'), undefined]));
  }
  const { keyPrefix } = node.options;
  const sent = commands.map(({ name, args }) => new WrittenCommand(name, args, keyPrefix));
  const bytes = encodeCommands(sent);
  const results = sent.map(({ promise }) =>
    promise.then(
      (reply): NodeResult => [null, reply],
      (error: Error): NodeResult => [error, undefined],
    ),
  );
  // Where ioredis writes them: nowhere.
  const nowhere = { isPipeline: true, destination: { redis: node }, write: () => undefined } as const;
  for (const command of sent) node.sendCommand(command, nowhere);
  node.stream.write(bytes);
  return Promise.all(results);
}

/** ioredis keeps it until its reply comes, and has nothing to write for it. */
class WrittenCommand extends Command {
  #isWritten = false;

  constructor(name: string, args: NodeCommand['args'], keyPrefix: string | undefined) {
    super(name, args as (string | number | Buffer)[], { replyEncoding: null, ...(keyPrefix && { keyPrefix }) });
    // Of a pipeline, and at no place of it that ioredis would find whole when the connection is lost: so it rejects it then, and
    // does not send it again.
    this.pipelineIndex = -1;
    // Nor a span of its own for each command where somebody listens to the diagnostics channel of ioredis.
    this.isTraced = true;
  }

  /** Nothing; but what it is should ioredis send it again all the same, lest replies go to the wrong commands. */
  override toWritable(stream: object): string | Buffer {
    if (this.#isWritten) return super.toWritable(stream);
    this.#isWritten = true;
    return '';
  }
}

/** RESP: an array of bulk strings for each command. */
function encodeCommands(commands: readonly Command[]): Buffer {
  const pieces: (string | Uint8Array)[] = [];
  let text = '';
  let mostBytes = 0;
  const endText = (): void => {
    pieces.push(text);
    mostBytes += MOST_UTF8_BYTES * text.length;
  };
  for (const { name, args } of commands) {
    text += `*${args.length + 1}\r\n$${name.length}\r\n${name}\r\n`;
    for (const arg of args) {
      // Command has made strings of numbers.
      if (typeof arg === 'string') {
        text += `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`;
        continue;
      }
      const bytes = arg as Buffer;
      text += `$${bytes.length}\r\n`;
      endText();
      pieces.push(bytes);
      mostBytes += bytes.length;
      text = '\r\n';
    }
  }
  endText();
  const out = Buffer.allocUnsafe(mostBytes);
  let at = 0;
  for (const piece of pieces) {
    if (typeof piece === 'string') {
      at += out.write(piece, at);
    } else {
      out.set(piece, at);
      at += piece.length;
    }
  }
  return out.subarray(0, at);
}

/** Of a UTF-16 unit. */
const MOST_UTF8_BYTES = 3;
