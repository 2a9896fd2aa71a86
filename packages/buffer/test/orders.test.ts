import { createMemoryStore, type SegmentStore } from '@spanbuf/store';
import { connect } from '@spanbuf/tooling/redis-clients';
import { describe, expect, it } from 'vitest';
import { type Span, SpanBuffer } from '../src/index.ts';
import { aSpan, aTraceId, cuts, id, idsIn, openStore, permutations, REDIS_KINDS, spansIn, T0 } from './spans.ts';

const [ROOT, A, B, C, D] = [id('a0'), id('b1'), id('c2'), id('d3'), id('e4')] as const;

/** Span and parent. */
const TREES: Record<string, readonly [string, string | null][]> = {
  'a root with three children': [
    [ROOT, null],
    [A, ROOT],
    [B, ROOT],
    [C, ROOT],
  ],
  'a chain four deep': [
    [ROOT, null],
    [A, ROOT],
    [B, A],
    [C, B],
  ],
  'a chain five deep': [
    [ROOT, null],
    [A, ROOT],
    [B, A],
    [C, B],
    [D, C],
  ],
  'a chain under a parent that stays away': [
    [A, ROOT],
    [B, A],
    [C, B],
    [D, C],
  ],
};

/**
 * Each order and cut is a trace of its own, so that all of them go through together: the first batches of all traces in
 * one call, then the second ones, and so on.
 */
function everyOrderAndCut(tree: readonly [string, string | null][]): Span[][][] {
  return permutations(tree).flatMap((order) => {
    return cuts(order).map((batches) => {
      const traceId = aTraceId();
      return batches.map((batch) => batch.map(([spanId, parent]) => aSpan(traceId, spanId, parent)));
    });
  });
}

function storeOrdersTests(open: () => SegmentStore | Promise<SegmentStore>): void {
  it.each(Object.keys(TREES))('makes one segment of %s in every order, cut everywhere', async (name) => {
    const tree = TREES[name] as (typeof TREES)[string];
    const traces = everyOrderAndCut(tree);
    const buffer = new SpanBuffer(await open());
    for (let i = 0; i < tree.length; i++)
      await buffer.process(
        traces.flatMap((batches) => batches[i] ?? []),
        { now: T0 + i },
      );
    const segments = await buffer.flush({ now: T0 + 100 });
    expect(segments).toHaveLength(traces.length);
    const expectedIds = tree.map(([spanId]) => spanId).sort();
    for (const segment of segments) {
      expect(segment.segmentId).toBe(ROOT);
      expect(segment.generation).toBe(1);
      expect(idsIn(segment)).toEqual(expectedIds);
      for (const span of spansIn(segment)) {
        expect(span.is_segment).toBe(span.span_id === ROOT);
        expect(span.attributes['sentry.segment.id']).toEqual({ type: 'string', value: ROOT });
      }
    }
    await buffer.done(segments);
    expect(await buffer.flush({ now: T0 + 1_000_000 })).toEqual([]);
  });

  it('leaves a span alone whose parent is in another project', async () => {
    const buffer = new SpanBuffer(await open());
    const traceId = aTraceId();
    await buffer.process([aSpan(traceId, ROOT, null), aSpan(traceId, A, ROOT)], { now: T0 });
    await buffer.process([aSpan(traceId, B, A, { projectId: '2' }), aSpan(traceId, C, B, { projectId: '2' })], {
      now: T0,
    });
    const segments = await buffer.flush({ now: T0 + 60 });
    expect(segments.map(({ projectId, segmentId, spanCount }) => [projectId, segmentId, spanCount]).sort()).toEqual([
      ['1', ROOT, 2],
      ['2', A, 2],
    ]);
  });

  it('makes a segment of its own of a segment span that has a parent', async () => {
    const buffer = new SpanBuffer(await open());
    const nested = [
      [ROOT, null, true],
      [A, ROOT, false],
      [B, A, true],
      [C, B, false],
    ] as const;
    const traces = permutations(nested).map((order) => {
      const traceId = aTraceId();
      return order.map(([spanId, parent, isSegmentSpan]) => aSpan(traceId, spanId, parent, { isSegmentSpan }));
    });
    for (let i = 0; i < nested.length; i++)
      await buffer.process(
        traces.flatMap((spans) => spans[i] ?? []),
        { now: T0 },
      );
    const segments = await buffer.flush({ now: T0 + 10 });
    expect(segments).toHaveLength(2 * traces.length);
    for (const segment of segments) expect(idsIn(segment)).toEqual(segment.segmentId === ROOT ? [ROOT, A] : [B, C]);
  });

  it('follows a segment id that is known although parents are missing', async () => {
    const buffer = new SpanBuffer(await open());
    const traceId = aTraceId();
    await buffer.process([aSpan(traceId, C, B, { segmentId: ROOT })], { now: T0 });
    await buffer.process([aSpan(traceId, D, C)], { now: T0 });
    const [segment] = await buffer.flush({ now: T0 + 60 });
    expect(segment).toMatchObject({ segmentId: ROOT, spanCount: 2, reason: 'idle', rootSeen: false });
  });

  it('makes one segment of pieces that lie in two shards', async () => {
    const buffer = new SpanBuffer(await open());
    const traceId = aTraceId();
    await buffer.process([aSpan(traceId, B, A, { partition: 1 })], { now: T0 });
    await buffer.process([aSpan(traceId, ROOT, null, { partition: 2 })], { now: T0 });
    await buffer.process([aSpan(traceId, A, ROOT, { partition: 1 })], { now: T0 });
    const segments = [
      ...(await buffer.flush({ now: T0 + 60, shards: [1] })),
      ...(await buffer.flush({ now: T0 + 60, shards: [2] })),
    ];
    expect(segments.map((segment) => idsIn(segment))).toEqual([[ROOT, A, B]]);
  });
}

describe('orders, in memory', () => storeOrdersTests(() => createMemoryStore()));

describe.each(REDIS_KINDS)('orders, $layout on $topology', async ({ layout, topology }) => {
  const client = await connect(topology);
  storeOrdersTests(() => openStore(client, layout));
});
