import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashSlot } from '@spanbuf/keys';
import type { Script } from '@spanbuf/store/testing/controlled';
import { startRedis, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { FrozenClock } from './frozen-clock.ts';

export const TOPOLOGIES = ['node', 'cluster'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/** One command as a client sends it. */
export interface Command {
  readonly name: string;
  readonly args: readonly (string | number | Buffer)[];
}

/** What a pipeline answers to one command, as ioredis has it. */
export type Result = [Error | null, unknown];

const SLOTS = 16_384;
/** Without it slots are taken for lost when the clock jumps. */
const NODE_TIMEOUT_MS = 2_000_000_000;
const TICK_MS = 20;

/** Real Redis servers that live by a clock of ours, used for one run after the other. */
export class SimulationServers {
  readonly topology: Topology;
  readonly clock: FrozenClock;
  /** Index of the node that has a slot. */
  readonly nodeOfSlot: readonly number[];
  readonly #connections: readonly Redis[];
  readonly #stop: () => Promise<void>;

  private constructor(
    topology: Topology,
    clock: FrozenClock,
    connections: readonly Redis[],
    nodeOfSlot: readonly number[],
    stop: () => Promise<void>,
  ) {
    this.topology = topology;
    this.clock = clock;
    this.#connections = connections;
    this.nodeOfSlot = nodeOfSlot;
    this.#stop = stop;
  }

  static async start(topology: Topology): Promise<SimulationServers> {
    const directory = mkdtempSync(join(tmpdir(), 'spanbuf-simulation-'));
    const clock = new FrozenClock(directory);
    // Nodes of a cluster need some time to find together.
    const ticking = setInterval(() => clock.set(clock.nowMs + TICK_MS), TICK_MS);
    // The allocator's own thread waits by wall time: without end, and as fast as it can, where that stands still.
    const options = { env: clock.env, args: ['--enable-debug-command', 'yes', '--jemalloc-bg-thread', 'no'] };
    try {
      const servers =
        topology === 'node'
          ? await startRedis(options).then((server) => ({ nodes: [server], stop: () => server.stop() }))
          : await startRedisCluster({ ...options, nodeTimeoutMs: NODE_TIMEOUT_MS });
      const connections = servers.nodes.map(({ connection }) => new Redis(connection));
      // Keys that have expired go when they are asked for, not when the server finds the time.
      await Promise.all(connections.map((connection) => connection.call('DEBUG', 'SET-ACTIVE-EXPIRE', '0')));
      const nodeOfSlot = new Array<number>(SLOTS).fill(0);
      if (topology === 'cluster') {
        const ranges = (await connections[0]?.call('CLUSTER', 'SLOTS')) as [number, number, [string, number]][];
        for (const [first, last, [, port]] of ranges) {
          const node = servers.nodes.findIndex((server) => server.port === port);
          nodeOfSlot.fill(node, first, last + 1);
        }
      }
      return new SimulationServers(topology, clock, connections, nodeOfSlot, async () => {
        for (const connection of connections) connection.disconnect();
        await servers.stop();
        clock.close();
        rmSync(directory, { recursive: true, force: true });
      });
    } finally {
      clearInterval(ticking);
    }
  }

  get nodeCount(): number {
    return this.#connections.length;
  }

  nodeOf(key: string): number {
    return this.nodeOfSlot[hashSlot(key)] as number;
  }

  /** Empty, at a time, and with these scripts loaded and no other ones. */
  async reset(nowMs: number, scripts: readonly Script[]): Promise<void> {
    this.clock.set(nowMs);
    await Promise.all(
      this.#connections.map((connection) => {
        const pipeline = connection.pipeline().flushall().script('FLUSH');
        for (const { source } of scripts) pipeline.script('LOAD', source);
        return pipeline.exec();
      }),
    );
  }

  /** Sends commands in one pipeline. Also answers how many keys the node has that would never expire. */
  async exec(node: number, commands: readonly Command[]): Promise<{ results: Result[]; eternalKeys: number }> {
    const pipeline = (this.#connections[node] as Redis).pipeline();
    for (const { name, args } of commands) pipeline.callBuffer(name, ...args);
    pipeline.info('keyspace');
    const results = (await pipeline.exec()) as Result[];
    const [, keys = 0, expires = 0] = /keys=(\d+),expires=(\d+)/.exec(String(results.pop()?.[1])) ?? [];
    return { results, eternalKeys: Number(keys) - Number(expires) };
  }

  /** All keys that have not expired. */
  async keys(): Promise<string[]> {
    const keys = await Promise.all(this.#connections.map((connection) => connection.keys('*')));
    return keys.flat().sort();
  }

  async keysWithoutTtl(node: number): Promise<string[]> {
    const connection = this.#connections[node] as Redis;
    const keys = await connection.keys('*');
    const ttls = await Promise.all(keys.map((key) => connection.ttl(key)));
    return keys.filter((_, i) => ttls[i] === -1).sort();
  }

  stop(): Promise<void> {
    return this.#stop();
  }
}
