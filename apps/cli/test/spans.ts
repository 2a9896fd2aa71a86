import { Writable } from 'node:stream';
import { LAYOUTS, type LayoutName } from '@spanbuf/store';
import { type AssembleLimits, assemble } from '../src/assemble.ts';
import { LineWriter } from '../src/line-writer.ts';
import { MessageClock } from '../src/message-clock.ts';
import { openStore } from '../src/open-store.ts';
import { Reporter } from '../src/reporter.ts';
import { parseStoreLocation } from '../src/store-location.ts';
import type { Summary } from '../src/summary.ts';

export { LAYOUTS };

export const LIMITS: AssembleLimits = {
  rootTimeoutSeconds: 10,
  timeoutSeconds: 60,
  maxAgeSeconds: 600,
  maxSegmentBytes: 10 * 1024 * 1024,
  maxMessageBytes: 10 * 1024 * 1024,
};

export const TRACE = 'a0d7fb9549c749b86f7e870c89c53b5e';

/** A line of input. Without a parent it is a root. */
export function aLine(id: string, parent?: string, more: object = {}): string {
  return JSON.stringify({
    project_id: 1,
    trace_id: TRACE,
    span_id: hex(id),
    parent_span_id: parent && hex(parent),
    ...more,
  });
}

/** A span id that ends with these digits. */
export function hex(digits: string): string {
  return digits.padStart(16, '0');
}

export interface Run {
  readonly summary: Summary;
  readonly lines: string[];
  /** What was said on stderr. */
  readonly said: string[];
}

export interface RunOptions {
  readonly store?: string;
  readonly layout?: LayoutName;
  readonly batchSize?: number;
  readonly shuffleSeed?: number;
  readonly limits?: Partial<AssembleLimits>;
}

let runs = 0;

/** Assembles in this process, with a store of its own. */
export async function run(
  input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: RunOptions = {},
): Promise<Run> {
  const limits = { ...LIMITS, ...options.limits };
  const clock = new MessageClock({
    maxStepSeconds: limits.rootTimeoutSeconds / 2,
    maxBackSeconds: limits.maxAgeSeconds,
  });
  const chunks: Buffer[] = [];
  const said: string[] = [];
  const output = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  const { store, close } = await openStore(parseStoreLocation(options.store ?? 'memory'), {
    layout: options.layout ?? 'distributed',
    runId: `${process.pid}-${Date.now()}-${runs++}`,
    clock: () => clock.nowSeconds,
  });
  try {
    const summary = await assemble({
      input: streamOf(input),
      output: new LineWriter(output, 'the test'),
      store,
      clock,
      limits,
      batchSize: options.batchSize ?? 1000,
      shuffleSeed: options.shuffleSeed,
      reporter: new Reporter({ write: (text) => said.push(text), isTerminal: false, clockMs: () => performance.now() }),
      signal: new AbortController().signal,
    });
    const lines = Buffer.concat(chunks).toString().split('\n').slice(0, -1);
    return { summary, lines, said };
  } finally {
    close();
  }
}

async function* streamOf(input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* input;
}

/** Chunks of a size that no line keeps to. */
export function* chunksOf(bytes: Uint8Array, size = 65_521): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Which spans each segment holds: `trace/segment -> span ids`, whatever the messages they came in. */
export function segmentsIn(lines: readonly string[]): Map<string, string[]> {
  const segments = new Map<string, string[]>();
  for (const line of lines) {
    for (const span of JSON.parse(line).spans) {
      const key = `${span.project_id}/${span.trace_id}/${span.attributes['sentry.segment.id'].value}`;
      segments.set(key, [...(segments.get(key) ?? []), span.span_id].sort());
    }
  }
  return new Map([...segments].sort());
}

/** All span ids that came out, sorted. */
export function spanIdsIn(lines: readonly string[]): string[] {
  return lines.flatMap((line) => JSON.parse(line).spans.map((span: { span_id: string }) => span.span_id)).sort();
}
