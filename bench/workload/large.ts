/** Segments of any size, one per trace, in the orders in which their spans may come. */
import { Random } from './random.ts';
import { BATCH_SPANS, pagesOf, type Sketch, type Workload, workloadOf } from './spans.ts';

/** Tree and order: a chain from either end, one parent of all others before or after them, a random tree in random order. */
export const ARRIVALS = [
  'chain, leaf first',
  'chain, root first',
  'wide, root last',
  'wide, root first',
  'random',
] as const;
export type Arrival = (typeof ARRIVALS)[number];

/** `spanCount` spans in segments of `segmentSpans`, one segment after the other. */
export function segmentsOf(
  arrival: Arrival,
  {
    segmentSpans,
    spanCount,
    batchSpans = BATCH_SPANS,
  }: { segmentSpans: number; spanCount: number; batchSpans?: number },
): Workload {
  const random = new Random(segmentSpans);
  const sketches: Sketch[] = [];
  for (let at = 0; at < spanCount; at += segmentSpans) {
    for (const sketch of segmentOf(arrival, Math.min(segmentSpans, spanCount - at), random)) sketches.push(sketch);
  }
  return workloadOf(pagesOf(sketches, batchSpans), random);
}

function segmentOf(arrival: Arrival, spanCount: number, random: Random): Sketch[] {
  const traceId = random.hex(32);
  const ids = Array.from({ length: spanCount }, () => random.hex(16));
  const sketches = ids.map((spanId, k): Sketch => {
    const parentId = k === 0 ? null : (ids[parentOf(arrival, k, random)] as string);
    return { place: { projectId: 1, traceId, spanId, parentId, isRoot: k === 0, segment: 0 }, template: k };
  });
  if (arrival === 'random') return random.shuffle(sketches);
  return arrival.endsWith('root first') ? sketches : sketches.reverse();
}

function parentOf(arrival: Arrival, k: number, random: Random): number {
  if (arrival === 'random') return random.int(k);
  return arrival.startsWith('chain') ? k - 1 : 0;
}
