/** All that chaos is brought upon: three Redis shards with a replica each, a broker, two of each app, and proxies between. */
import { setTimeout as delay } from 'node:timers/promises';
import { createKafka, type Kafka } from '@spanbuf/kafka';
import { ChildProgram, until } from '@spanbuf/stack/processes';
import { createLedger } from '@spanbuf/store';
import { type KafkaServers, startKafka } from '@spanbuf/tooling/kafka-servers';
import { LinkProxy } from '@spanbuf/tooling/link-proxy';
import { type RedisClusterServers, type RedisServer, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Cluster, Redis } from 'ioredis';
import type { BooksAndLog } from './judge-ledger.ts';
import { CONSUMERS, FLUSHERS, LEASE_SECONDS, NODE_TIMEOUT_SECONDS, SESSION_SECONDS, SHARDS } from './schedule.ts';
import { SupervisedApp } from './supervised-app.ts';

const APPS = `${import.meta.dirname}/../apps`;
export const TOPICS = { input: 'ingest-spans', output: 'buffered-segments', deadLetters: 'ingest-spans-dlq' } as const;
const CONSUMER_GROUP = 'spanbuf-consumer';
const INPUT_PARTITIONS = 6;
/** Clocks of apps are shifted. */
const BROKER_TIME = { 'message.timestamp.type': 'LogAppendTime' };
export const REDIS_MEGABYTES = 512;
const ANSWER_MS = 5_000;
/** For recovery from any group of faults, on a busy machine. */
const RECOVERY_SECONDS = 120;
const DRAIN_SECONDS = 300;
const MESSAGES_READ = 'spanbuf_consumer_messages_total';

export type CommitMode = 'buffered' | 'flushed';

/** Short, so that much happens within minutes, and longer than the pauses inside a generated segment. */
export const SETTINGS = {
  SPANBUF_ROOT_TIMEOUT_SECONDS: '4',
  SPANBUF_TIMEOUT_SECONDS: '12',
  SPANBUF_MAX_AGE_SECONDS: '30',
  SPANBUF_LEASE_SECONDS: String(LEASE_SECONDS),
  SPANBUF_SESSION_TIMEOUT_SECONDS: String(SESSION_SECONDS),
  SPANBUF_CLOCK_GRACE_SECONDS: '90',
} as const;

export interface ChaosSystemOptions {
  readonly mode: CommitMode;
  /** For logs of the apps. */
  readonly folder: string;
}

/** The two servers of a shard, as they are now. */
export interface Shard {
  readonly master: RedisServer;
  readonly replica: RedisServer;
}

export class ChaosSystem {
  readonly apps: ReadonlyMap<string, SupervisedApp>;
  readonly redis: RedisClusterServers;
  readonly kafkaServers: KafkaServers;
  readonly kafka: Kafka;
  readonly #proxies: ReadonlyMap<number, LinkProxy>;
  readonly #kafkaProxy: LinkProxy;
  #load: ChildProgram | undefined;

  private constructor(
    servers: { redis: RedisClusterServers; kafkaServers: KafkaServers },
    proxies: { redis: ReadonlyMap<number, LinkProxy>; kafka: LinkProxy },
    { mode, folder }: ChaosSystemOptions,
  ) {
    this.redis = servers.redis;
    this.kafkaServers = servers.kafkaServers;
    this.#proxies = proxies.redis;
    this.#kafkaProxy = proxies.kafka;
    this.kafka = createKafka({ brokers: [this.kafkaServers.bootstrap], clientId: 'spanbuf-chaos' });
    const env = {
      ...SETTINGS,
      ...(mode !== 'buffered' && { SPANBUF_COMMIT: mode }),
      SPANBUF_REDIS_URL: `redis-cluster://${[...proxies.redis.values()].map(({ port }) => `127.0.0.1:${port}`)}`,
      SPANBUF_KAFKA_BROKERS: `127.0.0.1:${proxies.kafka.port}`,
      SPANBUF_INPUT_TOPIC: TOPICS.input,
      SPANBUF_OUTPUT_TOPIC: TOPICS.output,
      SPANBUF_DLQ_TOPIC: TOPICS.deadLetters,
      SPANBUF_CONSUMER_GROUP: CONSUMER_GROUP,
    };
    const appOf = (name: string): SupervisedApp =>
      new SupervisedApp({ name, main: `${APPS}/${name.replace(/-\d+$/, '')}/dist/main.js`, env, folder });
    this.apps = new Map([...FLUSHERS, ...CONSUMERS].map((name) => [name, appOf(name)]));
  }

  /** Everything runs and is ready. @throws Error when something does not start; nothing is left then. */
  static async start(options: ChaosSystemOptions): Promise<ChaosSystem> {
    const kafkaProxy = await LinkProxy.open();
    const redisProxies = new Map<number, LinkProxy>();
    const openDetour = async (port: number): Promise<number> => {
      const proxy = await LinkProxy.open();
      proxy.passTo(port);
      redisProxies.set(port, proxy);
      return proxy.port;
    };
    const memory = ['--maxmemory', `${REDIS_MEGABYTES}mb`, '--maxmemory-policy', 'noeviction'];
    const [redis, kafkaServers] = await Promise.all([
      startRedisCluster({ replicas: 1, nodeTimeoutMs: 1_000 * NODE_TIMEOUT_SECONDS, args: memory, openDetour }),
      startKafka({
        heapMegabytes: 512,
        config: { 'advertised.listeners': `PLAINTEXT://127.0.0.1:${kafkaProxy.port}` },
      }),
    ]);
    kafkaProxy.passTo(Number(kafkaServers.bootstrap.split(':')[1]));
    const system = new ChaosSystem({ redis, kafkaServers }, { redis: redisProxies, kafka: kafkaProxy }, options);
    try {
      await system.#startApps();
      return system;
    } catch (error) {
      await system.stop();
      throw error;
    }
  }

  async #startApps(): Promise<void> {
    await this.kafka.createTopics([
      { topic: TOPICS.input, partitionCount: INPUT_PARTITIONS },
      { topic: TOPICS.output, partitionCount: 3, config: { 'max.message.bytes': '11000000', ...BROKER_TIME } },
      { topic: TOPICS.deadLetters, partitionCount: 1, config: BROKER_TIME },
    ]);
    for (const app of this.apps.values()) app.start();
    await this.recovered();
  }

  /** @throws Error for a name that is none. */
  app(name: string): SupervisedApp {
    const app = this.apps.get(name);
    if (app === undefined) throw new Error(`there is no ${name}`);
    return app;
  }

  /** @param name - One of `SHARDS`. */
  async shard(name: string): Promise<Shard> {
    const index = SHARDS.indexOf(name);
    const nodes = this.redis.nodes.filter((_, i) => i % SHARDS.length === index);
    const roles = await Promise.all(
      nodes.map(async (node) => String(((await callRedis(node, 'ROLE')) as unknown[])[0])),
    );
    const master = nodes[roles.indexOf('master')];
    const replica = nodes[roles.indexOf('slave')];
    if (master === undefined || replica === undefined) throw new Error(`${name} is ${roles.join(' and ')}`);
    return { master, replica };
  }

  /** What everyone but us reaches a node by. */
  proxyOf(node: RedisServer): LinkProxy {
    return this.#proxies.get(node.port) as LinkProxy;
  }

  /** What everyone reaches the broker by. */
  get kafkaProxy(): LinkProxy {
    return this.#kafkaProxy;
  }

  /** `spanbuf generate`, until `stopLoad()`. Resolves when it has reached all consumers. */
  async startLoad(args: readonly string[]): Promise<void> {
    const target = ['--kafka', this.kafkaServers.bootstrap, '--topic', TOPICS.input];
    this.#load = new ChildProgram({
      name: 'load',
      main: `${APPS}/cli/dist/main.js`,
      args: ['generate', ...target, ...args],
    });
    await until('the load has reached all consumers', RECOVERY_SECONDS, async () => {
      const answers = await Promise.allSettled(CONSUMERS.map((name) => this.app(name).metrics()));
      return answers.every((each) => each.status === 'fulfilled' && each.value.sum(MESSAGES_READ) > 0);
    });
  }

  /** Resolves when all that it had begun to send is in Kafka. @throws Error when it had ended before. */
  async stopLoad(): Promise<void> {
    if (this.#load === undefined) return;
    if (this.#load.hasEnded) throw new Error(`the load ended by itself:\n${this.#load.lastWords}`);
    await this.#load.stop();
  }

  /** Waits until nothing is wrong any more. @throws Error that says what still is. */
  async recovered(): Promise<void> {
    let problem = '';
    const isWell = async (): Promise<boolean> => {
      problem = await this.#problem();
      return problem === '';
    };
    await until('everything is well', RECOVERY_SECONDS, isWell).catch((error: Error) => {
      throw new Error(`${error.message}: ${problem}`, { cause: error });
    });
  }

  async #problem(): Promise<string> {
    try {
      await this.redis.settled();
      await this.kafka.check();
    } catch (error) {
      return (error as Error).message;
    }
    for (const app of this.apps.values()) {
      const problem = await app.readyProblem();
      if (problem !== '') return `${app.name}: ${problem}`;
    }
    return '';
  }

  /** Waits until everything that was sent is read, and nothing is held. @throws Error that says what is left. */
  async drained(): Promise<void> {
    let left = '';
    const isDrained = async (): Promise<boolean> => {
      left = await this.#left().catch((error: Error) => error.message);
      if (left !== '') await delay(500);
      return left === '';
    };
    await until('everything is out', DRAIN_SECONDS, isDrained).catch((error: Error) => {
      throw new Error(`${error.message}: ${left}`, { cause: error });
    });
  }

  async #left(): Promise<string> {
    const watermarks = await this.kafka.readWatermarks(TOPICS.input);
    const committed = await this.kafka.readCommitted(CONSUMER_GROUP, TOPICS.input);
    let lag = 0n;
    for (const [partition, { high, low }] of watermarks) lag += high - (committed.get(partition) ?? low);
    const metrics = await this.app(FLUSHERS[0]).metrics();
    const queued = (state: string): number => metrics.sum('spanbuf_flusher_queued_segments', { state });
    const waiting = queued('due') + queued('in-flight');
    return lag === 0n && waiting === 0 ? '' : `${lag} messages not committed, ${waiting} segments in the queues`;
  }

  /** The ledger, beside what is in the log. @throws Error when Redis or Kafka does not answer. */
  async readBooks(): Promise<BooksAndLog[]> {
    const watermarks = await this.kafka.readWatermarks(TOPICS.input);
    const client = new Cluster(this.redis.seeds.map(({ host, port }) => ({ host, port })));
    client.on('error', () => undefined);
    try {
      const ledger = createLedger(client);
      const books = await ledger.read([...watermarks.keys()]);
      const receipts = await ledger.copy([...watermarks.keys()]);
      return [...watermarks].map(([partition, { high }]) => ({
        partition,
        highOffset: high,
        books: books.filter((each) => each.partition === partition),
        receipts: receipts.filter((each) => each.partition === partition),
      }));
    } finally {
      client.disconnect();
    }
  }

  /** Segments that were put aside. @throws Error when the flusher does not answer. */
  async parkedCount(): Promise<number> {
    return (await this.app(FLUSHERS[0]).metrics()).sum('spanbuf_flusher_queued_segments', { state: 'parked' });
  }

  /** For good. */
  async stopApps(): Promise<void> {
    await Promise.all([...this.apps.values()].map((app) => app.stop()));
  }

  async stop(): Promise<void> {
    await this.#load?.kill();
    await this.stopApps();
    await this.kafka.close().catch(() => undefined);
    await Promise.all([this.kafkaServers.stop(), this.redis.stop()]);
    await Promise.all([this.#kafkaProxy, ...this.#proxies.values()].map((proxy) => proxy.close()));
  }
}

/** One command, on a connection of its own that no proxy is in the way of. */
export async function callRedis(node: RedisServer, command: string, ...args: (string | number)[]): Promise<unknown> {
  const client = new Redis({
    ...node.connection,
    enableReadyCheck: false,
    retryStrategy: () => null,
    commandTimeout: ANSWER_MS,
  });
  client.on('error', () => undefined);
  try {
    return await client.call(command, args);
  } finally {
    client.disconnect();
  }
}
