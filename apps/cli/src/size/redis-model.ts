/**
 * What the Redis store takes, reckoned from what it is given: bytes of `used_memory`, and script calls. Measured on Redis 7.0
 * with its default settings, payloads of the layout `distributed` or `colocated` without compression, offsets of one or a few
 * partitions; `test/redis-model.test.ts` holds it against a real Redis.
 */
import type { SealedGeneration, StoredSpan, Subsegment } from '@spanbuf/store';

/** Entries of the tables of keys and of their times to live. */
const KEY_BYTES = 65;
/** A payload beside its value: object, name, entry. And in the value, for all of its spans, and for each. */
const PAYLOAD_BYTES = 152;
const PAYLOAD_HEAD_BYTES = 40;
const PAYLOAD_SPAN_BYTES = 23;
/** The hash of a trace with one segment; then for each entry of a list, for each further call, for each further segment. */
const TRACE_BYTES = 283;
const TRACE_ENTRY_BYTES = 63;
const TRACE_CALL_BYTES = 29;
const TRACE_SEGMENT_BYTES = 75;
/** Each piece that began below a span that had not come: a handle, later a redirect, and a chunk of its own. */
const TRACE_PIECE_BYTES = 50;
/** What of an entry stays when its segment is produced: Redis gives memory back in steps. */
const KEPT_ENTRY_BYTES = 8;
/** For each span, as long as there is room in chunks; then in buckets, of which there are so many. */
const CHUNKED_SPANS = 112;
const CHUNK_SPANS = 7;
const CHUNKED_SPAN_BYTES = 10.5;
const BUCKETED_SPAN_BYTES = 25;
const BUCKETS = 4_096;
/** Above so many fields a hash is a table, of so many bytes a field beside ids in buckets. */
const LISTPACK_FIELDS = 512;
const TABLE_FIELD_BYTES = 70;
const TABLE_SPAN_BYTES = 16;
/** An entry of a queue is in two sorted sets. */
const QUEUE_ENTRY_BYTES = 333;

/** Entries that one call schedules. */
const QUEUE_PAGE = 128;
/** Segments that a flusher leases together, as long as it knows nothing of their bytes. It may take more: a call or two for 256 then. */
const CLAIM_PAGE = 32;
/** Segments of a trace that one call seals, or completes. */
const TRACE_PAGE = 20;

/** Bytes of a payload that is written for a subsegment. */
export function payloadBytes({ spans }: Subsegment): number {
  const raw = spans.reduce((sum, { payload }) => sum + payload.length + PAYLOAD_SPAN_BYTES, 0);
  return KEY_BYTES + PAYLOAD_BYTES + allocated(PAYLOAD_HEAD_BYTES + (spans[0]?.source?.length ?? 0) + raw);
}

/** What a trace holds, or has held for as long as it is known. */
export interface TraceContents {
  spanCount: number;
  /** Payloads, those that are produced included. */
  entryCount: number;
  /** Those of them that are not. */
  heldEntryCount: number;
  callCount: number;
  /** Pieces that began below a span that had not come. */
  pieceCount: number;
  /** Segments that there are at the same time at most. */
  segmentCount: number;
  isTable: boolean;
}

/** Bytes of the hash of a trace. */
export function traceBytes(trace: TraceContents): number {
  const { spanCount, entryCount, heldEntryCount, callCount, pieceCount, segmentCount, isTable } = trace;
  const chunked = Math.min(spanCount, CHUNKED_SPANS);
  const bucketed = spanCount - chunked;
  if (isTable) return KEY_BYTES + TABLE_FIELD_BYTES * fieldsOf(trace) + TABLE_SPAN_BYTES * bucketed;
  return (
    KEY_BYTES +
    TRACE_BYTES +
    CHUNKED_SPAN_BYTES * chunked +
    BUCKETED_SPAN_BYTES * bucketed +
    TRACE_ENTRY_BYTES * heldEntryCount +
    KEPT_ENTRY_BYTES * (entryCount - heldEntryCount) +
    TRACE_CALL_BYTES * (callCount - 1) +
    TRACE_PIECE_BYTES * pieceCount +
    TRACE_SEGMENT_BYTES * (segmentCount - 1)
  );
}

/** Whether the hash has become a table. It stays one. */
export function becomesTable(trace: TraceContents): boolean {
  return fieldsOf(trace) > LISTPACK_FIELDS;
}

function fieldsOf({ spanCount, heldEntryCount, callCount, segmentCount }: TraceContents): number {
  const chunked = Math.min(spanCount, CHUNKED_SPANS);
  const buckets = BUCKETS * (1 - Math.exp((chunked - spanCount) / BUCKETS));
  return Math.ceil(chunked / CHUNK_SPANS) + buckets + heldEntryCount + callCount + segmentCount + 2;
}

/** Bytes of queue entries. */
export function queueBytes(entryCount: number): number {
  return QUEUE_ENTRY_BYTES * entryCount;
}

/**
 * Calls of a consumer for one batch.
 * @param tracesByShard - Each has one segment that is touched, as a rule.
 * @param mergedShardCount - Shards in which segments were united.
 */
export function addCalls(
  additionCount: number,
  tracesByShard: ReadonlyMap<number, number>,
  mergedShardCount: number,
): number {
  if (additionCount === 0) return 0;
  const schedule = [...tracesByShard.values()].reduce((sum, count) => sum + Math.ceil(count / QUEUE_PAGE), 0);
  return additionCount + schedule + 1 + mergedShardCount;
}

/** Calls of a flusher, in the end, for segments that were united with others: each has a list of its own that is to be removed. */
export function sweepCalls(mergeCount: number): number {
  return mergeCount;
}

/** Calls of a flusher that takes segments of a shard: lease, note, seal. Of one that finds nothing: one. */
export function claimCalls(segments: readonly SealedGeneration[], limit: number): number {
  const { length } = segments;
  const pages = Math.ceil(length / CLAIM_PAGE);
  const last = length < limit && length % CLAIM_PAGE === 0 ? 1 : 0;
  return 2 * pages + last + traceCalls(segments);
}

/** Calls of a flusher that notes that segments of a shard are produced: receipts, complete, settle. */
export function completeCalls(
  segments: readonly SealedGeneration[],
  spans: readonly (readonly StoredSpan[])[],
): number {
  const logs = new Set(
    spans.flat().flatMap(({ offset, source, partition }) => (offset === undefined ? [] : [`${source} ${partition}`])),
  );
  return logs.size + traceCalls(segments) + Math.ceil(segments.length / CLAIM_PAGE);
}

/** Of what is done to segments of a trace together. */
function traceCalls(segments: readonly SealedGeneration[]): number {
  const counts = new Map<string, number>();
  for (const { projectId, traceId } of segments) {
    const key = `${projectId}:${traceId}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts.values()].reduce((sum, count) => sum + Math.ceil(count / TRACE_PAGE), 0);
}

/** What the allocator of Redis gives for a string of so many bytes, with its header: four sizes in each power of two. */
function allocated(bytes: number): number {
  const wanted = bytes + 5;
  const step = 2 ** Math.max(4, Math.floor(Math.log2(wanted - 1)) - 2);
  return Math.ceil(wanted / step) * step;
}
