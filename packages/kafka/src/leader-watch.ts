import type { Brokers } from './brokers.ts';
import { errorLine, isPassing } from './kafka-error.ts';
import type { KafkaLog } from './log.ts';

export interface LeaderWatchOptions {
  readonly brokers: Brokers;
  readonly topic: string;
  /** Any other id is another topic. */
  readonly topicId: string;
  /** When given, any other number of partitions is a change. */
  readonly partitionCount: number | undefined;
  /** How long what was read is believed. */
  readonly maxAgeMs: number;
  readonly log: KafkaLog;
  /** Leaders were read. */
  readonly onRead: () => void;
  /** What is watched is not there any more; gets TopicChangedError, KafkaTopicMissingError or a refusal. */
  readonly onGone: (error: unknown) => void;
}

/** The group has to share out anew: the topic is another one, or has more partitions. */
export class TopicChangedError extends Error {}

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 2_000;

/** Knows who leads the partitions of a topic: reads it now and then, and soon when somebody found it to be wrong. */
export class LeaderWatch {
  /** Partition -> node id, -1 where there is no leader. Empty until it was read. */
  leaders: ReadonlyMap<number, number> = new Map();
  readonly #options: LeaderWatchOptions;
  #reading: Promise<void> | undefined;
  #soon: NodeJS.Timeout | undefined;
  readonly #regular: NodeJS.Timeout;
  #retryMs = FIRST_RETRY_MS;
  #isOver = false;

  constructor(options: LeaderWatchOptions) {
    this.#options = options;
    this.#regular = setInterval(() => this.read(), options.maxAgeMs);
  }

  /** Several calls at once are one. Never rejects. */
  read(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** In 250 ms; later and later while no broker answers. Several calls before that are one. */
  readSoon(): void {
    if (this.#soon !== undefined || this.#isOver) return;
    this.#soon = setTimeout(() => {
      this.#soon = undefined;
      this.read();
    }, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  stop(): void {
    this.#isOver = true;
    clearInterval(this.#regular);
    clearTimeout(this.#soon);
  }

  async #read(): Promise<void> {
    const { brokers, topic, topicId, partitionCount, log, onRead, onGone } = this.#options;
    try {
      const found = await brokers.topic(topic);
      if (this.#isOver) return;
      if (found.topicId !== topicId) throw new TopicChangedError(`${topic} was created anew`);
      if (partitionCount !== undefined && found.leaders.size !== partitionCount) {
        throw new TopicChangedError(`${topic} has ${found.leaders.size} partitions, ${partitionCount} before`);
      }
      this.leaders = found.leaders;
      this.#retryMs = FIRST_RETRY_MS;
      if ([...found.leaders.values()].some((nodeId) => nodeId < 0)) this.readSoon();
      onRead();
    } catch (error) {
      if (this.#isOver) return;
      if (!isPassing(error)) return onGone(error);
      log('debug', 'cannot read who leads the partitions', { topic, error: errorLine(error) });
      this.readSoon();
    }
  }
}
