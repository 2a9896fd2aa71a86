import { DEFAULT_MAX_SPAN_BYTES, InvalidSpanError, parseIngestSpan, type Span, type SpanOrigin } from '@spanbuf/buffer';
import { type Line, LineSplitter } from './lines.ts';

export interface ReadSpan {
  readonly span: Span;
  /** Line it stands on, from 1. */
  readonly line: number;
}

const WITHOUT_OFFSET = (): SpanOrigin => ({ partition: 0 });

/** Told of each line that is not a span: one printable line of text, whatever the input. */
export type OnRefused = (line: number, reason: string) => void;

export interface BatchLimits {
  /** Most spans of a batch, from 1. */
  readonly batchSize: number;
  /** A batch ends as soon as it has this many bytes. */
  readonly batchBytes: number;
}

/**
 * Reads spans, one JSON object a line, and yields them in batches, never an empty one. Lines that are not spans are
 * handed to `onRefused` and left out. Holds one batch and one line, whatever the length of the input.
 * @param originOf - Where the span of a line comes from. By default they have no offset: nothing in one run is a replay, and a
 * line that stands in the input twice comes out twice. It also makes the output, flush ids included, a function of the
 * input alone.
 */
export async function* readBatches(
  input: AsyncIterable<Uint8Array>,
  limits: BatchLimits,
  onRefused: OnRefused,
  originOf: (line: number) => SpanOrigin = WITHOUT_OFFSET,
): AsyncGenerator<ReadSpan[]> {
  let batch: ReadSpan[] = [];
  let bytes = 0;
  for await (const lines of readLines(input)) {
    for (const line of lines) {
      const span = readSpan(line, onRefused, originOf);
      if (span === undefined) continue;
      batch.push({ span, line: line.number });
      bytes += line.byteLength;
      if (batch.length < limits.batchSize && bytes < limits.batchBytes) continue;
      yield batch;
      batch = [];
      bytes = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

/** Spans that are in memory already, in batches. */
export async function* cutBatches(spans: readonly ReadSpan[], limits: BatchLimits): AsyncGenerator<ReadSpan[]> {
  let batch: ReadSpan[] = [];
  let bytes = 0;
  for (const read of spans) {
    batch.push(read);
    bytes += read.span.payload.length;
    if (batch.length < limits.batchSize && bytes < limits.batchBytes) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

/** By chunk of the input, and not one by one: a step of an asynchronous loop costs as much as finding the line. */
async function* readLines(input: AsyncIterable<Uint8Array>): AsyncGenerator<Line[]> {
  const splitter = new LineSplitter(DEFAULT_MAX_SPAN_BYTES);
  for await (const chunk of input) yield splitter.push(chunk);
  yield splitter.end();
}

function readSpan(line: Line, onRefused: OnRefused, originOf: (line: number) => SpanOrigin): Span | undefined {
  if (line.bytes === undefined) {
    onRefused(line.number, `not a span: it is ${line.byteLength} bytes long, more than ${DEFAULT_MAX_SPAN_BYTES}`);
    return undefined;
  }
  try {
    return parseIngestSpan(line.bytes, originOf(line.number));
  } catch (error) {
    if (!(error instanceof InvalidSpanError)) throw error;
    onRefused(line.number, error.message);
    return undefined;
  }
}
