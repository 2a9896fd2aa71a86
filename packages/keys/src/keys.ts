import { MalformedKeyError, SpanbufError } from './errors.ts';
import { checkId, checkShard } from './ids.ts';

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

/** One shard's queue; the slice is the optional prefix of a deployment. Both are integers from 0. */
export interface QueueRef {
  readonly shard: number;
  readonly sliceId?: number;
}

/** The sorted sets of a queue. They share a hash tag, so that one script may move an entry between them. */
export type QueuePart = 'due' | 'in-flight' | 'held' | 'forgotten';

const SEGMENT_PREFIX = 'span-buf:s:';
const MEMBER_KEYS_PREFIX = 'span-buf:mk:';
const TRACE_PREFIX = 'span-buf:ssr:';
const QUEUE_PREFIX = 'span-buf:q:';
const SHARDS_KEY = 'span-buf:shards';

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
  return parseWith('segment key', key, SEGMENT_PREFIX, (rest, fail) => {
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
  return parseWith('payload key', key, SEGMENT_PREFIX, (rest, fail) => {
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
  return parseWith('member-keys key', key, MEMBER_KEYS_PREFIX, (rest, fail) => {
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
  return parseWith('trace key', key, TRACE_PREFIX, (rest, fail) => {
    const { tag, tail } = splitTag(rest, fail);
    if (tag.length !== 2) return fail('its hash tag is not {<project>:<trace>}');
    if (tail.length !== 0) return fail('something follows the hash tag');
    return { projectId: checkId('projectId', tag[0]), traceId: checkId('traceId', tag[1]) };
  });
}

/**
 * `span-buf:q:{[<slice>-]<shard>}`: the sorted set of due segments of one shard; `:in-flight`, `:held` and
 * `:forgotten` are appended for the other sets of the queue.
 * @throws {@link InvalidIdError} when the shard or the slice is not an integer from 0 to 16,777,215.
 */
export function formatQueueKey(ref: QueueRef & { readonly part?: QueuePart }): string {
  const shard = checkShard('shard', ref.shard);
  const slice = ref.sliceId === undefined ? '' : `${checkShard('sliceId', ref.sliceId)}-`;
  const suffix = ref.part === undefined || ref.part === 'due' ? '' : `:${ref.part}`;
  return `${QUEUE_PREFIX}{${slice}${shard}}${suffix}`;
}

// Without leading zeros: {01} is another key than {1}, and would be written back as {1}.
const QUEUE_REST =
  /^\{(?:(?<sliceId>0|[1-9]\d{0,7})-)?(?<shard>0|[1-9]\d{0,7})\}(?::(?<part>in-flight|held|forgotten))?$/;

/** Inverse of {@link formatQueueKey}. @throws {@link MalformedKeyError} for anything else. */
export function parseQueueKey(key: string | Uint8Array): QueueRef & { readonly part: QueuePart } {
  return parseWith('queue key', key, QUEUE_PREFIX, (rest, fail) => {
    const groups = QUEUE_REST.exec(rest)?.groups;
    if (groups === undefined) return fail('it does not end in {[<slice>-]<shard>}, :in-flight, :held or :forgotten');
    const shard = checkShard('shard', Number(groups['shard']));
    const part = (groups['part'] ?? 'due') as QueuePart;
    const { sliceId } = groups;
    return sliceId === undefined ? { shard, part } : { shard, sliceId: checkShard('sliceId', Number(sliceId)), part };
  });
}

/** `span-buf:shards[:<slice>]`: which shards have a queue, so that flushers find them without configuration. */
export function formatShardsKey(ref: { readonly sliceId?: number } = {}): string {
  return ref.sliceId === undefined ? SHARDS_KEY : `${SHARDS_KEY}:${checkShard('sliceId', ref.sliceId)}`;
}

type Fail = (problem: string) => never;

function parseWith<T>(
  kind: string,
  key: string | Uint8Array,
  prefix: string,
  parse: (rest: string, fail: Fail) => T,
): T {
  // Latin-1 maps every byte to one character, so bytes that are not ASCII stay visible as a wrong id.
  const text = typeof key === 'string' ? key : latin1(key);
  const fail: Fail = (problem) => {
    throw new MalformedKeyError(kind, text, problem);
  };
  if (typeof text !== 'string') return fail('a key is a string or bytes');
  if (!text.startsWith(prefix)) return fail(`it does not start with ${prefix}`);
  try {
    return parse(text.slice(prefix.length), fail);
  } catch (error) {
    if (error instanceof MalformedKeyError || !(error instanceof SpanbufError)) throw error;
    throw new MalformedKeyError(kind, text, error.message, { cause: error });
  }
}

function latin1(bytes: Uint8Array): string {
  return bytes instanceof Uint8Array
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
    : bytes;
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
