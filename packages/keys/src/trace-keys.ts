import { checkId } from './ids.ts';
import { type Fail, parseKey } from './parse-key.ts';

/** A trace of one project. Everything spanbuf keeps about it, payloads apart, is in one Redis Cluster slot. */
export interface TraceRef {
  readonly projectId: string;
  readonly traceId: string;
}

/** A span, or the segment named after it. */
export interface SpanRef extends TraceRef {
  readonly spanId: string;
}

/** One payload key: the span that its hash tag names, and the write that made it. */
export interface PayloadRef extends SpanRef {
  /** Tells apart the writes whose first span is the same. A payload key is written once, by one call. */
  readonly writeId?: string;
}

const SEGMENT_PREFIX = 'span-buf:s:';
const MEMBER_KEYS_PREFIX = 'span-buf:mk:';
const TRACE_PREFIX = 'span-buf:ssr:';

/**
 * `span-buf:s:{<project>:<trace>}:<span>`: a segment, and in the colocated layout the hash that holds payloads.
 * @throws {@link InvalidIdError}
 */
export function formatSegmentKey(ref: SpanRef): string {
  return `${SEGMENT_PREFIX}${traceTag(ref)}:${checkId('spanId', ref.spanId)}`;
}

/**
 * Inverse of {@link formatSegmentKey}. Also reads the older form `span-buf:s:<partition>:<project>:<trace>:<span>`.
 * @throws {@link MalformedKeyError} for anything else, a payload key included.
 */
export function parseSegmentKey(key: string | Uint8Array): SpanRef {
  return parseKey('segment key', key, SEGMENT_PREFIX, (rest, fail) => {
    const parts = rest.split(':');
    if (parts.length === 4 && !rest.includes('{') && !rest.includes('}')) {
      const [partition, projectId, traceId, spanId] = parts as [string, string, string, string];
      if (!/^\d{1,10}$/.test(partition)) return fail('the partition is not a number');
      return spanRef(projectId, traceId, spanId);
    }
    const { tag, tail } = splitTag(rest, fail);
    if (tag.length === 3) return fail('its hash tag names a span, so it is a payload key');
    if (tag.length !== 2) return fail('its hash tag is not {<project>:<trace>}');
    if (tail.length !== 1) return fail('the hash tag is not followed by :<span> alone');
    return spanRef(tag[0], tag[1], tail[0]);
  });
}

/**
 * `span-buf:s:{<project>:<trace>:<span>}:<span>[:<write>]`: payloads in the distributed layout. The span is one of those
 * whose payload it holds, so that the keys of one trace spread over the slots whatever the trace's shape.
 * @throws {@link InvalidIdError}
 */
export function formatPayloadKey(ref: PayloadRef): string {
  const spanId = checkId('spanId', ref.spanId);
  const tag = `{${checkId('projectId', ref.projectId)}:${checkId('traceId', ref.traceId)}:${spanId}}`;
  const key = `${SEGMENT_PREFIX}${tag}:${spanId}`;
  return ref.writeId === undefined ? key : `${key}:${checkId('writeId', ref.writeId)}`;
}

/** Inverse of {@link formatPayloadKey}. @throws {@link MalformedKeyError} for anything else, a segment key included. */
export function parsePayloadKey(key: string | Uint8Array): PayloadRef {
  return parseKey('payload key', key, SEGMENT_PREFIX, (rest, fail) => {
    if (!rest.startsWith('{')) return fail('its prefix is not followed by a hash tag');
    const { tag, tail } = splitTag(rest, fail);
    if (tag.length === 2) return fail('its hash tag names no span, so it is a segment key');
    if (tag.length !== 3) return fail('its hash tag is not {<project>:<trace>:<span>}');
    if (tail.length !== 1 && tail.length !== 2)
      return fail('the hash tag is not followed by :<span> or :<span>:<write>');
    if (tail[0] !== tag[2]) return fail('the span in the hash tag is not the span behind it');
    const ref = spanRef(tag[0], tag[1], tag[2]);
    return tail.length === 1 ? ref : { ...ref, writeId: checkId('writeId', tail[1]) };
  });
}

/**
 * `span-buf:mk:{<project>:<trace>}:<span>`: the member-keys index of one segment as a key of its own. spanbuf's own
 * store keeps that index inside the trace's key (docs/decisions/0002-one-key-per-trace.md) and writes no such key; the
 * format is here for tools that read it elsewhere.
 * @throws {@link InvalidIdError}
 */
export function formatMemberKeysKey(ref: SpanRef): string {
  return `${MEMBER_KEYS_PREFIX}${traceTag(ref)}:${checkId('spanId', ref.spanId)}`;
}

/** Inverse of {@link formatMemberKeysKey}. @throws {@link MalformedKeyError} for anything else. */
export function parseMemberKeysKey(key: string | Uint8Array): SpanRef {
  return parseKey('member-keys key', key, MEMBER_KEYS_PREFIX, (rest, fail) => {
    const { tag, tail } = splitTag(rest, fail);
    if (tag.length !== 2) return fail('its hash tag is not {<project>:<trace>}');
    if (tail.length !== 1) return fail('the hash tag is not followed by :<span> alone');
    return spanRef(tag[0], tag[1], tail[0]);
  });
}

/**
 * `span-buf:ssr:{<project>:<trace>}`: the structure of one trace: redirects, segment records, member keys, sealed
 * generations, positions taken.
 * @throws {@link InvalidIdError}
 */
export function formatTraceKey(ref: TraceRef): string {
  return `${TRACE_PREFIX}${traceTag(ref)}`;
}

/** Inverse of {@link formatTraceKey}. @throws {@link MalformedKeyError} for anything else. */
export function parseTraceKey(key: string | Uint8Array): TraceRef {
  return parseKey('trace key', key, TRACE_PREFIX, (rest, fail) => {
    const { tag, tail } = splitTag(rest, fail);
    if (tag.length !== 2) return fail('its hash tag is not {<project>:<trace>}');
    if (tail.length !== 0) return fail('something follows the hash tag');
    return { projectId: checkId('projectId', tag[0]), traceId: checkId('traceId', tag[1]) };
  });
}

function traceTag(ref: TraceRef): string {
  return `{${checkId('projectId', ref.projectId)}:${checkId('traceId', ref.traceId)}}`;
}

/** `{a:b}:c:d` as `{ tag: [a, b], tail: [c, d] }`. */
function splitTag(rest: string, fail: Fail): { tag: string[]; tail: string[] } {
  const close = rest.indexOf('}');
  if (!rest.startsWith('{') || close < 0) return fail('its prefix is not followed by a hash tag');
  const tail = rest.slice(close + 1);
  if (tail !== '' && !tail.startsWith(':')) return fail('the hash tag is not followed by a colon');
  return { tag: rest.slice(1, close).split(':'), tail: tail === '' ? [] : tail.slice(1).split(':') };
}

function spanRef(projectId: unknown, traceId: unknown, spanId: unknown): SpanRef {
  return {
    projectId: checkId('projectId', projectId),
    traceId: checkId('traceId', traceId),
    spanId: checkId('spanId', spanId),
  };
}
