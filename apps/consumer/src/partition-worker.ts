import type { LogBatch, LogMessage } from '@spanbuf/kafka';
import { pause } from '@spanbuf/service';
import type { ByteBudget } from './byte-budget.ts';
import type { Intake } from './intake.ts';
import type { PartitionClock } from './partition-clock.ts';

/** When messages that wait make a batch. */
export interface BatchLimits {
  readonly batchSpans: number;
  readonly batchBytes: number;
  /** How long the first message of a batch waits for others. */
  readonly batchMs: number;
}

/** A stretch of the log, and the messages in it. */
export interface Stretch {
  readonly messages: readonly LogMessage[];
  readonly fromOffset: bigint;
  readonly toOffset: bigint;
}

export interface WorkerOptions extends BatchLimits {
  readonly partition: number;
  /** Where reading begins. */
  readonly startOffset: bigint;
  readonly budget: ByteBudget;
  readonly intake: Intake;
  readonly clock: PartitionClock;
  /** Takes over a batch for good: stored and scheduled, or dead-lettered, or dropped. Rejects when `signal` ended its attempts. */
  readonly apply: (stretch: Stretch, signal: AbortSignal) => Promise<void>;
  /** What `apply` rejected with, while it was not told to stop. */
  readonly onError: (error: unknown) => void;
}

/** What one fetch brought. Behind its last message `nextOffset` is past what no consumer is shown, such as ends of transactions. */
interface Waiting extends Pick<LogBatch, 'messages' | 'nextOffset'> {
  /** So many of its messages are taken. */
  takenCount: number;
}

/**
 * Applies the messages of one partition in their order, a batch after the other, while the next ones are being fetched.
 * Lives as long as the assignment.
 */
export class PartitionWorker {
  readonly partition: number;
  readonly clock: PartitionClock;
  readonly #options: WorkerOptions;
  readonly #stop = new AbortController();
  readonly #waiting: Waiting[] = [];
  #waitingCount = 0;
  #waitingBytes = 0;
  #wake: () => void = () => undefined;
  #appliedOffset: bigint;
  readonly #ended: Promise<void>;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.partition = options.partition;
    this.clock = options.clock;
    this.#appliedOffset = options.startOffset;
    this.#ended = this.#run();
  }

  /** Offset of the first message that is not applied yet. */
  get appliedOffset(): bigint {
    return this.#appliedOffset;
  }

  /** Queues messages; resolves when there is room for more, or when it is stopped. */
  async take({ messages, nextOffset }: LogBatch): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const bytes = messages.reduce((sum, message) => sum + bytesOf(message), 0);
    this.#waiting.push({ messages, nextOffset, takenCount: 0 });
    this.#waitingCount += messages.length;
    this.#waitingBytes += bytes;
    this.#options.budget.take(bytes);
    this.#wake();
    await this.#options.budget.room(() => this.#waitingBytes === 0, this.#stop.signal);
  }

  /** Ends after the batch that is being applied. What waits is not taken; it was not committed either. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { apply, budget, intake, onError } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#gather();
      const batch = await intake.take(() => this.#cut(), signal);
      if (batch === undefined) break;
      const { messages, bytes, nextOffset } = batch;
      try {
        const fromOffset = this.#appliedOffset;
        if (messages.length > 0 || nextOffset > fromOffset) {
          await apply({ messages, fromOffset, toOffset: nextOffset }, signal);
        }
        this.#appliedOffset = nextOffset;
      } catch (error) {
        if (!signal.aborted) onError(error);
        this.#stop.abort();
      } finally {
        budget.give(bytes);
      }
    }
    budget.give(this.#waitingBytes);
    this.#waiting.length = 0;
    this.#waitingCount = 0;
    this.#waitingBytes = 0;
  }

  /** Waits for a batch that is full, or old enough. */
  async #gather(): Promise<void> {
    const { signal } = this.#stop;
    while (this.#waiting.length === 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const { batchSpans, batchBytes, batchMs } = this.#options;
    if (this.#waitingCount < batchSpans && this.#waitingBytes < batchBytes) await pause(batchMs, signal);
  }

  #cut(): { messages: LogMessage[]; bytes: number; nextOffset: bigint } {
    const { batchSpans, batchBytes } = this.#options;
    const messages: LogMessage[] = [];
    let bytes = 0;
    let nextOffset = this.#appliedOffset;
    const isFull = (): boolean => messages.length === batchSpans || bytes >= batchBytes;
    for (let fetched = this.#waiting[0]; fetched !== undefined && !isFull(); fetched = this.#waiting[0]) {
      while (fetched.takenCount < fetched.messages.length && !isFull()) {
        const message = fetched.messages[fetched.takenCount++] as LogMessage;
        messages.push(message);
        bytes += bytesOf(message);
      }
      if (fetched.takenCount < fetched.messages.length) {
        nextOffset = (messages.at(-1) as LogMessage).offset + 1n;
        break;
      }
      nextOffset = fetched.nextOffset;
      this.#waiting.shift();
    }
    this.#waitingCount -= messages.length;
    this.#waitingBytes -= bytes;
    return { messages, bytes, nextOffset };
  }
}

/** As it counts against limits: the value, and something for what is kept beside it. */
function bytesOf({ value }: LogMessage): number {
  return (value?.length ?? 0) + 100;
}
