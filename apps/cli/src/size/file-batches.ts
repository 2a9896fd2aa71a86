import { MessageClock } from '../message-clock.ts';
import { type OnRefused, readBatches } from '../read-spans.ts';
import { BatchCutter, type BatchTerms, READ_AT_ONCE, type TimedBatch } from './timed-batch.ts';

/** A recording that begins anew further back than this begins another one. */
const MAX_BACK_SECONDS = 600;

export interface InputLimits extends BatchTerms {
  /** Spans that are read; the rest of the input is not. */
  readonly mostSpans: number;
}

/** The spans of a file, one JSON object a line, when they were received. Holds one batch. */
export async function* fileBatches(
  input: AsyncIterable<Uint8Array>,
  limits: InputLimits,
  onRefused: OnRefused,
): AsyncGenerator<TimedBatch> {
  // A pause in a recording is one: whatever is due meanwhile goes out.
  const clock = new MessageClock({ maxStepSeconds: Number.POSITIVE_INFINITY, maxBackSeconds: MAX_BACK_SECONDS });
  const cutter = new BatchCutter(clock, limits);
  let left = limits.mostSpans;
  const few = { batchSize: READ_AT_ONCE, batchBytes: limits.batchBytes };
  const origin = (line: number) => ({ partition: 0, offset: BigInt(line), source: 'a'.repeat(32) });
  for await (const read of readBatches(input, few, onRefused, origin)) {
    const spans = read.slice(0, left).map(({ span }) => span);
    left -= spans.length;
    clock.advance(spans.map(({ payload }) => payload));
    yield* cutter.take(spans);
    if (left === 0) break;
  }
  yield* cutter.rest();
}
