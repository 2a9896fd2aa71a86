/** Messages of one partition of the input topic, without end: typical traces, as they come. */
import { Random } from '../workload/random.ts';
import { payloadOf, type Sketch } from '../workload/spans.ts';
import { bursts, TYPICAL } from '../workload/traces.ts';

export interface SpanMessage {
  readonly traceId: string;
  readonly value: Buffer;
  /** A segment has one. */
  readonly isRoot: boolean;
}

/** Spans of so many neighbours are mixed. */
const MIXED_SPANS = 200;
/** Between the two bursts of a trace, in message time. */
const GAP_SECONDS = 2;
const TRACE_SPANS = 17;

export class SpanStream {
  readonly #random: Random;
  readonly #bursts: Iterator<{ readonly sketches: readonly Sketch[] }>;
  #waiting: Sketch[] = [];

  /** @param spansPerSecond - Of message time. */
  constructor(seed: number, spansPerSecond: number) {
    this.#random = new Random(1 + seed);
    const gapTraces = Math.max(1, Math.round((GAP_SECONDS * spansPerSecond) / TRACE_SPANS));
    this.#bursts = bursts({ ...TYPICAL, gapTraces }, this.#random);
  }

  next(): SpanMessage {
    if (this.#waiting.length === 0) this.#refill();
    const sketch = this.#waiting.pop() as Sketch;
    const { traceId, isRoot } = sketch.place;
    return { traceId, isRoot, value: payloadOf(sketch, this.#random) };
  }

  #refill(): void {
    const sketches: Sketch[] = [];
    while (sketches.length < MIXED_SPANS) sketches.push(...this.#bursts.next().value.sketches);
    this.#waiting = this.#random.shuffle(sketches);
  }
}
