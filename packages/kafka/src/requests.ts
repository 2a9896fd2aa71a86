/**
 * Requests that kafkajs does not know in the version needed: metadata and fetches with topic ids, and produced batches as
 * `encode-record-batch.ts` writes them. Each comes in two versions: the one with topic ids (Kafka 3.1 and newer) and the last
 * one without. Source: https://kafka.apache.org/protocol
 */
import type { AbortedTransaction } from './decode-record-batch.ts';
import { WireReader, WireWriter } from './wire.ts';

/** What is sent, and how the answer is read. */
export interface WireRequest<T> {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly apiName: string;
  /** After the header's client id. */
  readonly payload: Buffer;
  /** From after the correlation id. */
  readonly read: (answer: Buffer) => T;
}

/** First version of an API that is flexible and has topic ids, and what is used where a broker does not know it. */
export const API = {
  produce: { key: 0, version: 8 },
  fetch: { key: 1, version: 11, withTopicIds: 13 },
  metadata: { key: 3, version: 7, withTopicIds: 12 },
} as const;

const NO_ID = '0'.repeat(32);

export interface ClusterMetadata {
  readonly brokers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[];
  readonly controllerId: number;
  readonly topic: TopicMetadata | undefined;
}

export interface TopicMetadata {
  readonly errorCode: number;
  /** 32 hex digits; '' where the broker cannot tell. */
  readonly topicId: string;
  /** Partition -> node id of its leader, -1 while it has none. */
  readonly leaders: ReadonlyMap<number, number>;
  /** By partition: how many brokers are to have a copy, and how many have all of it. */
  readonly copies: ReadonlyMap<number, { readonly replicaCount: number; readonly inSyncCount: number }>;
}

/** Brokers, and one topic. Never creates a topic. */
export function metadataRequest(topic: string | undefined, withTopicIds: boolean): WireRequest<ClusterMetadata> {
  const apiVersion = withTopicIds ? API.metadata.withTopicIds : API.metadata.version;
  const writer = new WireWriter(withTopicIds).tags();
  writer.array(topic === undefined ? [] : [topic], (name) => {
    if (withTopicIds) writer.uuid(NO_ID);
    writer.string(name).tags();
  });
  writer.int8(0);
  if (withTopicIds) writer.int8(0).tags();
  const read = (answer: Buffer): ClusterMetadata => {
    const reader = new WireReader(answer, withTopicIds);
    reader.tags();
    reader.int32();
    const brokers = reader.array(() => {
      const broker = { nodeId: reader.int32(), host: reader.string() ?? '', port: reader.int32() };
      reader.string();
      reader.tags();
      return broker;
    });
    reader.string();
    const controllerId = reader.int32();
    const topics = reader.array(() => readTopic(reader, withTopicIds));
    return { brokers, controllerId, topic: topics[0] };
  };
  return { apiKey: API.metadata.key, apiVersion, apiName: 'Metadata', payload: writer.bytes, read };
}

function readTopic(reader: WireReader, withTopicIds: boolean): TopicMetadata {
  const errorCode = reader.int16();
  reader.string();
  const topicId = withTopicIds ? reader.uuid() : '';
  reader.int8();
  const partitions = reader.array(() => {
    reader.int16();
    const [partition, leader] = [reader.int32(), reader.int32()];
    reader.int32();
    const [replicas, inSync] = [reader.array(() => reader.int32()), reader.array(() => reader.int32())];
    reader.array(() => reader.int32());
    reader.tags();
    return { partition, leader, replicaCount: replicas.length, inSyncCount: inSync.length };
  });
  if (withTopicIds) reader.int32();
  reader.tags();
  return {
    errorCode,
    topicId: topicId === NO_ID ? '' : topicId,
    leaders: new Map(partitions.map(({ partition, leader }) => [partition, leader])),
    copies: new Map(
      partitions.map(({ partition, replicaCount, inSyncCount }) => [partition, { replicaCount, inSyncCount }]),
    ),
  };
}

export interface FetchPosition {
  readonly partition: number;
  readonly offset: bigint;
}

export interface FetchLimits {
  readonly maxWaitMs: number;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly maxBytesPerPartition: number;
}

export interface FetchedPartition {
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly aborted: readonly AbortedTransaction[];
  readonly records: Buffer;
}

const READ_COMMITTED = 1;

/** With a topic id the broker refuses to answer from a topic that was created anew under the same name. */
export function fetchRequest(
  topic: { readonly name: string; readonly topicId: string },
  positions: readonly FetchPosition[],
  limits: FetchLimits,
): WireRequest<{ errorCode: number; partitions: FetchedPartition[] }> {
  const withTopicIds = topic.topicId !== '';
  const apiVersion = withTopicIds ? API.fetch.withTopicIds : API.fetch.version;
  const writer = new WireWriter(withTopicIds).tags();
  writer.int32(-1).int32(limits.maxWaitMs).int32(limits.minBytes).int32(limits.maxBytes).int8(READ_COMMITTED);
  writer.int32(0).int32(-1); // no fetch session
  writer.array([topic], ({ name, topicId }) => {
    if (withTopicIds) writer.uuid(topicId);
    else writer.string(name);
    writer.array(positions, ({ partition, offset }) => {
      writer.int32(partition).int32(-1).int64(offset);
      if (withTopicIds) writer.int32(-1);
      writer.int64(-1n).int32(limits.maxBytesPerPartition).tags();
    });
    writer.tags();
  });
  writer.array([], () => {});
  writer.string('').tags();
  const read = (answer: Buffer): { errorCode: number; partitions: FetchedPartition[] } => {
    const reader = new WireReader(answer, withTopicIds);
    reader.tags();
    reader.int32();
    const errorCode = reader.int16();
    reader.int32();
    const topics = reader.array(() => {
      if (withTopicIds) reader.uuid();
      else reader.string();
      const partitions = reader.array(() => readFetchedPartition(reader));
      reader.tags();
      return partitions;
    });
    return { errorCode, partitions: topics.flat() };
  };
  return { apiKey: API.fetch.key, apiVersion, apiName: 'Fetch', payload: writer.bytes, read };
}

function readFetchedPartition(reader: WireReader): FetchedPartition {
  const partition = reader.int32();
  const errorCode = reader.int16();
  const highWatermark = reader.int64();
  reader.int64();
  reader.int64();
  const aborted = reader.array(() => {
    const transaction = { producerId: reader.int64(), firstOffset: reader.int64() };
    reader.tags();
    return transaction;
  });
  reader.int32();
  const records = reader.nullableBytes() ?? Buffer.alloc(0);
  reader.tags();
  return { partition, errorCode, highWatermark, aborted, records };
}

export interface ProducedBatch {
  readonly topic: string;
  readonly partition: number;
  readonly errorCode: number;
  readonly errorMessage: string | null;
  readonly baseOffset: bigint;
}

/** One batch to each of some partitions, acknowledged by all in-sync replicas within `timeoutMs`. */
export function produceRequest(
  topic: string,
  batches: readonly { readonly partition: number; readonly bytes: Buffer }[],
  timeoutMs: number,
): WireRequest<ProducedBatch[]> {
  const byteCount = batches.reduce((sum, { bytes }) => sum + bytes.length + 16, 0);
  const writer = new WireWriter(false, byteCount + topic.length + 64);
  writer.string(null).int16(-1).int32(timeoutMs).int32(1).string(topic);
  writer.array(batches, ({ partition, bytes }) => writer.int32(partition).nullableBytes(bytes));
  const read = (answer: Buffer): ProducedBatch[] => {
    const reader = new WireReader(answer);
    const topics = reader.array(() => {
      const name = reader.string() ?? '';
      return reader.array(() => readProducedBatch(reader, name));
    });
    return topics.flat();
  };
  return { apiKey: API.produce.key, apiVersion: API.produce.version, apiName: 'Produce', payload: writer.bytes, read };
}

function readProducedBatch(reader: WireReader, topic: string): ProducedBatch {
  const partition = reader.int32();
  const errorCode = reader.int16();
  const baseOffset = reader.int64();
  reader.int64();
  reader.int64();
  const recordErrors = reader.array(() => {
    reader.int32();
    return reader.string();
  });
  const errorMessage = reader.string() ?? recordErrors[0] ?? null;
  return { topic, partition, errorCode, baseOffset, errorMessage };
}
