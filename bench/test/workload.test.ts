import { expect, it } from 'vitest';
import { ARRIVALS, segmentsOf } from '../workload/large.ts';
import { lateWorkload, TYPICAL, traceWorkload } from '../workload/traces.ts';

it('has typical traces in the shape that it claims', () => {
  const typical = traceWorkload(TYPICAL, 425, 0);
  const within = (value: number, least: number, most: number) => {
    expect(value).toBeGreaterThanOrEqual(least);
    expect(value).toBeLessThanOrEqual(most);
  };
  within(typical.spanCount / typical.segmentCount, 8, 9);
  within(typical.spanCount / typical.subsegmentCount, 5, 6);
  within(typical.segmentCount / typical.traceCount, 1.8, 2.2);
  within(typical.subsegmentCount / typical.traceVisits, 1.8, 2.2);
  within(typical.payloadBytes / typical.spanCount, 950, 1_100);
  expect(typical.batches[0]).toHaveLength(2_000);
});

it('makes the same spans every time', () => {
  const payloads = () =>
    traceWorkload(TYPICAL, 10, 3).batches.flatMap((batch) => batch.map(({ payload }) => String(payload)));
  expect(payloads()).toEqual(payloads());
});

it.each(ARRIVALS)('has one root and the whole tree: %s', (arrival) => {
  const spans = segmentsOf(arrival, { segmentSpans: 50, spanCount: 50 }).batches.flat();
  const ids = new Set(spans.map(({ spanId }) => spanId));
  expect(ids.size).toBe(50);
  expect(spans.filter(({ parentSpanId }) => parentSpanId === null)).toHaveLength(1);
  expect(spans.every(({ parentSpanId }) => parentSpanId === null || ids.has(parentSpanId))).toBe(true);
  expect(spans.map(({ offset }) => offset)).toEqual(spans.map((_, i) => BigInt(i)));
});

it('lets late spans follow on the offsets of those before, in segments of theirs', () => {
  const { early, late } = lateWorkload(20, 0);
  const first = late.batches.flat().reduce((least, { offset = 0n }) => (offset < least ? offset : least), 10n ** 9n);
  expect(first).toBe(BigInt(early.spanCount));
  expect(late.segmentCount).toBe(early.segmentCount);
});
