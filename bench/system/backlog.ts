/** Spans that lie in the input topic before anybody reads it. */
import type { Kafka, LogProducer, OutgoingMessage } from '@spanbuf/kafka';
import { SpanStream } from './span-stream.ts';

/** Of one partition in one call. */
const CHUNK_SPANS = 2_000;
/** By so much message time is moved on: everything before is due then. */
const END_SECONDS = 120;
/** So often at most. */
const MOST_ENDS = 5;
/** More than a consumer takes for messages with a broken clock. */
const END_SPANS = 16;

export interface BacklogOptions {
  readonly topic: string;
  readonly partitions: number;
  readonly spans: number;
  /** Message time of the spans: how many of all partitions come in a second. */
  readonly spansPerSecond: number;
  /** Message time of the n-th span of a partition, where it does not just go on, Unix milliseconds. */
  readonly timeMs?: (index: number) => number;
}

export interface Backlog {
  readonly topic: string;
  readonly partitions: number;
  readonly spans: number;
  readonly segments: number;
  readonly payloadBytes: number;
  /** Message time of the last span, Unix milliseconds. */
  readonly endMs: number;
}

/** Fills a topic. Message time ends some minutes before now. */
export async function fillBacklog(kafka: Kafka, options: BacklogOptions): Promise<Backlog> {
  const { topic, partitions, spansPerSecond } = options;
  const perPartition = Math.ceil(options.spans / partitions);
  const stepMs = (1_000 * partitions) / spansPerSecond;
  const startMs = Date.now() - perPartition * stepMs - (MOST_ENDS + 1) * END_SECONDS * 1_000;
  const timeMs = options.timeMs ?? ((index: number) => startMs + index * stepMs);
  const streams = Array.from({ length: partitions }, (_, i) => new SpanStream(i, spansPerSecond / partitions));
  let [segments, payloadBytes] = [0, 0];
  const producer = await kafka.createProducer({ compression: 'zstd' });
  for (let at = 0; at < perPartition; at += CHUNK_SPANS) {
    const count = Math.min(CHUNK_SPANS, perPartition - at);
    for (const [partition, stream] of streams.entries()) {
      const messages = Array.from({ length: count }, (_, i): OutgoingMessage => {
        const { traceId, value, isRoot } = stream.next();
        segments += isRoot ? 1 : 0;
        payloadBytes += value.length;
        return { key: traceId, value, partition, timestampMs: Math.round(timeMs(at + i)) };
      });
      await sendAll(producer, topic, messages);
    }
  }
  await producer.close();
  const endMs = timeMs(perPartition - 1);
  return { topic, partitions, spans: perPartition * partitions, segments, payloadBytes, endMs };
}

/**
 * Makes due what was read of a backlog: a few spans more, of traces of their own, and later than any of it. To be called when
 * all of it is read, as spans that are applied together have one time.
 * @param time - Which time it is that this is done, from 1; those of the times before lie in the topic.
 * @returns how many spans that were.
 */
export async function moveTimeOn(kafka: Kafka, { topic, partitions, endMs }: Backlog, time: number): Promise<number> {
  const stream = new SpanStream(partitions + time, END_SPANS);
  const producer = await kafka.createProducer({ compression: 'zstd' });
  const timestampMs = Math.round(endMs + time * END_SECONDS * 1_000);
  const messages = Array.from({ length: partitions * END_SPANS }, (_, i): OutgoingMessage => {
    const { traceId, value } = stream.next();
    return { key: traceId, value, partition: i % partitions, timestampMs };
  });
  await sendAll(producer, topic, messages);
  await producer.close();
  return messages.length;
}

/** @throws Error when a message is not acknowledged. */
export async function sendAll(
  producer: LogProducer,
  topic: string,
  messages: readonly OutgoingMessage[],
): Promise<void> {
  const outcomes = await producer.send(topic, messages);
  const bad = outcomes.find(({ status }) => status !== 'acked');
  if (bad !== undefined && bad.status !== 'acked') throw bad.error;
}
