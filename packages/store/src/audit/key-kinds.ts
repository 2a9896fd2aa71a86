import {
  formatPayloadKey,
  formatQueueKey,
  formatSegmentKey,
  formatTraceKey,
  MalformedKeyError,
  type PayloadRef,
  parseLedgerKey,
  parseMemberKeysKey,
  parsePayloadKey,
  parseQueueKey,
  parseReceiptsKey,
  parseSegmentKey,
  parseTraceKey,
  type QueuePart,
  type QueueRef,
  type SpanRef,
  type TraceRef,
} from '@spanbuf/keys';

/** What a key of spanbuf is there for, and the type that Redis keeps under it. */
export type KnownKey = { readonly key: string; readonly type: RedisType } & (
  | { readonly kind: 'trace'; readonly trace: TraceRef }
  | { readonly kind: 'payload'; readonly ref: Required<PayloadRef> }
  | { readonly kind: 'colocated'; readonly ref: SpanRef }
  | { readonly kind: 'queue'; readonly ref: QueueRef & QueuePart }
  | { readonly kind: 'ledger'; readonly ref: QueueRef }
  | { readonly kind: 'other' }
);

type RedisType = 'hash' | 'string' | 'zset' | 'set';

/** Every key of spanbuf starts with it. */
export const KEY_PREFIX = 'span-buf:';

/** Runs of `spanbuf assemble`: whole buffers of their own, which expire. */
const FOREIGN = /^span-buf:cli:[0-9a-f]+:/;

const OTHERS: readonly (readonly [RegExp, RedisType])[] = [
  [/^span-buf:shards(:\d+)?$/, 'hash'],
  [/^span-buf:clocks(:\d+)?$/, 'hash'],
  [/^span-buf:flushers(:\d+)?$/, 'zset'],
  [/^span-buf:processes(:\d+)?$/, 'hash'],
  [/^span-buf:watched(:\d+)?$/, 'zset'],
  [/^span-buf:epoch(:\d+)?$/, 'hash'],
  [/^span-buf:sentinel:\{\d+\}(:\d+)?$/, 'hash'],
];

/** What a key is; `undefined` for one that no format explains, `foreign` for one that is none of this buffer's. */
export function kindOf(key: string): KnownKey | 'foreign' | undefined {
  if (FOREIGN.test(key)) return 'foreign';
  const other = OTHERS.find(([pattern]) => pattern.test(key));
  if (other) return { key, kind: 'other', type: other[1] };
  if (key.startsWith('span-buf:ssr:')) {
    const trace = parsed(key, parseTraceKey);
    return trace && formatTraceKey(trace) === key ? { key, kind: 'trace', type: 'hash', trace } : undefined;
  }
  if (key.startsWith('span-buf:q:')) {
    const ref = parsed(key, parseQueueKey);
    if (ref?.part === undefined || formatQueueKey(ref) !== key) return undefined;
    return { key, kind: 'queue', type: isHash(ref) ? 'hash' : 'zset', ref };
  }
  if (key.startsWith('span-buf:ledger:')) {
    const ref = parsed(key, parseLedgerKey);
    return ref && { key, kind: 'ledger', type: 'hash', ref };
  }
  if (key.startsWith('span-buf:receipts:'))
    return parsed(key, parseReceiptsKey) && { key, kind: 'other', type: 'string' };
  // The index of members that other writers of this format keep.
  if (key.startsWith('span-buf:mk:')) return parsed(key, parseMemberKeysKey) && { key, kind: 'other', type: 'set' };
  const ref = parsed(key, parsePayloadKey);
  if (ref !== undefined) {
    const { writeId } = ref;
    if (writeId === undefined || formatPayloadKey(ref) !== key) return undefined;
    return { key, kind: 'payload', type: 'string', ref: { ...ref, writeId } };
  }
  const segment = parsed(key, parseSegmentKey);
  if (segment === undefined || formatSegmentKey(segment) !== key) return undefined;
  return { key, kind: 'colocated', type: 'hash', ref: segment };
}

/** Of the keys of a queue: the others are sorted sets. */
export function isHash({ part }: QueuePart): boolean {
  return part === 'parked' || part === 'tries';
}

function parsed<T>(key: string, parse: (key: string) => T): T | undefined {
  try {
    return parse(key);
  } catch (error) {
    if (error instanceof MalformedKeyError) return undefined;
    throw error;
  }
}
