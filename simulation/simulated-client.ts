import type { Command as AnnouncedCommand, Redis } from 'ioredis';
import type { Command, Result, SimulationServers } from './servers.ts';

/** Sends a group of commands to a node, when the scheduler says so. */
export type Send = (node: number, commands: readonly Command[]) => Promise<Result[]>;

/** What a store uses of ioredis, over connections whose every round trip waits for its turn. */
export function simulatedClient(servers: SimulationServers, send: Send): Redis {
  const nodes = Array.from({ length: servers.nodeCount }, (_, node) => new SimulatedNode(node, send));
  if (servers.topology === 'node') return nodes[0] as unknown as Redis;
  const slots = servers.nodeOfSlot.map((node) => [`n${node}:0`]);
  const cluster = {
    isCluster: true,
    options: { redisOptions: {} },
    slots,
    nodes: () => nodes,
    on: () => cluster,
    refreshSlotsCache: (callback: () => void) => callback(),
  };
  return cluster as unknown as Redis;
}

/** What a store uses of a node: commands that are announced one by one, then written together. */
class SimulatedNode {
  readonly isCluster = false;
  readonly status = 'ready';
  readonly options: { readonly host: string; readonly port: number };
  readonly stream = {
    writable: true,
    /** A connection that was lost is there again at once. */
    destroy: () => undefined,
    write: () => void this.#flush(),
  };
  readonly #node: number;
  readonly #send: Send;
  #announced: AnnouncedCommand[] = [];

  constructor(node: number, send: Send) {
    this.options = { host: `n${node}`, port: 0 };
    this.#node = node;
    this.#send = send;
  }

  on(): this {
    return this;
  }

  sendCommand(command: AnnouncedCommand): void {
    this.#announced.push(command);
  }

  async #flush(): Promise<void> {
    const commands = this.#announced;
    this.#announced = [];
    try {
      const results = await this.#send(
        this.#node,
        commands.map(({ name, args }) => ({ name, args: args as Command['args'] })),
      );
      for (const [i, command] of commands.entries()) {
        const [error, reply] = results[i] as Result;
        if (error === null) command.resolve(reply);
        else command.reject(error);
      }
    } catch (error) {
      for (const command of commands) command.reject(error as Error);
    }
  }
}
