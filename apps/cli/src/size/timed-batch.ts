import type { Span } from '@spanbuf/buffer';
import type { MessageClock } from '../message-clock.ts';

/** Spans that a consumer would apply together, and when. */
export interface TimedBatch {
  /** Message time since the beginning of the input. Never goes back. */
  readonly seconds: number;
  readonly spans: readonly Span[];
}

/** When spans that wait make a batch: as a consumer has it. */
export interface BatchTerms {
  readonly batchSeconds: number;
  readonly batchSpans: number;
  readonly batchBytes: number;
}

/** Few at a time, so that the clock has no steps that the input does not have. */
export const READ_AT_ONCE = 5;

/** Cuts spans that come one after the other into batches, by the clock that they have moved. */
export class BatchCutter {
  readonly #clock: MessageClock;
  readonly #terms: BatchTerms;
  #spans: Span[] = [];
  #bytes = 0;
  #sinceSeconds = 0;

  constructor(clock: MessageClock, terms: BatchTerms) {
    this.#clock = clock;
    this.#terms = terms;
  }

  /** Takes spans by which the clock has been moved. Answers a batch once there is one: of the spans before these, and of these. */
  take(spans: readonly Span[]): TimedBatch[] {
    const { batchSeconds, batchSpans, batchBytes } = this.#terms;
    const { nowSeconds } = this.#clock;
    // What came before a pause is not held back by it.
    const batches = nowSeconds - this.#sinceSeconds >= batchSeconds ? this.rest() : [];
    if (this.#spans.length === 0) this.#sinceSeconds = nowSeconds;
    for (const span of spans) {
      this.#spans.push(span);
      this.#bytes += span.payload.length;
    }
    if (this.#spans.length >= batchSpans || this.#bytes >= batchBytes) batches.push(...this.rest());
    return batches;
  }

  /** What waits, as a batch. */
  rest(): TimedBatch[] {
    if (this.#spans.length === 0) return [];
    const batch = { seconds: this.#sinceSeconds, spans: this.#spans };
    this.#spans = [];
    this.#bytes = 0;
    return [batch];
  }
}
