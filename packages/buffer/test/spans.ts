import { randomBytes, randomInt } from 'node:crypto';
import { createRedisStore, LAYOUTS, type LayoutName, type SegmentStore } from '@spanbuf/store';
import { TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import type { Cluster, Redis } from 'ioredis';
import type { FlushedSegment, Span } from '../src/index.ts';
import { type Splice, splicedBytes, writeSpliced } from '../src/span-json.ts';

/** Message time at which the tests begin, Unix seconds. */
export const T0 = 1_700_000_000;

/** Every layout on every topology, as rows for `describe.each`. */
export const REDIS_KINDS = LAYOUTS.flatMap((layout) => TOPOLOGIES.map((topology) => ({ layout, topology })));

/** An empty store: its queues are in a slice of their own. */
export function openStore(client: Redis | Cluster, layout: LayoutName, sliceId = aSlice()): SegmentStore {
  return createRedisStore(client, { layout, sliceId });
}

export function aSlice(): number {
  return randomInt(1, 2 ** 24);
}

export function aTraceId(): string {
  return randomBytes(16).toString('hex');
}

/** A span id with these last digits. */
export function id(digits: string | number): string {
  return (typeof digits === 'number' ? digits.toString(16) : digits).padStart(16, '0');
}

/** A span of `traceId`; without a parent it is a root. */
export function aSpan(traceId: string, spanId: string, parentSpanId: string | null, more: Partial<Span> = {}): Span {
  return {
    projectId: '1',
    traceId,
    spanId,
    parentSpanId,
    segmentId: null,
    isSegmentSpan: parentSpanId === null,
    payload: Buffer.from(JSON.stringify({ span_id: spanId })),
    partition: 0,
    ...more,
  };
}

/** What a consumer of the output topic sees of a segment. */
export interface SpanSeen {
  readonly span_id: string;
  readonly is_segment: boolean;
  readonly attributes: { readonly 'sentry.segment.id': { readonly type: string; readonly value: string } };
}

export function spansIn(segment: FlushedSegment): SpanSeen[] {
  return segment.messages().flatMap(({ value }) => (JSON.parse(String(value)) as { spans: SpanSeen[] }).spans);
}

export function idsIn(segment: FlushedSegment): string[] {
  return spansIn(segment)
    .map(({ span_id }) => span_id)
    .sort();
}

/** A spliced span. It fills the bytes that it is said to take, and no other. */
export function written(payload: Uint8Array, splice: Splice): Buffer {
  const bytes = splicedBytes(splice);
  const target = Buffer.alloc(bytes + 2, '?');
  if (writeSpliced(payload, splice, target, 1) !== bytes + 1 || target[0] !== 0x3f || target.at(-1) !== 0x3f)
    throw new Error(`something else than ${bytes} bytes was written: ${target}`);
  return target.subarray(1, -1);
}

/** All orders of the items. */
export function permutations<T>(items: readonly T[]): T[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

/** All ways to cut a sequence into batches: every gap between two items is a cut, or is not. */
export function cuts<T>(items: readonly T[]): T[][][] {
  return Array.from({ length: 2 ** (items.length - 1) }, (_, gaps) => {
    const batches: T[][] = [[]];
    for (const [i, item] of items.entries()) {
      if (i > 0 && gaps & (1 << (i - 1))) batches.push([]);
      batches.at(-1)?.push(item);
    }
    return batches;
  });
}
