import { Brokers } from './brokers.ts';
import { isOfTopic, readCommitted } from './group-member.ts';
import { brokerErrorType, errorLine, isPassing, toKafkaError } from './kafka-error.ts';
import type { Broker } from './kafkajs-broker.ts';
import type {
  ConsumeOptions,
  Kafka,
  KafkaConnection,
  LogConsumer,
  LogProducer,
  NewTopic,
  ProducerOptions,
  TopicDescription,
  TopicInspection,
} from './log.ts';
import { GroupConsumer } from './log-consumer.ts';
import { BatchProducer } from './log-producer.ts';
import type { TopicMetadata } from './requests.ts';
import { sleep } from './waiting.ts';

const TOPIC_RESOURCE = 2;
const LEADERS_POLL_MS = 50;
const RETRY_MS = 100;
const RETRIES_MS = 3_000;

/**
 * Nothing is connected to yet. Each consumer and producer has connections of its own, so that a long answer to one does
 * not hold up another.
 */
export function createKafka(connection: KafkaConnection): Kafka {
  return new KafkaCluster(connection);
}

class KafkaCluster implements Kafka {
  readonly #connection: KafkaConnection;
  readonly #brokers: Brokers;
  readonly #open = new Set<() => Promise<void>>();

  constructor(connection: KafkaConnection) {
    this.#connection = connection;
    this.#brokers = new Brokers(connection);
  }

  async check(): Promise<void> {
    await this.#try('reach Kafka', () => this.#brokers.metadata());
  }

  async describeTopic(topic: string): Promise<TopicDescription> {
    return this.#try(`describe ${topic}`, async () => {
      const { leaders, topicId } = await this.#brokers.topic(topic);
      return { partitionCount: leaders.size, topicId, maxMessageBytes: await this.#maxMessageBytes(topic) };
    });
  }

  async inspectTopic(topic: string): Promise<TopicInspection> {
    return this.#try(`describe ${topic}`, async () => {
      const { leaders, copies } = await this.#brokers.topic(topic);
      const partitions = [...copies].map(
        ([partition, counts]) => [partition, { ...counts, hasLeader: (leaders.get(partition) ?? -1) >= 0 }] as const,
      );
      return { partitions: new Map(partitions), config: await this.#readConfig(topic, []) };
    });
  }

  async #maxMessageBytes(topic: string): Promise<number | undefined> {
    const name = 'max.message.bytes';
    const value = (await this.#readConfig(topic, [name]))?.get(name);
    return value === undefined ? undefined : Number(value);
  }

  /** @param names - Of which; empty: of all. */
  async #readConfig(topic: string, names: string[]): Promise<ReadonlyMap<string, string> | undefined> {
    try {
      const broker = await this.#brokers.any();
      const resources = [{ type: TOPIC_RESOURCE, name: topic, configNames: names }];
      const answer = await this.#brokers.call(broker, () => broker.describeConfigs({ resources }));
      const entries = answer.resources[0]?.configEntries ?? [];
      return new Map(
        entries.flatMap(({ configName, configValue }) => (configValue ? [[configName, configValue]] : [])),
      );
    } catch (error) {
      if (/_AUTHORIZATION_FAILED$/.test(brokerErrorType(error) ?? '')) return undefined;
      throw error;
    }
  }

  async createTopics(topics: readonly NewTopic[]): Promise<void> {
    for (const { topic, partitionCount, config = {} } of topics) {
      const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
      await this.#try(`create ${topic}`, async () => {
        const request = { topics: [{ topic, numPartitions: partitionCount, configEntries }], timeout: this.#timeoutMs };
        await this.#onController((controller) => controller.createTopics(request)).catch(ignoreExisting);
        await this.#leaders(topic, 1);
      });
    }
  }

  async addPartitions(topic: string, partitionCount: number): Promise<void> {
    await this.#try(`add partitions to ${topic}`, async () => {
      if ((await this.#brokers.topic(topic)).leaders.size >= partitionCount) return;
      const request = { topicPartitions: [{ topic, count: partitionCount }], timeout: this.#timeoutMs };
      await this.#onController((controller) => controller.createPartitions(request));
      await this.#leaders(topic, partitionCount);
    });
  }

  async readWatermarks(topic: string): Promise<ReadonlyMap<number, { low: bigint; high: bigint }>> {
    return this.#try(`read the watermarks of ${topic}`, async () => {
      const { leaders } = await this.#brokers.topic(topic);
      const byLeader = new Map<number, number[]>();
      for (const [partition, nodeId] of leaders) byLeader.set(nodeId, [...(byLeader.get(nodeId) ?? []), partition]);
      const read = async ([nodeId, partitions]: [number, number[]]) => {
        const lows = await this.#brokers.offsets(nodeId, topic, partitions, 'first');
        const highs = await this.#brokers.offsets(nodeId, topic, partitions, 'next');
        return partitions.flatMap((partition): [number, { low: bigint; high: bigint }][] => {
          const [low, high] = [lows.get(partition), highs.get(partition)];
          return low === undefined || high === undefined ? [] : [[partition, { low, high }]];
        });
      };
      const results = await Promise.allSettled([...byLeader].filter(([nodeId]) => nodeId >= 0).map(read));
      const found = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
      const failed = results.find((result) => result.status === 'rejected');
      if (found.length === 0 && failed !== undefined) throw failed.reason;
      return new Map(found);
    });
  }

  async readCommitted(groupId: string, topic: string): Promise<ReadonlyMap<number, bigint>> {
    return this.#try(`read the offsets of group ${groupId}`, async () => {
      const { leaders, topicId } = await this.#brokers.topic(topic);
      const committed = await readCommitted(groupId, topic, [...leaders.keys()], async (run) => {
        const coordinator = await this.#brokers.coordinator(groupId);
        return this.#brokers.call(coordinator, () => run(coordinator));
      });
      // What was committed in another topic of that name counts as nothing, as it does for a consumer.
      const own = [...committed].filter(([, each]) => isOfTopic(each, topicId));
      return new Map(own.map(([partition, { nextOffset }]) => [partition, nextOffset]));
    });
  }

  async consume(options: ConsumeOptions): Promise<LogConsumer> {
    await this.#try(`read ${options.topic}`, () => this.#brokers.topic(options.topic));
    const consumer = new GroupConsumer(this.#connection, options);
    consumer.start();
    this.#open.add(() => consumer.stop());
    return consumer;
  }

  async createProducer(options: ProducerOptions = {}): Promise<LogProducer> {
    const brokers = new Brokers(this.#connection);
    await this.#try('reach Kafka', () => brokers.metadata());
    const producer = new BatchProducer(brokers, options);
    this.#open.add(() => producer.close());
    return producer;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((close) => close()));
    this.#brokers.close();
  }

  get #timeoutMs(): number {
    return this.#brokers.requestTimeoutMs;
  }

  async #onController(run: (controller: Broker) => Promise<unknown>): Promise<void> {
    const { controllerId } = await this.#brokers.metadata();
    const controller = await this.#brokers.node(controllerId);
    await this.#brokers.call(controller, () => run(controller));
  }

  /** Waits until a topic has so many partitions, each with a leader: brokers hear of a change one after the other. */
  async #leaders(topic: string, partitionCount: number): Promise<void> {
    const endMs = performance.now() + this.#timeoutMs;
    for (;;) {
      const found: TopicMetadata | undefined = (await this.#brokers.metadata(topic)).topic;
      const leaders = [...(found?.leaders.values() ?? [])];
      if (leaders.length >= partitionCount && leaders.every((nodeId) => nodeId >= 0)) return;
      if (performance.now() >= endMs) throw new Error(`${topic} has no leaders yet`);
      await sleep(LEADERS_POLL_MS);
    }
  }

  /** What a broker cannot do yet (a leader or coordinator that has only just become one) is tried again for a while. */
  async #try<T>(doing: string, run: () => Promise<T>): Promise<T> {
    const endMs = performance.now() + RETRIES_MS;
    for (;;) {
      try {
        return await run();
      } catch (error) {
        const isEarly = brokerErrorType(error) !== undefined && isPassing(error) && performance.now() < endMs;
        if (!isEarly) throw toKafkaError(error, doing);
        await sleep(RETRY_MS);
      }
    }
  }
}

/** kafkajs reports errors of topics in a list. */
function ignoreExisting(error: unknown): void {
  const [first] = (error as { errors?: readonly Error[] }).errors ?? [];
  if (first === undefined) throw error;
  if (brokerErrorType(first) !== 'TOPIC_ALREADY_EXISTS') throw new Error(errorLine(first), { cause: first });
}
