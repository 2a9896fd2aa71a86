import { InvalidSpanError, parseIngestSpan, type Span } from '@spanbuf/buffer';
import type { LogMessage } from '@spanbuf/kafka';
import { findMessageTime, MessageClock } from '../message-clock.ts';
import type { OnRefused } from '../read-spans.ts';
import type { InputLimits } from './file-batches.ts';
import { BatchCutter, READ_AT_ONCE, type TimedBatch } from './timed-batch.ts';

/** As consumers have it by default: SPANBUF_MAX_AGE_SECONDS. */
const MAX_BACK_SECONDS = 600;

/** The spans of a topic, by the time stamps of their messages. `onRefused` is told the number of the message, from 1. */
export async function* topicBatches(
  messages: AsyncIterable<LogMessage>,
  topicId: string,
  limits: InputLimits,
  onRefused: OnRefused,
): AsyncGenerator<TimedBatch> {
  const clock = new MessageClock({ maxStepSeconds: Number.POSITIVE_INFINITY, maxBackSeconds: MAX_BACK_SECONDS });
  const cutter = new BatchCutter(clock, limits);
  let few: Span[] = [];
  let readings: number[] = [];
  let [count, left] = [0, limits.mostSpans];
  for await (const message of messages) {
    count += 1;
    const span = spanOf(message, topicId, (reason) => onRefused(count, reason));
    if (span === undefined) continue;
    const seconds = message.timestampMs > 0 ? message.timestampMs / 1_000 : findMessageTime(span.payload);
    few.push(span);
    if (seconds !== undefined) readings.push(seconds);
    left -= 1;
    if (few.length < READ_AT_ONCE && left > 0) continue;
    clock.observe(readings);
    yield* cutter.take(few);
    [few, readings] = [[], []];
    if (left === 0) break;
  }
  clock.observe(readings);
  yield* cutter.take(few);
  yield* cutter.rest();
}

function spanOf(
  { partition, offset, value, unreadable }: LogMessage,
  source: string,
  refuse: (reason: string) => void,
): Span | undefined {
  if (value === null || unreadable !== undefined) {
    refuse(`not a span: ${unreadable ?? 'the message has no value'}`);
    return undefined;
  }
  try {
    return parseIngestSpan(value, { partition, offset, source });
  } catch (error) {
    if (!(error instanceof InvalidSpanError)) throw error;
    refuse(error.message);
    return undefined;
  }
}
