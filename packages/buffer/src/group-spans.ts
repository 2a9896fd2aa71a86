import {
  BLOB_BYTES,
  MAX_SPANS_PER_ADDITION,
  MAX_SUBSEGMENTS_PER_ADDITION,
  type StoredSpan,
  type Subsegment,
  type TraceAddition,
} from '@spanbuf/store';
import { placesOf } from './ingest-span.ts';
import { effectiveParent, type Span } from './span.ts';

/**
 * Spans of a batch as the store takes them: by trace, in pieces of bounded size in the order of their offsets, each grouped into subsegments. Of spans with the same position only the first is taken. Cost:
 * O(spans), and a sort where a trace's offsets do not come in order.
 */
export function groupSpans(
  spans: readonly Span[],
  maxSegmentBytes: number,
): { additions: TraceAddition[]; repeated: number } {
  const traces = new Map<string, Span[]>();
  for (const span of spans) {
    const key = `${span.projectId}:${span.traceId}`;
    const trace = traces.get(key);
    if (trace === undefined) traces.set(key, [span]);
    else trace.push(span);
  }
  const blobBytes = Math.min(BLOB_BYTES, maxSegmentBytes);
  const additions: TraceAddition[] = [];
  let repeated = 0;
  for (const trace of traces.values()) {
    const ordered = inOrder(trace);
    repeated += trace.length - ordered.length;
    const { projectId, traceId } = ordered[0] as Span;
    for (let at = 0; at < ordered.length; at += MAX_SPANS_PER_ADDITION) {
      for (const subsegments of piecesOf(ordered.slice(at, at + MAX_SPANS_PER_ADDITION), blobBytes)) {
        additions.push({ projectId, traceId, subsegments });
      }
    }
  }
  return { additions, repeated };
}

/** The subsegments of spans in their order, cut in halves until there are few enough of them. */
function piecesOf(spans: readonly Span[], blobBytes: number): Subsegment[][] {
  const subsegments = subsegmentsOf(spans, blobBytes);
  if (subsegments.length <= MAX_SUBSEGMENTS_PER_ADDITION) return [subsegments];
  const half = spans.length >> 1;
  return [...piecesOf(spans.slice(0, half), blobBytes), ...piecesOf(spans.slice(half), blobBytes)];
}

/** By source, partition and offset, each position once; those without an offset last, as they came. */
function inOrder(spans: Span[]): Span[] {
  if (!spans.every((span, i) => i === 0 || comparePositions(spans[i - 1] as Span, span) < 0))
    spans.sort(comparePositions);
  return spans.filter((span, i) => {
    const before = spans[i - 1];
    return span.offset === undefined || before === undefined || comparePositions(before, span) !== 0;
  });
}

function comparePositions(a: Span, b: Span): number {
  if ((a.offset === undefined) !== (b.offset === undefined)) return a.offset === undefined ? 1 : -1;
  if (a.partition !== b.partition) return a.partition - b.partition;
  const [sourceA, sourceB] = [a.source ?? '', b.source ?? ''];
  if (sourceA !== sourceB) return sourceA < sourceB ? -1 : 1;
  if (a.offset === undefined || b.offset === undefined || a.offset === b.offset) return 0;
  return a.offset < b.offset ? -1 : 1;
}

/** Spans whose chains of effective parents end at the same id, of one source and partition, in blobs of bounded size. */
function subsegmentsOf(spans: readonly Span[], blobBytes: number): Subsegment[] {
  const topOf = topsOf(spans);
  const groups = new Map<string, { topId: string; hasRoot: boolean; spans: StoredSpan[]; bytes: number }>();
  const subsegments: Subsegment[] = [];
  for (const span of spans) {
    const parentId = effectiveParent(span);
    const topId = topOf(parentId);
    const key = `${topId} ${span.partition} ${span.offset === undefined ? '' : 'o'} ${span.source ?? ''}`;
    let group = groups.get(key);
    if (group === undefined || group.bytes + span.payload.length > blobBytes) {
      group = { topId, hasRoot: false, spans: [], bytes: 0 };
      groups.set(key, group);
      subsegments.push(group);
    }
    group.spans.push(storedSpan(span, parentId));
    group.bytes += span.payload.length;
    group.hasRoot ||= span.spanId === topId && parentId === topId;
  }
  return subsegments;
}

/**
 * Where the chain from an id ends as far as these spans know. Of two spans with the same id the first says what its parent
 * is, as in the store. A chain that runs in a circle ends at the smallest id of the circle.
 */
function topsOf(spans: readonly Span[]): (id: string) => string {
  const parents = new Map<string, string>();
  for (const span of spans) if (!parents.has(span.spanId)) parents.set(span.spanId, effectiveParent(span));
  const tops = new Map<string, string>();
  return (id) => {
    let top = tops.get(id);
    if (top !== undefined) return top;
    const path = new Set<string>();
    let at = id;
    while (top === undefined) {
      path.add(at);
      const parent = parents.get(at);
      if (parent === undefined || parent === at) top = at;
      else if (path.has(parent)) top = smallestOfCircle(parent, parents);
      else top = tops.get(parent);
      at = parent ?? at;
    }
    for (const visited of path) tops.set(visited, top);
    return top;
  };
}

function smallestOfCircle(start: string, parents: ReadonlyMap<string, string>): string {
  let smallest = start;
  for (let at = parents.get(start) as string; at !== start; at = parents.get(at) as string) {
    if (at < smallest) smallest = at;
  }
  return smallest;
}

function storedSpan(received: Span, parentId: string): StoredSpan {
  const { spanId, partition, offset, source, payload } = received;
  const span: { -readonly [Field in keyof StoredSpan]: StoredSpan[Field] } = { spanId, parentId, partition, payload };
  if (offset !== undefined) span.offset = offset;
  if (source !== undefined) span.source = source;
  const places = placesOf(received);
  if (places !== undefined) span.places = places;
  return span;
}
