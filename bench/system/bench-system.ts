/** A broker, a Redis Cluster, and the services as they are built, on this machine. */
import { createKafka, type Kafka } from '@spanbuf/kafka';
import { type AppProcess, ChildProgram, startApp } from '@spanbuf/stack/processes';
import { type KafkaServers, startKafka } from '@spanbuf/tooling/kafka-servers';
import { type RedisClusterServers, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { cpuSeconds, folderBytes } from './process-usage.ts';

const KAFKA_MEGABYTES = 1_024;
const REDIS_MASTERS = 3;
export const INPUT_TOPIC = 'ingest-spans';

/** Settings of both services that are not the defaults: a backlog is old, and no reason not to be ready. */
const ENV = { SPANBUF_READY_MAX_LAG_SECONDS: '2592000', SPANBUF_READY_MAX_OVERDUE_SECONDS: '2592000' };

type Env = Readonly<Record<string, string>>;

/** CPU seconds of each process, those of Redis together. */
export type CpuTimes = Readonly<Record<string, number>>;

export class BenchSystem {
  readonly kafka: Kafka;
  readonly partitions: number;
  readonly #redis: RedisClusterServers;
  readonly #brokers: KafkaServers;
  #runs = 0;

  private constructor(redis: RedisClusterServers, brokers: KafkaServers, partitions: number) {
    this.#redis = redis;
    this.#brokers = brokers;
    this.partitions = partitions;
    this.kafka = createKafka({ brokers: brokers.bootstrap.split(','), clientId: 'spanbuf-bench' });
  }

  /** Runs `use` with a system whose input topic is empty. All of it ends with `use`, its data with it. */
  static async with<T>(partitions: number, use: (system: BenchSystem) => Promise<T>): Promise<T> {
    const [redis, brokers] = await Promise.allSettled([
      startRedisCluster({ masters: REDIS_MASTERS }),
      startKafka({ heapMegabytes: KAFKA_MEGABYTES }),
    ]);
    try {
      if (redis.status === 'rejected') throw redis.reason;
      if (brokers.status === 'rejected') throw brokers.reason;
      const system = new BenchSystem(redis.value, brokers.value, partitions);
      await system.kafka.createTopics([
        { topic: INPUT_TOPIC, partitionCount: partitions },
        { topic: `${INPUT_TOPIC}-dlq`, partitionCount: 1 },
      ]);
      try {
        return await use(system);
      } finally {
        await system.kafka.close();
      }
    } finally {
      await Promise.all([redis, brokers].map((result) => result.status === 'fulfilled' && result.value.stop()));
    }
  }

  /** A topic and a group that nobody has used, and an empty Redis. */
  async freshRun(): Promise<{ readonly outputTopic: string; readonly group: string }> {
    const outputTopic = `out-${++this.#runs}`;
    // The broker's clock says when a message was produced.
    const config = { 'max.message.bytes': '11000000', 'message.timestamp.type': 'LogAppendTime' };
    await this.kafka.createTopics([{ topic: outputTopic, partitionCount: this.partitions, config }]);
    for (const { connection } of this.#redis.nodes) {
      const client = new Redis(connection);
      await client.flushall('SYNC');
      client.disconnect();
    }
    return { outputTopic, group: `group-${this.#runs}` };
  }

  startConsumer(group: string, env: Env = {}): Promise<AppProcess> {
    return this.#startApp('consumer', { SPANBUF_INPUT_TOPIC: INPUT_TOPIC, SPANBUF_CONSUMER_GROUP: group, ...env });
  }

  startFlusher(outputTopic: string, env: Env = {}): Promise<AppProcess> {
    return this.#startApp('flusher', { SPANBUF_OUTPUT_TOPIC: outputTopic, ...env });
  }

  #startApp(name: 'consumer' | 'flusher', env: Env): Promise<AppProcess> {
    const main = `${import.meta.dirname}/../../apps/${name}/dist/main.js`;
    const servers = { SPANBUF_REDIS_URL: this.#redis.url, SPANBUF_KAFKA_BROKERS: this.#brokers.bootstrap };
    return startApp({ name, main, env: { ...servers, ...ENV, ...env } });
  }

  startCopy(outputTopic: string, group: string): ChildProgram {
    const main = `${import.meta.dirname}/copy-topic.ts`;
    return new ChildProgram({ name: 'copy', main, args: [this.#brokers.bootstrap, INPUT_TOPIC, outputTopic, group] });
  }

  cpuTimes(programs: Readonly<Record<string, ChildProgram>>): CpuTimes {
    const own = Object.entries(programs).map(([name, { pid }]): [string, number] => [name, cpuSeconds(pid)]);
    const redis = this.#redis.nodes.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
    const kafka = this.#brokers.nodes.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
    return { ...Object.fromEntries(own), redis, kafka };
  }

  async messagesIn(topic: string): Promise<number> {
    let count = 0n;
    for (const { low, high } of (await this.kafka.readWatermarks(topic)).values()) count += high - low;
    return Number(count);
  }

  /** Of the log of a topic, as it lies on the disk. */
  bytesOf(topic: string): number {
    const isOf = (path: string) => path.includes(`/${topic}-`) && path.endsWith('.log');
    return this.#brokers.nodes.reduce((sum, { directory }) => sum + folderBytes(directory, isOf), 0);
  }

  /** used_memory of all nodes. */
  async redisBytes(): Promise<number> {
    let bytes = 0;
    for (const { connection } of this.#redis.nodes) {
      const client = new Redis(connection);
      bytes += Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1]);
      client.disconnect();
    }
    return bytes;
  }
}
