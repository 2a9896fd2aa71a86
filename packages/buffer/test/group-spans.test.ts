import { BLOB_BYTES, MAX_SPANS_PER_ADDITION, MAX_SUBSEGMENTS_PER_ADDITION } from '@spanbuf/store';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { groupSpans } from '../src/group-spans.ts';
import { parseIngestSpan } from '../src/ingest-span.ts';
import { effectiveParent, type Span } from '../src/span.ts';
import { aSpan, aTraceId, id } from './spans.ts';

const MAX_BYTES = 1_000_000;
const AT = { partition: 0 };

/** Spans of one trace with positions, in any order, some of them twice. */
const batches: fc.Arbitrary<Span[]> = fc
  .record({
    traceId: fc.constant(aTraceId()),
    spans: fc.array(
      fc.record({
        span: fc.nat(400),
        parent: fc.option(fc.nat(400), { freq: 20 }),
        partition: fc.nat(2),
        offset: fc.option(fc.bigInt(0n, 800n), { nil: undefined, freq: 10 }),
        source: fc.constantFrom(undefined, 'another'),
        bytes: fc.constantFrom(2, 500, BLOB_BYTES),
      }),
      { minLength: 1, maxLength: 700, size: 'max' },
    ),
  })
  .map(({ traceId, spans }) =>
    spans.map(({ span, parent, partition, offset, source, bytes }) =>
      aSpan(traceId, id(span), parent === null ? null : id(parent), {
        partition,
        payload: Buffer.alloc(bytes, 'x'),
        ...(offset !== undefined && { offset }),
        ...(source !== undefined && { source }),
      }),
    ),
  );

const positionOf = ({ source, partition }: { source?: string; partition: number }) => `${source ?? ''}/${partition}`;

describe('grouping a batch', () => {
  it('keeps every position once, and every span without one', () => {
    fc.assert(
      fc.property(batches, (spans) => {
        const { additions, repeated } = groupSpans(spans, MAX_BYTES);
        const kept = additions.flatMap(({ subsegments }) => subsegments.flatMap((subsegment) => subsegment.spans));
        expect(kept.length + repeated).toBe(spans.length);
        const positions = (all: readonly { source?: string; partition: number; offset?: bigint }[]) =>
          all.filter(({ offset }) => offset !== undefined).map((span) => `${positionOf(span)}/${span.offset}`);
        expect(positions(kept).sort()).toEqual([...new Set(positions(spans))].sort());
        const without = (all: readonly { offset?: bigint }[]) =>
          all.filter(({ offset }) => offset === undefined).length;
        expect(without(kept)).toBe(without(spans));
      }),
    );
  });

  it('gives a partition its offsets in order, from one addition to the next and within a subsegment', () => {
    fc.assert(
      fc.property(batches, (spans) => {
        const highest = new Map<string, bigint>();
        for (const { subsegments } of groupSpans(spans, MAX_BYTES).additions) {
          const before = new Map(highest);
          for (const subsegment of subsegments) {
            const offsets = subsegment.spans.map(({ offset }) => offset);
            expect(offsets.every((offset, i) => i === 0 || (offset ?? 0n) >= (offsets[i - 1] ?? 0n))).toBe(true);
            expect(
              new Set(subsegment.spans.map((span) => `${positionOf(span)} ${span.offset === undefined}`)).size,
            ).toBe(1);
            for (const span of subsegment.spans) {
              if (span.offset === undefined) continue;
              expect(span.offset > (before.get(positionOf(span)) ?? -1n)).toBe(true);
              const known = highest.get(positionOf(span)) ?? -1n;
              if (span.offset > known) highest.set(positionOf(span), span.offset);
            }
          }
        }
      }),
    );
  });

  it('stays within the bounds of a script call and of a payload', () => {
    fc.assert(
      fc.property(batches, fc.constantFrom(100, 600, MAX_BYTES), (spans, maxSegmentBytes) => {
        for (const { subsegments } of groupSpans(spans, maxSegmentBytes).additions) {
          expect(subsegments.length).toBeLessThanOrEqual(MAX_SUBSEGMENTS_PER_ADDITION);
          const counts = subsegments.map((subsegment) => subsegment.spans.length);
          expect(counts.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(MAX_SPANS_PER_ADDITION);
          expect(Math.min(...counts)).toBeGreaterThan(0);
          for (const subsegment of subsegments) {
            const bytes = subsegment.spans.reduce((sum, { payload }) => sum + payload.length, 0);
            const most = Math.min(BLOB_BYTES, maxSegmentBytes);
            expect(subsegment.spans.length === 1 || bytes <= most).toBe(true);
          }
        }
      }),
    );
  });

  it('says of a subsegment that it has its root exactly when the root is in it', () => {
    fc.assert(
      fc.property(batches, (spans) => {
        for (const { subsegments } of groupSpans(spans, MAX_BYTES).additions) {
          for (const { topId, hasRoot, spans: members } of subsegments) {
            const roots = members.filter(({ spanId, parentId }) => spanId === topId && parentId === topId);
            expect(hasRoot).toBe(roots.length > 0);
          }
        }
      }),
    );
  });

  it('names a circle after its smallest id, whatever the order', () => {
    const traceId = aTraceId();
    const circle = [aSpan(traceId, id(3), id(2)), aSpan(traceId, id(2), id(1)), aSpan(traceId, id(1), id(3))];
    for (const order of [circle, circle.toReversed(), [...circle.slice(1), ...circle.slice(0, 1)]]) {
      const { additions } = groupSpans([...order, aSpan(traceId, id(9), id(3))], MAX_BYTES);
      expect(additions.map(({ subsegments }) => subsegments.map(({ topId, hasRoot }) => [topId, hasRoot]))).toEqual([
        [[id(1), false]],
      ]);
    }
  });

  it('follows the effective parent: a segment id before a parent', () => {
    const traceId = aTraceId();
    const span = aSpan(traceId, id(3), id(2), { segmentId: id(1) });
    expect(effectiveParent(span)).toBe(id(1));
    expect(groupSpans([span], MAX_BYTES).additions[0]?.subsegments[0]?.topId).toBe(id(1));
  });

  it('notes where ordinary spans of the input are to be changed, and nothing of others', () => {
    const ids = { trace_id: aTraceId(), span_id: id(1), parent_span_id: id(2) };
    const parsed = (fields: object) =>
      parseIngestSpan(Buffer.from(JSON.stringify({ is_segment: false, project_id: 1, ...ids, ...fields })), AT);
    const placesOf = (span: Span) => groupSpans([span], MAX_BYTES).additions[0]?.subsegments[0]?.spans[0]?.places;
    const ordinary = parsed({ attributes: { a: 1 } });
    expect(placesOf(ordinary)).toEqual([14, ordinary.payload.length - 2]);
    for (const span of [parsed({}), { ...ordinary }]) expect(placesOf(span)).toBeUndefined();
  });
});
