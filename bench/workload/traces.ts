/**
 * Traces as services send them. A trace has a segment for each service that took part; the root of each further segment is
 * called by a span of one before. The spans of a trace come in one or two bursts, all of its segments together, because a
 * trace is in one partition; so a batch has a subsegment of each of them.
 */
import { Random } from './random.ts';
import { BATCH_SPANS, type Place, pagesOf, type Sketch, type Workload, workloadOf } from './spans.ts';

export interface TraceShape {
  /** Least and most. */
  readonly segments: readonly [number, number];
  readonly segmentSpans: readonly [number, number];
  /** Share of traces that come in two bursts, which cut each segment in two. */
  readonly cutShare: number;
  /** So many traces begin between the bursts of one. */
  readonly gapTraces: number;
}

/** 17 spans a trace, 8 to 9 a segment, 5 to 6 a subsegment, 2 subsegments of a trace in a batch. */
export const TYPICAL: TraceShape = { segments: [1, 3], segmentSpans: [8, 9], cutShare: 0.57, gapTraces: 106 };

/** Requests that cause hardly anything. */
export const SMALL: TraceShape = { segments: [1, 1], segmentSpans: [1, 3], cutShare: 0, gapTraces: 0 };

/** A workload, and what became of the numbers that its shape asks for. */
export interface TraceWorkload extends Workload {
  readonly traceCount: number;
  readonly segmentCount: number;
  /** Pieces of a segment that are in one batch. */
  readonly subsegmentCount: number;
  /** Pieces of a trace that are in one batch. */
  readonly traceVisits: number;
}

/** The spans of a trace that come together. */
interface Burst {
  readonly isFirst: boolean;
  readonly sketches: readonly Sketch[];
}

/** Without end: traces that begin one after the other. Streams have traces of their own. */
export function* bursts(shape: TraceShape, random: Random, traceCount = Number.POSITIVE_INFINITY): Generator<Burst> {
  const seconds: { due: number; burst: Burst }[] = [];
  for (let i = 0; i < traceCount; i++) {
    while (seconds[0] !== undefined && seconds[0].due <= i) yield (seconds.shift() as { burst: Burst }).burst;
    const { first, second } = traceOf(shape, random);
    yield { isFirst: true, sketches: first };
    if (second.length > 0) seconds.push({ due: i + shape.gapTraces, burst: { isFirst: false, sketches: second } });
  }
  for (const { burst } of seconds) yield burst;
}

function traceOf(shape: TraceShape, random: Random): { first: Sketch[]; second: Sketch[] } {
  const [projectId, traceId, template] = [1 + random.int(40), random.hex(32), random.int(1_000)];
  const segmentCount = random.between(shape.segments);
  const isCut = random.below(1) < shape.cutShare;
  const [first, second]: [Sketch[], Sketch[]] = [[], []];
  const spanIds: string[] = [];
  for (let segment = 0; segment < segmentCount; segment++) {
    const ids = Array.from({ length: random.between(shape.segmentSpans) }, () => random.hex(16));
    const cut = isCut ? Math.ceil(ids.length / 2) - random.int(2) : ids.length;
    const caller = segment === 0 ? null : (spanIds[random.int(spanIds.length)] as string);
    for (const [k, spanId] of ids.entries()) {
      // What comes second hangs below its first span, so it is one subsegment.
      const parent = k > cut ? cut + random.int(k - cut) : random.int(Math.min(k, cut));
      const parentId = k === 0 ? caller : (ids[parent] as string);
      const place: Place = { projectId, traceId, spanId, parentId, isRoot: k === 0, segment };
      (k < cut ? first : second).push({ place, template: template + spanIds.length + k });
    }
    spanIds.push(...ids);
  }
  return { first, second };
}

/** All traces in flight at once, and nothing flushed meanwhile. The spans of a batch are mixed. */
export function traceWorkload(shape: TraceShape, traceCount: number, stream: number): TraceWorkload {
  const random = new Random(1 + stream);
  const all = [...bursts(shape, random, traceCount)].flatMap(({ sketches }) => sketches);
  return withCounts(batchesOf(all, random), random, { partition: stream });
}

/** Traces whose second burst comes when the first one has been flushed. */
export function lateWorkload(
  traceCount: number,
  stream: number,
): { readonly early: TraceWorkload; readonly late: TraceWorkload } {
  const random = new Random(1 + stream);
  const all = [...bursts({ ...TYPICAL, cutShare: 1 }, random, traceCount)];
  const part = (isFirst: boolean, firstOffset: number) => {
    const sketches = all.filter((burst) => burst.isFirst === isFirst).flatMap((burst) => burst.sketches);
    return withCounts(batchesOf(sketches, random), random, { partition: stream, firstOffset });
  };
  const early = part(true, 0);
  return { early, late: part(false, early.spanCount) };
}

function batchesOf(sketches: readonly Sketch[], random: Random): Sketch[][] {
  return pagesOf(sketches, BATCH_SPANS).map((batch) => random.shuffle(batch));
}

function withCounts(
  batches: readonly (readonly Sketch[])[],
  random: Random,
  at: { readonly partition: number; readonly firstOffset?: number },
): TraceWorkload {
  const distinct = (sketches: readonly Sketch[], name: (place: Place) => string) =>
    new Set(sketches.map(({ place }) => name(place))).size;
  const trace = ({ traceId }: Place) => traceId;
  const segment = ({ traceId, segment }: Place) => `${traceId} ${segment}`;
  const sum = (name: (place: Place) => string) => batches.reduce((total, batch) => total + distinct(batch, name), 0);
  return {
    ...workloadOf(batches, random, at),
    traceCount: distinct(batches.flat(), trace),
    segmentCount: distinct(batches.flat(), segment),
    subsegmentCount: sum(segment),
    traceVisits: sum(trace),
  };
}

/** What the workloads of all streams are like, in a sentence. */
export function describeTraces(streams: readonly TraceWorkload[]): string {
  const total = (count: (stream: TraceWorkload) => number) => streams.reduce((sum, stream) => sum + count(stream), 0);
  const spans = total(({ spanCount }) => spanCount);
  const segments = total(({ segmentCount }) => segmentCount);
  const subsegments = total(({ subsegmentCount }) => subsegmentCount);
  const traces = total(({ traceCount }) => traceCount);
  const batches = total((stream) => stream.batches.length);
  return [
    `${spans} spans of ${Math.round(total(({ payloadBytes }) => payloadBytes) / spans)} bytes`,
    `in ${batches} batches of at most ${BATCH_SPANS}, from ${streams.length} partitions at once`,
    `${traces} traces in flight: ${(segments / traces).toFixed(1)} segments a trace`,
    `${(spans / segments).toFixed(1)} spans a segment, ${(spans / subsegments).toFixed(1)} a subsegment`,
    `${(subsegments / total(({ traceVisits }) => traceVisits)).toFixed(1)} subsegments of a trace in a batch`,
  ].join(', ');
}
