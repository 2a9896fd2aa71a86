/** What the services know of Kafka. Nothing here names the client behind it. */
import type { KafkaUnavailableError, MessageRefusedError } from './errors.ts';

/** How to reach the brokers. */
export interface KafkaConnection {
  /** `host:port` of some of them, at least one; the others are found. */
  readonly brokers: readonly string[];
  /** Named in the brokers' logs and quotas. */
  readonly clientId: string;
  /** PEM texts. `{}` is TLS with the CAs of the system; absent is no TLS. `cert` and `key` only together. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined;
  readonly sasl?:
    | {
        readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
        readonly username: string;
        readonly password: string;
      }
    | undefined;
  /** Gets what the client has to say; nothing is written anywhere else. Levels as in pino. */
  readonly log?: KafkaLog;
  /** How long a broker may take to answer, 10,000. It may take longer where the protocol says so: joining a group. */
  readonly requestTimeoutMs?: number;
  /** How soon added partitions are found, to read from and to write to, 10,000. */
  readonly metadataMaxAgeMs?: number;
}

export type KafkaLog = (
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  details: Record<string, unknown>,
) => void;

/**
 * A Kafka cluster. All calls throw {@link KafkaUnavailableError} (retriable) when no broker answers, and
 * KafkaRefusedError when one answers no; those that name a topic throw KafkaTopicMissingError when it does not exist.
 */
export interface Kafka {
  /** Connects, authenticates and asks for metadata once. Takes no longer than a few connection attempts. */
  check(): Promise<void>;
  describeTopic(topic: string): Promise<TopicDescription>;
  /** What an operator has to know of it, beside that. */
  inspectTopic(topic: string): Promise<TopicInspection>;
  /** Those that exist already stay as they are. Resolves when every partition has a leader. */
  createTopics(topics: readonly NewTopic[]): Promise<void>;
  /** Raises the number of partitions to `partitionCount`. */
  addPartitions(topic: string, partitionCount: number): Promise<void>;
  /** By partition. What is there is low <= offset < high. One that cannot be asked about, having no leader, is absent. */
  readWatermarks(topic: string): Promise<ReadonlyMap<number, { low: bigint; high: bigint }>>;
  /** By partition, the offset that a group reads next; a partition it has committed nothing for is absent. */
  readCommitted(groupId: string, topic: string): Promise<ReadonlyMap<number, bigint>>;
  /** Resolves when the topic was found; the group is joined in the background. */
  consume(options: ConsumeOptions): Promise<LogConsumer>;
  createProducer(options?: ProducerOptions): Promise<LogProducer>;
  /** Stops what was made here and disconnects. */
  close(): Promise<void>;
}

export interface NewTopic {
  readonly topic: string;
  readonly partitionCount: number;
  /** As in Kafka: `{ 'max.message.bytes': '2000000' }`. */
  readonly config?: Readonly<Record<string, string>>;
}

export interface TopicDescription {
  readonly partitionCount: number;
  /** 32 hex digits; another one when the topic was deleted and created again. '' where the broker cannot tell. */
  readonly topicId: string;
  /** `max.message.bytes` of the topic; undefined where reading it is not permitted. */
  readonly maxMessageBytes: number | undefined;
}

export interface TopicInspection {
  /** By partition. */
  readonly partitions: ReadonlyMap<number, PartitionInspection>;
  /** All that is in force, with the defaults of the brokers; undefined where reading it is not permitted. */
  readonly config: ReadonlyMap<string, string> | undefined;
}

export interface PartitionInspection {
  readonly hasLeader: boolean;
  /** How many brokers are to have a copy, and how many have all of it. */
  readonly replicaCount: number;
  readonly inSyncCount: number;
}

/** By name. A header that occurs several times is an array, in order; one without a value is undefined. */
export type MessageHeaders = Readonly<Record<string, Buffer | string | readonly (Buffer | string)[] | undefined>>;

export interface LogMessage {
  readonly partition: number;
  readonly offset: bigint;
  /** Unix milliseconds, as the producer or the broker set it; -1 where there is none. */
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: MessageHeaders;
  /**
   * Why the batch of the log that this message stands for cannot be decoded, as it was written; absent otherwise. `value` then holds the
   * batch as it lies in the log, and `offset` is that of its first message.
   */
  readonly unreadable?: string;
}

/** From one join of the group to the next. */
export interface Assignment {
  readonly partitions: readonly number[];
  /** Of the topic, read at the join; every message delivered in it is from that topic. '' where the broker cannot tell. */
  readonly topicId: string;
  /** By partition, where reading begins: what is committed. Absent where nothing is; then it begins with what is in the log. */
  readonly positions: ReadonlyMap<number, bigint>;
  /** By partition, the note committed with it, '' where there is none. */
  readonly notes: ReadonlyMap<number, string>;
  /** Aborted when it ends: rebalance, restart, error, stop, or no heartbeat acknowledged for the session timeout. */
  readonly signal: AbortSignal;
}

export interface LogBatch {
  readonly partition: number;
  /** In offset order. May be empty when all that was read is not for readers (transaction markers, compacted away). */
  readonly messages: readonly LogMessage[];
  /** End of the partition when the batch was read. */
  readonly highWatermark: bigint;
  readonly assignment: Assignment;
  /** Where reading goes on: past the last message and past what is not for readers. To be committed. */
  readonly nextOffset: bigint;
}

export interface ConsumeOptions {
  readonly topic: string;
  readonly groupId: string;
  /** Without a heartbeat for so long the member is taken for dead: 30,000. */
  readonly sessionTimeoutMs?: number;
  /** 3,000; less than a third of the session timeout. */
  readonly heartbeatIntervalMs?: number;
  /** How long others wait for this member to join again: 60,000. */
  readonly rebalanceTimeoutMs?: number;
  /** Of one partition in one answer, as it lies in the log, 1 MiB. One batch is read whole, however large. */
  readonly maxBytesPerPartition?: number;
  /** Of one answer, 8 MiB. Unpacked it may be ten times as much. */
  readonly maxBytes?: number;
  /** How long a broker may wait for more to send, 100. */
  readonly maxWaitMs?: number;
  /**
   * Takes over messages of one partition, in offset order. Until it resolves, nothing more of that partition is
   * delivered: that is the back-pressure. Heartbeats go on, and so do other partitions. When it rejects, the messages
   * count as not taken and come again, a second later. When the assignment has ended it should settle soon: the
   * partition's next batch waits for it.
   */
  readonly onBatch: (batch: LogBatch) => Promise<void>;
  /** Awaited before the first batch of the assignment. */
  readonly onAssigned?: (assignment: Assignment) => void | Promise<void>;
  /** The consumer has stopped and does not start again. Called at most once; the process should exit. */
  readonly onFatal: (error: Error) => void;
}

/** A member of a consumer group that reads one topic from the committed offsets, or from the beginning. */
export interface LogConsumer {
  /**
   * Commits next offsets of an assignment's partitions. Never moves the offset of a partition that another member has
   * got since: the broker refuses a member id and generation that are not of now.
   * @param note - Kept with them, for whoever is assigned the partitions next; without spaces, at most 1,000 characters.
   * @returns false, with nothing committed, when the assignment has ended.
   * @throws KafkaUnavailableError when no broker answered; the commit may or may not have taken place.
   */
  commit(assignment: Assignment, nextOffsets: ReadonlyMap<number, bigint>, note?: string): Promise<boolean>;
  /** Ends the assignment, if there is one, and joins the group again: reading begins anew at what is committed. */
  restart(reason: string): void;
  /** Delivers nothing until `resume()`, across rebalances too. The member stays in the group for any length of time. */
  pause(): void;
  resume(): void;
  readonly isPaused: boolean;
  /** Undefined while there is none: joining, or Kafka is away. */
  readonly assignment: Assignment | undefined;
  /** Unix milliseconds of the last heartbeat or join that a broker acknowledged; 0 before the first. */
  readonly lastHeartbeatMs: number;
  /** Ends the assignment, waits for commits under way and for onBatch to settle, leaves the group. Commit before. */
  stop(): Promise<void>;
}

export interface ProducerOptions {
  /** Default `zstd`. */
  readonly compression?: Compression;
  /** How long one `send` may take in all: 30,000. */
  readonly requestTimeoutMs?: number;
  /** Most bytes of messages in one request, before compression: 900,000. A larger message is sent alone. */
  readonly maxRequestBytes?: number;
}

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd';

export interface OutgoingMessage {
  readonly key: Buffer | string | null;
  readonly value: Buffer | null;
  readonly headers?: MessageHeaders;
  /** Unix milliseconds; now when absent. */
  readonly timestampMs?: number;
  /** Default: by the key, as the Java client does; without a key in turn. */
  readonly partition?: number;
}

export type SendOutcome =
  /** In the log of all in-sync replicas. */
  | { readonly status: 'acked'; readonly partition: number; readonly offset?: bigint }
  /** For good: sending it again does not help. */
  | { readonly status: 'refused'; readonly error: MessageRefusedError }
  /** May or may not be in the log: send it again. */
  | { readonly status: 'failed'; readonly error: KafkaUnavailableError };

/** Writes messages to topics, acknowledged by all in-sync replicas. A message may be in the log twice, never silently not. */
export interface LogProducer {
  /**
   * One outcome per message, in order. Never rejects, and is done within `requestTimeoutMs`. Messages of one partition
   * are written in order; after one of them failed, the rest of that partition are not sent and count as failed.
   */
  send(topic: string, messages: readonly OutgoingMessage[]): Promise<SendOutcome[]>;
  close(): Promise<void>;
}
