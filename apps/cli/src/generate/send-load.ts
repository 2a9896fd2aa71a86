import { setTimeout as delay } from 'node:timers/promises';
import type { LogProducer, OutgoingMessage } from '@spanbuf/kafka';
import type { Load, LoadMessage } from './load.ts';

/** Most messages of one send. While it is on its way the next are made, so twice as many are in memory. */
const BATCH_MESSAGES = 2_000;
/** What has become due in the meantime goes together: a request for each message would cost more than the message. */
const PACE_MS = 50;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 2_000;

export interface SendLoadOptions {
  readonly load: Load;
  readonly producer: LogProducer;
  readonly topic: string;
  /** Whether the messages of a trace go to one partition. */
  readonly isKeyed: boolean;
  /** Whether a message waits until its time has come; else all go as fast as they are taken. */
  readonly isPaced: boolean;
  /** Whether messages carry the time of sending, and not that of the load. */
  readonly isStampedAtSending: boolean;
  /** Unix milliseconds. */
  readonly clockMs: () => number;
  /** Ends it after what is on its way. */
  readonly signal: AbortSignal;
  /** Told of the messages acknowledged so far. */
  readonly onProgress: (messages: number) => void;
  /** Told of a message that the broker refused for good, and of the first failure of a row. */
  readonly onTrouble: (text: string) => void;
}

export interface SendSummary {
  /** Acknowledged by all in-sync replicas. */
  readonly sent: number;
  /** Refused for good. */
  readonly refused: number;
  /** Given up when it was stopped. They may be in the topic all the same. */
  readonly unacknowledged: number;
}

/**
 * Sends a load to a topic, one batch at a time, so that each partition has its messages in their order. A batch that
 * failed in part is sent again in that part until the brokers take it. Never throws.
 */
export async function sendLoad(options: SendLoadOptions): Promise<SendSummary> {
  const { load, signal, clockMs } = options;
  const sending = new Sending(options);
  // A load that begins in the future is sent as if it began now.
  const aheadMs = Math.max(0, load.nextTimeMs - clockMs());
  let underway = Promise.resolve();
  while (!signal.aborted && load.nextTimeMs !== Number.POSITIVE_INFINITY) {
    const untilMs = options.isPaced ? clockMs() + aheadMs : Number.POSITIVE_INFINITY;
    const batch = takeDue(load, untilMs);
    await underway;
    underway = sending.deliver(batch);
    if (batch.length < BATCH_MESSAGES) await pause(PACE_MS, signal);
  }
  await underway;
  return sending.summary;
}

function takeDue(load: Load, untilMs: number): LoadMessage[] {
  const batch: LoadMessage[] = [];
  while (batch.length < BATCH_MESSAGES && load.nextTimeMs <= untilMs) {
    const message = load.next();
    if (message === undefined) break;
    batch.push(message);
  }
  return batch;
}

class Sending {
  readonly summary = { sent: 0, refused: 0, unacknowledged: 0 };
  readonly #options: SendLoadOptions;

  constructor(options: SendLoadOptions) {
    this.#options = options;
  }

  async deliver(batch: readonly LoadMessage[]): Promise<void> {
    const { producer, topic, signal, onProgress, onTrouble } = this.#options;
    let left = this.#outgoing(batch);
    for (let pauseMs = FIRST_RETRY_MS; left.length > 0; pauseMs = Math.min(2 * pauseMs, LAST_RETRY_MS)) {
      const outcomes = await producer.send(topic, left);
      const failed: OutgoingMessage[] = [];
      let failure: Error | undefined;
      for (const [i, outcome] of outcomes.entries()) {
        if (outcome.status === 'acked') this.summary.sent += 1;
        else if (outcome.status === 'refused') this.#refuse(outcome.error);
        else {
          failed.push(left[i] as OutgoingMessage);
          failure ??= outcome.error;
        }
      }
      onProgress(this.summary.sent);
      left = failed;
      if (failure === undefined) return;
      if (pauseMs === FIRST_RETRY_MS) onTrouble(`trying again: ${failure.message}`);
      if (signal.aborted) break;
      await pause(pauseMs, signal);
    }
    this.summary.unacknowledged += left.length;
  }

  #outgoing(batch: readonly LoadMessage[]): OutgoingMessage[] {
    const { isKeyed, isStampedAtSending, clockMs } = this.#options;
    const nowMs = clockMs();
    return batch.map(({ traceId, value, timeMs }) => ({
      key: isKeyed ? traceId : null,
      value,
      timestampMs: isStampedAtSending ? nowMs : timeMs,
    }));
  }

  #refuse(error: Error): void {
    this.summary.refused += 1;
    // The first few say what is wrong.
    if (this.summary.refused <= 5) this.#options.onTrouble(`refused: ${error.message}`);
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, { signal }).catch(() => undefined);
}
