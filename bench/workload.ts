/** Spans to measure with: realistic JSON, the same in every run, parsed before any clock starts. */
import { readFileSync } from 'node:fs';
import { parseIngestSpan, type Span } from '@spanbuf/buffer';

/** Message time of all spans, Unix seconds. */
export const NOW = 1_795_382_071;
/** Message time at which all of them are due. */
export const LATER = NOW + 86_400;

export const BATCH_SPANS = 2_000;
const PARTITIONS = 8;

/** A workload cut into batches, as a consumer would pass them to `process`. */
export interface Workload {
  readonly batches: readonly (readonly Span[])[];
  readonly spanCount: number;
  readonly payloadBytes: number;
}

export interface TypicalWorkload extends Workload {
  readonly segmentCount: number;
  readonly subsegmentCount: number;
  readonly partitions: readonly number[];
}

/** Order and tree of one large segment. */
export const SHAPES = ['chain', 'wide', 'random'] as const;
export type Shape = (typeof SHAPES)[number];

type Json = Record<string, unknown>;

/** Where a span stands: all that a template does not say. */
interface Place {
  readonly projectId: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | null;
  readonly partition: number;
}

/** Left out of the recorded spans, which are 1.3 KB, so that a span has about 1 KB. */
const OMITTED_ATTRIBUTES = ['telemetry.sdk.language', 'telemetry.sdk.name', 'service.namespace', 'service.version'];
const LONGEST_TEMPLATE = 1_100;

/** Recorded spans trace by trace, so that neighbours have in common what spans of one trace have. */
const templates: readonly Json[] = readFileSync(new URL('../samples/spans.ndjson', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Json & { trace_id: string; attributes: Json })
  .sort((a, b) => (a.trace_id < b.trace_id ? -1 : a.trace_id > b.trace_id ? 1 : 0))
  .map((span) => {
    for (const name of OMITTED_ATTRIBUTES) delete span.attributes[name];
    return span;
  })
  .filter((span) => JSON.stringify(span).length <= LONGEST_TEMPLATE);

/** Random numbers that are the same in every run: mulberry32. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 up to, not including, `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return (((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * end;
  }

  int(end: number): number {
    return Math.floor(this.below(end));
  }

  hex(digits: number): string {
    let hex = '';
    while (hex.length < digits) hex += (this.int(0xffff_fffe) + 1).toString(16).padStart(8, '0');
    return hex;
  }

  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [items[i], items[j]] = [items[j] as T, items[i] as T];
    }
    return items;
  }
}

/**
 * Many small traces at once: segments of 8 or 9 spans, somewhat more than half of which arrive in two pieces, so that a
 * subsegment has 5 to 6 spans. The pieces of a trace are spread over the batches and the
 * spans of a batch are mixed. Streams have traces and partitions of their own.
 */
export function typicalWorkload(segments: number, stream: number): TypicalWorkload {
  const random = new Random(1 + stream);
  const partitions = Array.from({ length: PARTITIONS }, (_, i) => stream * PARTITIONS + i);
  const pieces: { at: number; places: Place[]; template: number }[] = [];
  for (let i = 0; i < segments; i++) {
    const projectId = 1 + random.int(40);
    const traceId = random.hex(32);
    const ids = Array.from({ length: 8 + random.int(2) }, () => random.hex(16));
    const cut = random.below(1) < 0.57 ? 3 + random.int(3) : ids.length;
    const places = ids.map((spanId, k): Place => {
      const parent = k > cut ? cut + random.int(k - cut) : random.int(Math.min(k, cut));
      return {
        projectId,
        traceId,
        spanId,
        parentId: k === 0 ? null : (ids[parent] as string),
        partition: partitions[i % PARTITIONS] as number,
      };
    });
    const at = random.below(1);
    const template = random.int(templates.length);
    pieces.push({ at, places: places.slice(0, cut), template });
    if (cut < ids.length) pieces.push({ at: (at + 0.25) % 1, places: places.slice(cut), template: template + cut });
  }
  pieces.sort((a, b) => a.at - b.at);
  const spans = pieces.flatMap(({ places, template }) => places.map((place, k) => ({ place, template: template + k })));
  const batches = pagesOf(spans, BATCH_SPANS).map((batch) => random.shuffle(batch));
  const subsegmentCount = batches.reduce(
    (sum, batch) => sum + new Set(batch.map(({ place }) => place.traceId)).size,
    0,
  );
  return { ...workload(batches, random), segmentCount: segments, subsegmentCount, partitions };
}

/**
 * One segment: a chain that arrives leaf first, one root with all others as its children, which arrive before it, or a
 * random tree in random order.
 */
export function largeSegment(shape: Shape, spanCount: number, batchSpans = BATCH_SPANS): Workload {
  const random = new Random(spanCount);
  const traceId = random.hex(32);
  const ids = Array.from({ length: spanCount }, () => random.hex(16));
  const parentOf = { chain: (k: number) => k - 1, wide: () => 0, random: (k: number) => random.int(k) }[shape];
  const items = ids.map((spanId, k) => {
    const parentId = k === 0 ? null : (ids[parentOf(k)] as string);
    return { place: { projectId: 1, traceId, spanId, parentId, partition: 0 }, template: k };
  });
  const ordered = shape === 'random' ? random.shuffle(items) : items.reverse();
  return workload(pagesOf(ordered, batchSpans), random);
}

function workload(batches: { place: Place; template: number }[][], random: Random): Workload {
  const nextOffset = new Map<number, bigint>();
  let payloadBytes = 0;
  let spanCount = 0;
  const parsed = batches.map((batch) =>
    batch.map(({ place, template }) => {
      const { partition } = place;
      const offset = nextOffset.get(partition) ?? 0n;
      nextOffset.set(partition, offset + 1n);
      const payload = payloadOf(place, templates[template % templates.length] as Json, random);
      payloadBytes += payload.length;
      spanCount++;
      return parseIngestSpan(payload, { partition, offset });
    }),
  );
  return { batches: parsed, spanCount, payloadBytes };
}

function payloadOf({ projectId, traceId, spanId, parentId }: Place, template: Json, random: Random): Buffer {
  const start = NOW - 5 + random.below(5);
  const end = start + random.below(0.2);
  const json: Json = {
    ...template,
    project_id: projectId,
    trace_id: traceId,
    span_id: spanId,
    parent_span_id: parentId,
    is_segment: parentId === null,
    start_timestamp: Number(start.toFixed(6)),
    end_timestamp: Number(end.toFixed(6)),
    received: Number((end + random.below(0.1)).toFixed(6)),
  };
  return Buffer.from(JSON.stringify(json));
}

export function pagesOf<T>(items: readonly T[], size: number): T[][] {
  const pages: T[][] = [];
  for (let at = 0; at < items.length; at += size) pages.push(items.slice(at, at + size));
  return pages;
}
