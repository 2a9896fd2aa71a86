import { checkShard } from './ids.ts';
import { parseKey } from './parse-key.ts';
import type { QueueRef } from './queue-keys.ts';

/** Offsets of one chunk of receipts: a bitmap of 8 KiB. */
export const RECEIPTS_CHUNK = 65_536;

/** The receipts of one stretch of a log: offsets from `chunk` x {@link RECEIPTS_CHUNK} on. */
export interface ReceiptsRef extends QueueRef {
  /** The log in which the offsets count, for instance the id of a topic. */
  readonly source: string;
  readonly chunk: bigint;
}

const LEDGER_PREFIX = 'span-buf:ledger:';
const RECEIPTS_PREFIX = 'span-buf:receipts:';
const EPOCH_KEY = 'span-buf:epoch';
const SENTINEL_PREFIX = 'span-buf:sentinel:';

/**
 * `span-buf:ledger:{[<slice>-]<partition>}`: what became of the messages of one partition, in numbers. In the slot of the
 * queue of the same number.
 * @throws {@link InvalidIdError}
 */
export function formatLedgerKey(ref: QueueRef): string {
  return `${LEDGER_PREFIX}{${tagOf(ref)}}`;
}

/** Inverse of {@link formatLedgerKey}. @throws {@link MalformedKeyError} for anything else. */
export function parseLedgerKey(key: string | Uint8Array): QueueRef {
  return parseKey('ledger key', key, LEDGER_PREFIX, (rest, fail) => {
    const groups = /^\{(?<tag>[^}]*)\}$/.exec(rest)?.groups;
    return groups === undefined ? fail(NO_TAG) : (parseTag(groups['tag'] as string) ?? fail(NO_TAG));
  });
}

/**
 * `span-buf:receipts:{[<slice>-]<partition>}:<source>:<chunk>`: which messages are accounted for, a bit each.
 * @throws {@link InvalidIdError}
 */
export function formatReceiptsKey(ref: ReceiptsRef): string {
  return `${RECEIPTS_PREFIX}{${tagOf(ref)}}:${ref.source}:${ref.chunk}`;
}

/** Inverse of {@link formatReceiptsKey}. @throws {@link MalformedKeyError} for anything else. */
export function parseReceiptsKey(key: string | Uint8Array): ReceiptsRef {
  return parseKey('receipts key', key, RECEIPTS_PREFIX, (rest, fail) => {
    const groups = /^\{(?<tag>[^}]*)\}:(?<source>.*):(?<chunk>0|[1-9]\d{0,18})$/s.exec(rest)?.groups;
    if (groups === undefined) return fail('it does not end in {[<slice>-]<partition>}:<source>:<chunk>');
    const queue = parseTag(groups['tag'] as string) ?? fail(NO_TAG);
    return { ...queue, source: groups['source'] as string, chunk: BigInt(groups['chunk'] as string) };
  });
}

/** `span-buf:epoch[:<slice>]`: how often Redis has lost something since the slice began, and which nodes it is on. */
export function formatEpochKey({ sliceId }: { readonly sliceId?: number } = {}): string {
  return sliceId === undefined ? EPOCH_KEY : `${EPOCH_KEY}:${checkShard('sliceId', sliceId)}`;
}

/** `span-buf:sentinel:{<tag>}[:<slice>]`: is gone when the node that has the slot of `tag` has lost its data. */
export function formatSentinelKey({ tag, sliceId }: { readonly tag: number; readonly sliceId?: number }): string {
  const key = `${SENTINEL_PREFIX}{${checkShard('shard', tag)}}`;
  return sliceId === undefined ? key : `${key}:${checkShard('sliceId', sliceId)}`;
}

/** Inverse of {@link formatSentinelKey}. @throws {@link MalformedKeyError} for anything else. */
export function parseSentinelKey(key: string | Uint8Array): { readonly tag: number; readonly sliceId?: number } {
  return parseKey('sentinel key', key, SENTINEL_PREFIX, (rest, fail) => {
    const groups = /^\{(?<tag>0|[1-9]\d{0,7})\}(?::(?<sliceId>0|[1-9]\d{0,7}))?$/.exec(rest)?.groups;
    if (groups === undefined) return fail('it does not end in {<tag>}[:<slice>]');
    const tag = checkShard('shard', Number(groups['tag']));
    const { sliceId } = groups;
    return sliceId === undefined ? { tag } : { tag, sliceId: checkShard('sliceId', Number(sliceId)) };
  });
}

const NO_TAG = 'its hash tag is not {[<slice>-]<partition>}';

function tagOf({ shard, sliceId }: QueueRef): string {
  const number = checkShard('shard', shard);
  return sliceId === undefined ? `${number}` : `${checkShard('sliceId', sliceId)}-${number}`;
}

function parseTag(tag: string): QueueRef | undefined {
  // Without leading zeros: {01} is another key than {1}, and would be written back as {1}.
  const groups = /^(?:(?<sliceId>0|[1-9]\d{0,7})-)?(?<shard>0|[1-9]\d{0,7})$/.exec(tag)?.groups;
  if (groups === undefined) return undefined;
  const shard = checkShard('shard', Number(groups['shard']));
  const { sliceId } = groups;
  return sliceId === undefined ? { shard } : { shard, sliceId: checkShard('sliceId', Number(sliceId)) };
}
