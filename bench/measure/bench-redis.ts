/** The Redis under measurement, one node or a cluster, and what its nodes say about themselves. */
import { once } from 'node:events';
import { startRedis, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Cluster, Redis } from 'ioredis';
import type { CommandCost, Cost } from './cost.ts';

/** One command that a client sent, as SLOWLOG has it. */
export interface LoggedCommand {
  readonly micros: number;
  /** Its name first. At most 32, of 128 characters each. */
  readonly args: readonly string[];
  /** Which node, from 0. */
  readonly node: number;
}

/** Commands that the benchmark and the client send for themselves. */
const OWN_COMMANDS = new Set([
  'slowlog',
  'config',
  'latency',
  'cluster',
  'info',
  'memory',
  'flushall',
  'dbsize',
  'hello',
  'client',
  'command',
]);

interface Counters {
  readonly cpuMicros: readonly number[];
  readonly commands: ReadonlyMap<string, CommandCost>;
  readonly inBytes: number;
  readonly outBytes: number;
}

export class BenchRedis {
  readonly client: Redis | Cluster;
  readonly #stop: () => Promise<void>;
  /** By kind of work, and command: the part of its calls that clients sent; the others came from scripts. */
  readonly #sentShares = new Map<string, ReadonlyMap<string, number>>();

  private constructor(client: Redis | Cluster, stop: () => Promise<void>) {
    this.client = client;
    this.#stop = stop;
  }

  /** One master is no cluster. */
  static async start(masters: number): Promise<BenchRedis> {
    if (masters === 1) {
      const server = await startRedis();
      const client = new Redis({ ...server.connection, connectTimeout: 2_000 });
      await once(client, 'ready');
      return new BenchRedis(client, async () => {
        client.disconnect();
        await server.stop();
      });
    }
    const servers = await startRedisCluster({ masters });
    const client = new Cluster([...servers.seeds], {
      slotsRefreshInterval: 5_000,
      enableAutoPipelining: false,
      redisOptions: { connectTimeout: 2_000 },
    });
    await once(client, 'ready');
    return new BenchRedis(client, async () => {
      client.disconnect();
      await servers.stop();
    });
  }

  async stop(): Promise<void> {
    await this.#stop();
  }

  get nodes(): Redis[] {
    return this.client instanceof Cluster ? this.client.nodes('master') : [this.client];
  }

  /** Deletes everything, at once; scripts stay loaded. */
  async clear(): Promise<void> {
    await this.onEachNode((node) => node.flushall('SYNC'));
  }

  onEachNode<T>(action: (node: Redis) => Promise<T>): Promise<T[]> {
    return Promise.all(this.nodes.map(action));
  }

  /**
   * Garbage of earlier work is collected before the clock starts, where the runtime lets us.
   * @param kind - Of {@link learnSentShares}; without it all commands count as sent.
   */
  async measure<T>(action: () => Promise<T> | T, kind = ''): Promise<{ result: T; cost: Cost }> {
    globalThis.gc?.();
    const before = await this.#counters();
    const cpuBefore = process.cpuUsage();
    const startedMs = performance.now();
    const result = await action();
    const wallMicros = (performance.now() - startedMs) * 1000;
    const cpu = process.cpuUsage(cpuBefore);
    const after = await this.#counters();
    const nodeMicros = after.cpuMicros.map((micros, i) => micros - (before.cpuMicros[i] as number));
    const cost = {
      wallMicros,
      clientMicros: cpu.user + cpu.system,
      redisMicros: nodeMicros.reduce((sum, micros) => sum + micros, 0),
      busiestNodeMicros: Math.max(...nodeMicros),
      commands: commandsBetween(before.commands, after.commands, this.#sentShares.get(kind) ?? new Map()),
      inBytes: after.inBytes - before.inBytes,
      outBytes: after.outBytes - before.outBytes,
    };
    return { result, cost };
  }

  /**
   * Finds out what share of each command's calls is sent, and what share comes from scripts, whose time contains theirs:
   * commandstats counts both alike. Do here once what is measured later.
   */
  async learnSentShares(kind: string, action: () => Promise<unknown>): Promise<LoggedCommand[]> {
    await this.logCommands(0);
    const before = await this.#counters();
    await action();
    const after = await this.#counters();
    const logged = await this.loggedCommands();
    await this.logCommands(-1);
    const sent = new Map<string, number>();
    for (const { args } of logged) {
      const name = (args[0] ?? '').toLowerCase();
      sent.set(name, (sent.get(name) ?? 0) + 1);
    }
    const all = commandsBetween(before.commands, after.commands, new Map());
    const shares = [...all].map(([name, { calls }]): [string, number] => {
      return [name, Math.min(1, (sent.get(name.split('|')[0] as string) ?? 0) / calls)];
    });
    this.#sentShares.set(kind, new Map(shares));
    return logged;
  }

  /** Logs every command that takes at least this long, from now on, and forgets those logged before. */
  async logCommands(fromMicros: number): Promise<void> {
    await this.onEachNode(async (node) => {
      await node.config('SET', 'slowlog-log-slower-than', fromMicros, 'slowlog-max-len', 1_000_000);
      await node.slowlog('RESET');
    });
  }

  /** What was logged on all nodes since {@link logCommands}, node by node in their order, without what scripts called. */
  async loggedCommands(): Promise<LoggedCommand[]> {
    const logs = await this.onEachNode((node) => node.slowlog('GET', -1) as Promise<unknown[][]>);
    return logs.flatMap((log, node) =>
      log.reverse().flatMap(([, , micros, args, peer]): LoggedCommand[] => {
        const words = (args as unknown[]).map(String);
        if (isInsideScript(String(peer)) || OWN_COMMANDS.has((words[0] ?? '').toLowerCase())) return [];
        return [{ micros: Number(micros), args: words, node }];
      }),
    );
  }

  /** used_memory of each node without what its clients' buffers take, once what can be freed is freed. */
  usedMemory(): Promise<number[]> {
    return this.onEachNode(async (node) => {
      await node.memory('PURGE');
      const info = await node.info('memory');
      return infoNumber(info, /used_memory:(\d+)/) - infoNumber(info, /mem_clients_normal:(\d+)/);
    });
  }

  async #counters(): Promise<Counters> {
    const infos = await this.onEachNode((node) => node.call('INFO', 'cpu', 'commandstats', 'stats') as Promise<string>);
    const sum = (pattern: RegExp) => infos.reduce((total, info) => total + infoNumber(info, pattern), 0);
    const commands = new Map<string, CommandCost>();
    for (const [, name = '', calls, micros] of infos.flatMap((info) => [
      ...info.matchAll(/cmdstat_(\S+):calls=(\d+),usec=(\d+)/g),
    ])) {
      const known = commands.get(name) ?? { calls: 0, micros: 0 };
      commands.set(name, { calls: known.calls + Number(calls), micros: known.micros + Number(micros) });
    }
    return {
      cpuMicros: infos.map(
        (info) => (infoNumber(info, /used_cpu_user:([\d.]+)/) + infoNumber(info, /used_cpu_sys:([\d.]+)/)) * 1e6,
      ),
      commands,
      inBytes: sum(/total_net_input_bytes:(\d+)/),
      outBytes: sum(/total_net_output_bytes:(\d+)/),
    };
  }
}

/** Runs a case on one or several, which end with it. */
export async function withRedis<T>(
  masters: readonly number[],
  use: (...redis: BenchRedis[]) => Promise<T>,
): Promise<T> {
  const started = await Promise.allSettled(masters.map((count) => BenchRedis.start(count)));
  const running = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  try {
    for (const result of started) if (result.status === 'rejected') throw result.reason;
    return await use(...running);
  } finally {
    await Promise.all(running.map((redis) => redis.stop()));
  }
}

/** What clients sent. */
function commandsBetween(
  before: ReadonlyMap<string, CommandCost>,
  after: ReadonlyMap<string, CommandCost>,
  shares: ReadonlyMap<string, number>,
): Map<string, CommandCost> {
  const commands = new Map<string, CommandCost>();
  for (const [name, { calls, micros }] of after) {
    if (OWN_COMMANDS.has(name.split('|')[0] as string)) continue;
    const was = before.get(name) ?? { calls: 0, micros: 0 };
    const share = shares.get(name) ?? 1;
    const cost = { calls: (calls - was.calls) * share, micros: (micros - was.micros) * share };
    if (cost.calls > 0) commands.set(name, cost);
  }
  return commands;
}

/** 0 where the line is not there. */
function infoNumber(info: string, pattern: RegExp): number {
  return Number(pattern.exec(info)?.[1] ?? 0);
}

/** The client that runs a script's own commands has no address. */
function isInsideScript(peer: string): boolean {
  return !/:[1-9]\d*$/.test(peer);
}
