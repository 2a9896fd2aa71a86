/** Spans to measure with: realistic JSON of about 1 KB, the same in every run, parsed before any clock starts. */
import { readFileSync } from 'node:fs';
import { parseIngestSpan, type Span } from '@spanbuf/buffer';
import type { Random } from './random.ts';

/** Message time of all spans, Unix seconds. */
export const NOW = 1_795_382_071;
/** Message time at which all of them are due. */
export const LATER = NOW + 86_400;

export const BATCH_SPANS = 2_000;

type Json = Record<string, unknown>;

/** Where a span stands: all that a template does not say. */
export interface Place {
  readonly projectId: number;
  readonly traceId: string;
  readonly spanId: string;
  /** Of the root of a further segment of a trace: the span that called it. */
  readonly parentId: string | null;
  /** Of its segment. */
  readonly isRoot: boolean;
  /** Which segment of its trace, from 0. */
  readonly segment: number;
}

/** A span to be: its place, and which of the recorded spans it looks like. */
export interface Sketch {
  readonly place: Place;
  readonly template: number;
}

/** Spans of one partition cut into batches, as a consumer passes them to `process`. */
export interface Workload {
  readonly batches: readonly (readonly Span[])[];
  readonly partition: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
}

/** Left out of the recorded spans, which are 1.3 KB, so that a span has about 1 KB. */
const OMITTED_ATTRIBUTES = ['telemetry.sdk.language', 'telemetry.sdk.name', 'service.namespace', 'service.version'];
const LONGEST_TEMPLATE = 1_100;

const recorded = readFileSync(new URL('../../samples/spans.ndjson', import.meta.url), 'utf8')
  .trim()
  .split('\n');

/** The recorded spans as they are. */
export const recordedPayloads: readonly Buffer[] = recorded.map((line) => Buffer.from(line));

/** Recorded spans trace by trace, so that neighbours have in common what spans of one trace have. */
const templates: readonly Json[] = recorded
  .map((line) => JSON.parse(line) as Json & { trace_id: string; attributes: Json })
  .sort((a, b) => (a.trace_id < b.trace_id ? -1 : a.trace_id > b.trace_id ? 1 : 0))
  .map((span) => {
    for (const name of OMITTED_ATTRIBUTES) delete span.attributes[name];
    return span;
  })
  .filter((span) => JSON.stringify(span).length <= LONGEST_TEMPLATE);

export function payloadOf({ place, template }: Sketch, random: Random): Buffer {
  const start = NOW - 5 + random.below(5);
  const end = start + random.below(0.2);
  const json: Json = {
    ...templates[template % templates.length],
    project_id: place.projectId,
    trace_id: place.traceId,
    span_id: place.spanId,
    parent_span_id: place.parentId,
    is_segment: place.isRoot,
    start_timestamp: Number(start.toFixed(6)),
    end_timestamp: Number(end.toFixed(6)),
    received: Number((end + random.below(0.1)).toFixed(6)),
  };
  return Buffer.from(JSON.stringify(json));
}

/** @param firstOffset - In the partition, of the first span. */
export function workloadOf(
  batches: readonly (readonly Sketch[])[],
  random: Random,
  { partition = 0, firstOffset = 0 }: { readonly partition?: number; readonly firstOffset?: number } = {},
): Workload {
  let payloadBytes = 0;
  let spanCount = 0;
  const parsed = batches.map((batch) =>
    batch.map((sketch) => {
      const payload = payloadOf(sketch, random);
      payloadBytes += payload.length;
      return parseIngestSpan(payload, { partition, offset: BigInt(firstOffset + spanCount++) });
    }),
  );
  return { batches: parsed, partition, spanCount, payloadBytes };
}

export function pagesOf<T>(items: readonly T[], size: number): T[][] {
  const pages: T[][] = [];
  for (let at = 0; at < items.length; at += size) pages.push(items.slice(at, at + size));
  return pages;
}

/** A part of the full size of a case, for a short run; at least `least`. */
export function scaled(count: number, size: number, least = 1): number {
  return Math.max(least, Math.round(count * size));
}
