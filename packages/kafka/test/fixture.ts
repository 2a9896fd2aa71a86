/** What the tests of this package share: topics and groups of their own, and waiting for what is to happen. */
import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import {
  type ConsumeOptions,
  createKafka,
  type Kafka,
  type KafkaConnection,
  type LogBatch,
  type LogConsumer,
  type LogMessage,
  type OutgoingMessage,
  type SendOutcome,
} from '../src/index.ts';

/** Closed when the test ends. */
export function connect(brokers: string, options: Partial<KafkaConnection> = {}): Kafka {
  const kafka = createKafka({ brokers: brokers.split(','), clientId: 'test', ...options });
  onTestFinished(() => kafka.close());
  return kafka;
}

export async function newTopic(kafka: Kafka, partitionCount = 1, config: Record<string, string> = {}): Promise<string> {
  const topic = `test-${randomUUID()}`;
  await kafka.createTopics([{ topic, partitionCount, config }]);
  return topic;
}

export const newGroup = (): string => `group-${randomUUID()}`;

/** @throws what a message was refused or failed with. */
export async function write(kafka: Kafka, topic: string, messages: readonly OutgoingMessage[]): Promise<SendOutcome[]> {
  const producer = await kafka.createProducer({ compression: 'none' });
  const outcomes = await producer.send(topic, messages);
  await producer.close();
  for (const outcome of outcomes) if (outcome.status !== 'acked') throw outcome.error;
  return outcomes;
}

/** `count` messages with the texts `<name> 0`, `<name> 1`, … */
export function numbered(name: string, count: number, partition?: number): OutgoingMessage[] {
  return Array.from({ length: count }, (_, i) => ({
    key: null,
    value: Buffer.from(`${name} ${i}`),
    ...(partition === undefined ? {} : { partition }),
  }));
}

export const textOf = (message: LogMessage): string => `${message.value}`;

const POLL_MS = 5;

/** Until `condition` gives something that is not false, undefined or null. The test's own time limit ends it. */
export async function until<T>(condition: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (;;) {
    const value = await condition();
    if (value !== false && value !== undefined && value !== null) return value;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export interface Reader {
  readonly consumer: LogConsumer;
  /** In the order of delivery. */
  readonly batches: LogBatch[];
  readonly messages: LogMessage[];
  readonly errors: Error[];
}

/** Reads what there is; stopped when the test ends. */
export async function read(
  kafka: Kafka,
  options: Pick<ConsumeOptions, 'topic'> & Partial<ConsumeOptions>,
): Promise<Reader> {
  const [batches, messages, errors]: [LogBatch[], LogMessage[], Error[]] = [[], [], []];
  const consumer = await kafka.consume({
    groupId: newGroup(),
    maxWaitMs: 20,
    heartbeatIntervalMs: 100,
    onFatal: (error) => errors.push(error),
    ...options,
    onBatch: async (batch) => {
      await options.onBatch?.(batch);
      batches.push(batch);
      messages.push(...batch.messages);
    },
  });
  onTestFinished(() => consumer.stop());
  return { consumer, batches, messages, errors };
}

/** The assignment, once there is one that `condition` holds for. */
export function assigned(consumer: LogConsumer, condition: (partitions: readonly number[]) => boolean = () => true) {
  return until(() =>
    consumer.assignment && condition(consumer.assignment.partitions) ? consumer.assignment : undefined,
  );
}
