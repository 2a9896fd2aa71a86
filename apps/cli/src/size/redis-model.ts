/**
 * What the Redis store takes, reckoned from what it is given: bytes of `used_memory`, and script calls. Measured on Redis 7.0
 * with its default settings, payloads of the layout `distributed` or `colocated` without compression, offsets of one or a few
 * partitions; `test/redis-model.test.ts` holds it against a real Redis.
 */
import type { StoredSpan, Subsegment } from '@spanbuf/store';

/** Entries of the tables of keys and of their times to live. */
const KEY_BYTES = 65;
/** A payload beside its value: object, name, entry. And in the value, for all of its spans, and for each. */
const PAYLOAD_BYTES = 152;
const PAYLOAD_HEAD_BYTES = 40;
const PAYLOAD_SPAN_BYTES = 23;
/** The hash of a trace with one segment; then for each span, each subsegment beside its spans, each further call. */
const TRACE_BYTES = 250;
const TRACE_SPAN_BYTES = 38.5;
const TRACE_ENTRY_BYTES = 61;
const TRACE_CALL_BYTES = 19;
/** Each further segment of a trace: its record, in place of a redirect. */
const TRACE_SEGMENT_BYTES = 47;
/** What of an entry stays when its segment is produced: Redis gives memory back in steps. */
const KEPT_ENTRY_BYTES = 20;
/** Above so many fields, or when so many come at once, a hash is a table, of so many bytes a field. */
const LISTPACK_FIELDS = 512;
const LISTPACK_FIELDS_AT_ONCE = 128;
const TABLE_FIELD_BYTES = 95;
/** An entry of a queue is in two sorted sets. */
const QUEUE_ENTRY_BYTES = 333;

/** Entries that one call schedules. */
const QUEUE_PAGE = 128;
/** Segments that a flusher leases and seals together. */
const CLAIM_PAGE = 32;

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
  /** Segments that there are at the same time at most. */
  segmentCount: number;
  isTable: boolean;
}

/** Bytes of the hash of a trace. */
export function traceBytes(trace: TraceContents): number {
  const { spanCount, entryCount, heldEntryCount, callCount, segmentCount, isTable } = trace;
  if (isTable) {
    const fields = fieldsOf(trace);
    return KEY_BYTES + TABLE_FIELD_BYTES * fields + 8 * 2 ** Math.ceil(Math.log2(fields));
  }
  return (
    KEY_BYTES +
    TRACE_BYTES +
    TRACE_SPAN_BYTES * spanCount +
    TRACE_ENTRY_BYTES * heldEntryCount +
    KEPT_ENTRY_BYTES * (entryCount - heldEntryCount) +
    TRACE_CALL_BYTES * (callCount - 1) +
    TRACE_SEGMENT_BYTES * (segmentCount - 1)
  );
}

/** Whether the hash has become a table with a call that brought so many fields. It stays one. */
export function becomesTable(trace: TraceContents, spansOfCall: number, entriesOfCall: number): boolean {
  return spansOfCall + entriesOfCall + 2 > LISTPACK_FIELDS_AT_ONCE || fieldsOf(trace) > LISTPACK_FIELDS;
}

function fieldsOf({ spanCount, heldEntryCount, callCount }: TraceContents): number {
  return spanCount + heldEntryCount + callCount + 3;
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

/** Calls of a flusher that takes so many segments of a shard: lease, note, seal. Of one that finds nothing: one. */
export function claimCalls(segmentCount: number, limit: number): number {
  const pages = Math.ceil(segmentCount / CLAIM_PAGE);
  const last = segmentCount < limit && segmentCount % CLAIM_PAGE === 0 ? 1 : 0;
  return 2 * pages + last + segmentCount;
}

/** Calls of a flusher that notes that so many segments of a shard are produced: receipts, complete, settle. */
export function completeCalls(segmentCount: number, spans: readonly (readonly StoredSpan[])[]): number {
  const logs = new Set(
    spans.flat().flatMap(({ offset, source, partition }) => (offset === undefined ? [] : [`${source} ${partition}`])),
  );
  return logs.size + segmentCount + Math.ceil(segmentCount / CLAIM_PAGE);
}

/** What the allocator of Redis gives for a string of so many bytes, with its header: four sizes in each power of two. */
function allocated(bytes: number): number {
  const wanted = bytes + 5;
  const step = 2 ** Math.max(4, Math.floor(Math.log2(wanted - 1)) - 2);
  return Math.ceil(wanted / step) * step;
}
