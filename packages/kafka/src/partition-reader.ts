import type { Brokers } from './brokers.ts';
import { decodeRecordBatches, ENOUGH_BYTES, UndecodableBatchError } from './decode-record-batch.ts';
import { KafkaUnreadableBatchError } from './errors.ts';
import { brokerErrorType, errorLine, isPassing, throwIfError } from './kafka-error.ts';
import { LeaderWatch } from './leader-watch.ts';
import type { KafkaLog, LogBatch } from './log.ts';
import { type FetchedPartition, type FetchLimits, fetchRequest } from './requests.ts';
import { defer, sleep } from './waiting.ts';

export interface ReaderOptions {
  readonly brokers: Brokers;
  readonly topic: string;
  /** Reading ends when the topic gets another one. */
  readonly topicId: string;
  /** Where to begin; undefined for the beginning of the log. */
  readonly positions: ReadonlyMap<number, bigint | undefined>;
  readonly limits: FetchLimits;
  /** When given, reading ends when the topic has another number of partitions. */
  readonly partitionCount: number | undefined;
  readonly isPaused: () => boolean;
  /** Takes a batch over. Until it resolves the partition is not read any further; when it rejects, it is read again. */
  readonly deliver: (batch: Omit<LogBatch, 'assignment'>) => Promise<void>;
  /** Ends reading. */
  readonly signal: AbortSignal;
  readonly log: KafkaLog;
}

/** How soon a broker answers while handlers are at work, so that their partitions are asked for again soon. */
const BUSY_WAIT_MS = 5;
const REDELIVERY_MS = 1_000;
/** Asked of a partition at least: where hardly anything is left of what was packed. */
const LEAST_PARTITION_BYTES = 64 * 1024;

interface PartitionState {
  readonly partition: number;
  /** Undefined until it is known. */
  position: bigint | undefined;
  /** Why it is not fetched: a handler is at work, its position is looked for, or it waits for news of its leader. */
  readonly holds: Set<'delivering' | 'locating' | 'failed'>;
}

/**
 * Reads partitions side by side: per broker one request at a time, for all of its partitions whose handler is not at
 * work. So a slow handler, or a partition without a leader, holds up nobody else.
 */
export class PartitionReader {
  readonly #options: ReaderOptions;
  readonly #watch: LeaderWatch;
  readonly #states: ReadonlyMap<number, PartitionState>;
  /** Node ids that are read from. */
  readonly #nodes = new Set<number>();
  #change = defer<void>();
  #busyWaitMs = BUSY_WAIT_MS;
  /** What is made of a part of the answer at once lies in the log in so many bytes, as far as it is known. */
  #enoughBytes = ENOUGH_BYTES;
  readonly #end = defer<void>();

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#states = new Map(
      [...options.positions].map(([partition, position]) => [partition, { partition, position, holds: new Set() }]),
    );
    this.#watch = new LeaderWatch({
      ...options,
      maxAgeMs: options.brokers.metadataMaxAgeMs,
      onRead: () => this.#onLeaders(),
      onGone: (error) => this.#end.reject(error),
    });
    // It may end before anybody waits for that.
    this.#end.promise.catch(() => {});
  }

  /**
   * Resolves when the signal aborts.
   * @throws TopicChangedError, KafkaTopicMissingError, KafkaUnreadableBatchError, KafkaRefusedError.
   */
  async run(): Promise<void> {
    const { signal } = this.#options;
    const end = (): void => this.#end.resolve();
    signal.addEventListener('abort', end);
    try {
      await this.#watch.read();
      if (!signal.aborted) await this.#end.promise;
    } finally {
      this.#watch.stop();
      signal.removeEventListener('abort', end);
      this.wake();
    }
  }

  /** Looks again at what can be read: `isPaused` has changed. */
  wake(): void {
    this.#busyWaitMs = BUSY_WAIT_MS;
    this.#change.resolve();
    this.#change = defer();
  }

  #onLeaders(): void {
    for (const [partition, { holds }] of this.#states) {
      holds.delete('failed');
      const nodeId = this.#watch.leaders.get(partition) ?? -1;
      if (nodeId < 0 || this.#nodes.has(nodeId)) continue;
      this.#nodes.add(nodeId);
      this.#readFrom(nodeId).catch((error) => this.#end.reject(error));
    }
    this.wake();
  }

  async #readFrom(nodeId: number): Promise<void> {
    const { signal, isPaused } = this.#options;
    while (!signal.aborted) {
      const own = [...this.#states.values()].filter(({ partition }) => this.#watch.leaders.get(partition) === nodeId);
      for (const state of own) if (state.position === undefined && isIdle(state)) this.#locate(state, nodeId);
      const ready = isPaused() ? [] : own.filter(isIdle);
      if (ready.length === 0) await this.#change.promise;
      else await this.#fetch(nodeId, ready, ready.length < own.length);
    }
  }

  async #fetch(nodeId: number, states: readonly PartitionState[], isShort: boolean): Promise<void> {
    const { brokers, topic, topicId, limits } = this.#options;
    const maxWaitMs = isShort ? Math.min(this.#busyWaitMs, limits.maxWaitMs) : limits.maxWaitMs;
    // A broker serves partitions in the order of the request, up to maxBytes: each is first in its turn.
    const first = Math.floor(Math.random() * states.length);
    const positions = [...states.slice(first), ...states.slice(0, first)].map(({ partition, position = 0n }) => ({
      partition,
      offset: position,
    }));
    try {
      const broker = await brokers.node(nodeId);
      // What is not unpacked at once would be sent again.
      const maxBytesPerPartition = Math.min(limits.maxBytesPerPartition, this.#enoughBytes);
      const request = fetchRequest({ name: topic, topicId }, positions, { ...limits, maxBytesPerPartition, maxWaitMs });
      const answer = await brokers.send(broker, request, maxWaitMs + brokers.requestTimeoutMs);
      throwIfError(answer.errorCode);
      const isEmpty = answer.partitions.every(({ records, errorCode }) => records.length === 0 && errorCode === 0);
      if (isShort && isEmpty) this.#busyWaitMs *= 2;
      await Promise.all(answer.partitions.map((fetched) => this.#take(fetched, nodeId)));
    } catch (error) {
      this.#later(states, error);
    }
  }

  /** A partition's part of an answer. */
  async #take(fetched: FetchedPartition, nodeId: number): Promise<void> {
    const { topic, signal, isPaused } = this.#options;
    const { partition, errorCode, highWatermark, records, aborted } = fetched;
    const state = this.#states.get(partition);
    // When the leader has changed meanwhile, the new one may have been faster.
    if (state?.position === undefined || !isIdle(state)) return;
    const { position } = state;
    try {
      throwIfError(errorCode);
      if (records.length === 0) return;
      const decoded = await decodeRecordBatches(records, partition, position, aborted);
      const { messages, nextOffset, messageBytes, batchBytes } = decoded;
      if (messageBytes > 0) {
        this.#enoughBytes = Math.max(LEAST_PARTITION_BYTES, Math.ceil((ENOUGH_BYTES * batchBytes) / messageBytes));
      }
      if (signal.aborted || isPaused() || !isIdle(state) || state.position !== position) return;
      if (nextOffset > position) this.#deliver(state, { partition, messages, highWatermark, nextOffset });
    } catch (error) {
      if (error instanceof UndecodableBatchError) {
        throw new KafkaUnreadableBatchError(topic, partition, error.offset, error.message, { cause: error });
      }
      if (brokerErrorType(error) === 'OFFSET_OUT_OF_RANGE') this.#locate(state, nodeId);
      else this.#later([state], error);
    }
  }

  async #deliver(state: PartitionState, batch: Omit<LogBatch, 'assignment'>): Promise<void> {
    const { deliver, signal, topic, log } = this.#options;
    const { partition, nextOffset } = batch;
    state.holds.add('delivering');
    try {
      await deliver(batch);
      state.position = nextOffset;
    } catch (error) {
      if (signal.aborted) return;
      log('warn', 'messages were not taken and come again', { topic, partition, error: errorLine(error) });
      await sleep(REDELIVERY_MS, signal);
    } finally {
      state.holds.delete('delivering');
      this.wake();
    }
  }

  /** To the beginning of the log: nothing was read before, or what comes next is not there any more. */
  async #locate(state: PartitionState, nodeId: number): Promise<void> {
    const { brokers, topic, log } = this.#options;
    const { partition, position } = state;
    state.holds.add('locating');
    try {
      const beginning = await brokers.offset(nodeId, topic, partition, 'first');
      if (position !== undefined) {
        const offsets = { offset: `${position}`, beginning: `${beginning}` };
        log('warn', 'what comes next is not in the log; it is read from its beginning', {
          topic,
          partition,
          ...offsets,
        });
      }
      state.position = beginning;
    } catch (error) {
      this.#later([state], error);
    } finally {
      state.holds.delete('locating');
      this.wake();
    }
  }

  /** After an error: when it is known again who leads them. */
  #later(states: readonly PartitionState[], error: unknown): void {
    const { signal, log, topic } = this.#options;
    if (signal.aborted) return;
    if (!isPassing(error)) {
      this.#end.reject(error);
      return;
    }
    const partitions = states.map(({ partition }) => partition);
    log('info', 'reading is tried again', { topic, partitions, error: errorLine(error) });
    for (const { holds } of states) holds.add('failed');
    this.#watch.readSoon();
  }
}

function isIdle({ holds }: PartitionState): boolean {
  return holds.size === 0;
}
