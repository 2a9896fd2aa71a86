import type { InspectedPayload, InspectedSegment, InspectedTrace, StoredSpan, Wait } from '@spanbuf/store';
import { queueJson } from './queues-json.ts';
import { missingParentsOf, nameOf } from './span-tree.ts';

/** The one line of `--json`. */
export function inspectedJson(inspected: InspectedTrace): Buffer {
  return Buffer.from(
    JSON.stringify({
      project_id: inspected.projectId,
      trace_id: inspected.traceId,
      key: inspected.key,
      node: inspected.node,
      field_count: inspected.fieldCount,
      ttl_seconds: inspected.ttlSeconds,
      is_whole: inspected.isWhole,
      unreadable_fields: inspected.unreadableFields,
      redis_seconds: inspected.redisSeconds,
      live_flushers: inspected.liveFlushers,
      shards: inspected.shards.map(queueJson),
      segments: inspected.segments.map(segmentJson),
    }),
  );
}

function segmentJson(segment: InspectedSegment) {
  const spans = segment.payloads.flatMap((payload) => payload.spans);
  return {
    segment_id: segment.segmentId,
    generation: segment.generation,
    shard: segment.shard,
    state: segment.state,
    seal_reason: segment.sealReason,
    wait: waitJson(segment.wait),
    tries: segment.tries,
    span_count: segment.spanCount,
    payload_bytes: segment.payloadBytes,
    root_seen: segment.rootSeen,
    first_seconds: segment.firstSeconds,
    last_seconds: segment.lastSeconds,
    missing_parents: missingParentsOf(spans),
    payload_count: segment.payloadCount,
    missing_entry_count: segment.missingEntryCount,
    payloads: segment.payloads.map(payloadJson),
  };
}

function waitJson(wait: Wait) {
  switch (wait.kind) {
    case 'not-due':
    case 'held-back':
      return {
        kind: wait.kind,
        due_seconds: wait.dueSeconds,
        message_seconds: wait.messageSeconds,
        backstop_seconds: wait.backstopSeconds,
        ...(wait.kind === 'held-back' && { cause: causeJson(wait.cause) }),
      };
    case 'due':
      return { kind: wait.kind, due_seconds: wait.dueSeconds, message_seconds: wait.messageSeconds };
    case 'leased':
      return { kind: wait.kind, until_seconds: wait.untilSeconds, now_seconds: wait.nowSeconds };
    case 'parked':
      return { kind: wait.kind, reason: wait.reason, parked_seconds: wait.parkedSeconds };
    case 'outdated':
      return { kind: wait.kind, epoch: wait.epoch, current_epoch: wait.currentEpoch };
    case 'not-queued':
      return { kind: wait.kind };
  }
}

function causeJson(cause: Extract<Wait, { kind: 'held-back' }>['cause']) {
  switch (cause.kind) {
    case 'backlog':
      return { kind: cause.kind, behind_seconds: cause.behindSeconds };
    case 'other-partitions':
      return { kind: cause.kind, wait_seconds: cause.waitSeconds };
    case 'silent-consumer':
      return { kind: cause.kind, silent_seconds: cause.silentSeconds };
  }
}

function payloadJson({ places, state, spans }: InspectedPayload) {
  return {
    state,
    places: places.map(({ layout, key, field, node, bytes }) => ({ layout, key, field, node, bytes })),
    spans: spans.map(spanJson),
  };
}

function spanJson(span: StoredSpan) {
  const { spanId, parentId, partition, source, offset, payload } = span;
  return {
    span_id: spanId,
    parent_id: parentId,
    name: nameOf(span),
    partition,
    source,
    // It may be more than a number of JSON can hold.
    offset: offset?.toString(),
    bytes: payload.length,
  };
}
