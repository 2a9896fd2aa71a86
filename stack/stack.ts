/** All of spanbuf on one machine, for trying out and for tests of the whole. */
import { createKafka, type Kafka } from '@spanbuf/kafka';
import { type KafkaServers, startKafka } from '@spanbuf/tooling/kafka-servers';
import { type RedisClusterServers, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { type AppProcess, ChildProgram, type LogLine, startApp } from './processes.ts';

const APPS = `${import.meta.dirname}/../apps`;
const mainOf = (app: 'cli' | 'consumer' | 'flusher'): string => `${APPS}/${app}/dist/main.js`;

export const TOPICS = { input: 'ingest-spans', output: 'buffered-segments', deadLetters: 'ingest-spans-dlq' } as const;
export const CONSUMER_GROUP = 'spanbuf-consumer';
/** Of each node, so that the consumer can tell when Redis is full. */
const REDIS_MEGABYTES = 1_024;
const KAFKA_MEGABYTES = 768;
const OUTPUT_PARTITIONS = 3;
/** How long an app may take to drain before it is ended. */
const STOP_SECONDS = 10;
/** Between two lines of an app that say the same. */
const QUIET_MS = 10_000;

export interface StackShape {
  readonly consumers: number;
  readonly flushers: number;
  /** Of the input topic. */
  readonly partitions: number;
  /** Settings of the apps, beside where Redis and Kafka are. */
  readonly consumerEnv: Readonly<Record<string, string>>;
  readonly flusherEnv: Readonly<Record<string, string>>;
  /** Told what is being done, and warnings of the apps. */
  readonly say: (text: string) => void;
}

/** What runs. Everything ends with `stop()`, and with this process, however that ends. */
export class Stack {
  #redis: RedisClusterServers | undefined;
  #servers: KafkaServers | undefined;
  #kafka: Kafka | undefined;
  readonly consumers: AppProcess[] = [];
  readonly flushers: AppProcess[] = [];
  #load: ChildProgram | undefined;

  /** @throws Error when something does not start. What did start runs until `stop()`. */
  async start({ consumers, flushers, partitions, consumerEnv, flusherEnv, say }: StackShape): Promise<void> {
    say('starting Redis Cluster and Kafka …');
    const memory = ['--maxmemory', `${REDIS_MEGABYTES}mb`, '--maxmemory-policy', 'noeviction'];
    const [redis, servers] = await Promise.allSettled([
      startRedisCluster({ args: memory }).then((started) => {
        this.#redis = started;
      }),
      startKafka({ heapMegabytes: KAFKA_MEGABYTES }).then((started) => {
        this.#servers = started;
      }),
    ]);
    for (const result of [redis, servers]) if (result.status === 'rejected') throw result.reason;
    this.#kafka = createKafka({ brokers: this.brokers.split(','), clientId: 'spanbuf-stack' });
    await this.#kafka.createTopics([
      { topic: TOPICS.input, partitionCount: partitions },
      // Segments may be longer than the 1 MiB that Kafka takes by default.
      { topic: TOPICS.output, partitionCount: OUTPUT_PARTITIONS, config: { 'max.message.bytes': '11000000' } },
      { topic: TOPICS.deadLetters, partitionCount: 1 },
    ]);
    say('starting the flushers and consumers …');
    // Flushers first: a consumer does not read while there is none.
    await this.#startApps('flusher', flushers, flusherEnv, say);
    await this.#startApps('consumer', consumers, consumerEnv, say);
  }

  async #startApps(
    app: 'consumer' | 'flusher',
    count: number,
    env: Readonly<Record<string, string>>,
    say: (text: string) => void,
  ): Promise<void> {
    const list = app === 'consumer' ? this.consumers : this.flushers;
    const started = Array.from({ length: count }, async (_, i) => {
      const name = `${app}-${i + 1}`;
      const onLog = troubleTeller(name, say);
      list[i] = await startApp({
        name,
        main: mainOf(app),
        env: { ...this.#environmentOf(app), ...env },
        onLog,
        onStderr: (line) => say(`${name}: ${line}`),
      });
    });
    const results = await Promise.allSettled(started);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** All apps that are ready. */
  get apps(): AppProcess[] {
    return [...this.consumers, ...this.flushers].filter((app) => app !== undefined);
  }

  /** `host:port`, of Kafka. */
  get brokers(): string {
    return this.#servers?.bootstrap ?? '';
  }

  get redisUrl(): string {
    return this.#redis?.url ?? '';
  }

  get kafka(): Kafka {
    if (this.#kafka === undefined) throw new Error('the stack has not started');
    return this.#kafka;
  }

  #environmentOf(app: 'consumer' | 'flusher'): Record<string, string> {
    const servers = { SPANBUF_REDIS_URL: this.redisUrl, SPANBUF_KAFKA_BROKERS: this.brokers };
    if (app === 'flusher') return { ...servers, SPANBUF_OUTPUT_TOPIC: TOPICS.output };
    return {
      ...servers,
      SPANBUF_INPUT_TOPIC: TOPICS.input,
      SPANBUF_DLQ_TOPIC: TOPICS.deadLetters,
      SPANBUF_CONSUMER_GROUP: CONSUMER_GROUP,
    };
  }

  /** `spanbuf generate`, to the input topic. */
  startLoad(args: readonly string[], say: (text: string) => void): ChildProgram {
    const target = ['--kafka', this.brokers, '--topic', TOPICS.input];
    this.#load = new ChildProgram({
      name: 'load',
      main: mainOf('cli'),
      args: ['generate', ...target, ...args],
      // How far it has come is shown anyway.
      onStderr: (line) => line.endsWith('spans/s') || say(`load: ${line}`),
    });
    return this.#load;
  }

  /** Where everything is, for people who want to look around. */
  get addresses(): string {
    const apps = this.apps.map((app) => `  ${app.name.padEnd(12)} ${app.url}/metrics`);
    return [
      `  Redis        ${this.redisUrl}`,
      `  Kafka        ${this.brokers}  (${Object.values(TOPICS).join(', ')})`,
      ...apps,
    ].join('\n');
  }

  /** In the order in which things depend on each other; an app that does not drain in time is ended. */
  async stop(): Promise<void> {
    await this.#load?.kill();
    await Promise.all(this.apps.map(stopOrKill));
    await this.#kafka?.close().catch(() => undefined);
    await Promise.all([this.#servers?.stop(), this.#redis?.stop()]);
  }
}

async function stopOrKill(app: AppProcess): Promise<void> {
  const timer = setTimeout(() => void app.kill(), STOP_SECONDS * 1_000);
  await app.stop();
  clearTimeout(timer);
}

/** Passes on warnings and errors, of each kind no more than one in a while. Dead letters are counted anyway. */
function troubleTeller(name: string, say: (text: string) => void): (line: LogLine) => void {
  const saidMs = new Map<string, number>();
  return ({ level, msg, time: _, name: __, instance: ___, version: ____, ...fields }) => {
    const nowMs = performance.now();
    if (!['warn', 'error', 'fatal'].includes(level) || msg.includes('dead-letter')) return;
    if (nowMs - (saidMs.get(msg) ?? Number.NEGATIVE_INFINITY) < QUIET_MS) return;
    saidMs.set(msg, nowMs);
    say(`${name} ${level}: ${msg} ${JSON.stringify(fields)}`);
  };
}
