/** The three-node cluster under measurement, and what its nodes say about themselves. */
import { once } from 'node:events';
import { startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Cluster, type Redis } from 'ioredis';

/** What some work cost. Microseconds; Redis sums over the nodes. */
export interface Cost {
  readonly wallMicros: number;
  /** CPU time of this process, all threads. */
  readonly clientMicros: number;
  /** CPU time of the nodes, network and parsing included (INFO cpu). */
  readonly redisMicros: number;
  /** Script calls, and the time the nodes spent in them (INFO commandstats). */
  readonly scriptCalls: number;
  readonly scriptMicros: number;
}

/** One command that a client sent, as SLOWLOG has it. */
export interface LoggedCommand {
  readonly micros: number;
  /** Its name first. At most 32, of 128 characters each. */
  readonly args: readonly string[];
  /** Which node, from 0. */
  readonly node: number;
}

const MASTERS = 3;

/** Commands that the benchmark and the client send for themselves. */
const OWN_COMMANDS = new Set(['slowlog', 'config', 'latency', 'cluster', 'info', 'memory', 'flushall', 'dbsize']);

export class BenchCluster {
  readonly client: Cluster;
  readonly #stop: () => Promise<void>;

  private constructor(client: Cluster, stop: () => Promise<void>) {
    this.client = client;
    this.#stop = stop;
  }

  static async start(): Promise<BenchCluster> {
    const servers = await startRedisCluster({ masters: MASTERS });
    const client = new Cluster([...servers.seeds], {
      slotsRefreshInterval: 5_000,
      enableAutoPipelining: false,
      redisOptions: { connectTimeout: 2_000 },
    });
    await once(client, 'ready');
    return new BenchCluster(client, async () => {
      client.disconnect();
      await servers.stop();
    });
  }

  async stop(): Promise<void> {
    await this.#stop();
  }

  get nodes(): Redis[] {
    return this.client.nodes('master');
  }

  /** Deletes everything, at once; scripts stay loaded. */
  async clear(): Promise<void> {
    await this.onEachNode((node) => node.flushall('SYNC'));
  }

  onEachNode<T>(action: (node: Redis) => Promise<T>): Promise<T[]> {
    return Promise.all(this.nodes.map(action));
  }

  /** Garbage of earlier work is collected before the clock starts, where the runtime lets us. */
  async measure<T>(action: () => Promise<T> | T): Promise<{ result: T; cost: Cost }> {
    globalThis.gc?.();
    const before = await this.#counters();
    const cpuBefore = process.cpuUsage();
    const startedMs = performance.now();
    const result = await action();
    const wallMicros = (performance.now() - startedMs) * 1000;
    const cpu = process.cpuUsage(cpuBefore);
    const after = await this.#counters();
    const cost = {
      wallMicros,
      clientMicros: cpu.user + cpu.system,
      redisMicros: after.cpuMicros - before.cpuMicros,
      scriptCalls: after.scriptCalls - before.scriptCalls,
      scriptMicros: after.scriptMicros - before.scriptMicros,
    };
    return { result, cost };
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

  /** used_memory of each node, once what can be freed is freed. */
  usedMemory(): Promise<number[]> {
    return this.onEachNode(async (node) => {
      await node.memory('PURGE');
      return infoNumber(await node.info('memory'), /used_memory:(\d+)/);
    });
  }

  async #counters(): Promise<{ cpuMicros: number; scriptCalls: number; scriptMicros: number }> {
    const infos = await this.onEachNode((node) => node.call('INFO', 'cpu', 'commandstats') as Promise<string>);
    const sum = (pattern: RegExp) => infos.reduce((total, info) => total + infoNumber(info, pattern), 0);
    return {
      cpuMicros: (sum(/used_cpu_user:([\d.]+)/) + sum(/used_cpu_sys:([\d.]+)/)) * 1e6,
      scriptCalls: sum(/cmdstat_evalsha:calls=(\d+)/),
      scriptMicros: sum(/cmdstat_evalsha:calls=\d+,usec=(\d+)/),
    };
  }
}

/** 0 where the line is not there: a command that was never called. */
function infoNumber(info: string, pattern: RegExp): number {
  return Number(pattern.exec(info)?.[1] ?? 0);
}

/** The client that runs a script's own commands has no address. */
function isInsideScript(peer: string): boolean {
  return !/:[1-9]\d*$/.test(peer);
}
