import { formatTraceKey, type TraceRef } from '@spanbuf/keys';
import { StoreRefusedError } from '../errors.ts';
import type { SealReason, SegmentPolicy } from '../segment-store.ts';
import { evalsha, type RedisCommand, type RedisReply } from './redis-runner.ts';
import { loadScript } from './script.ts';

// Typed faces of the scripts that run on the one hash of a trace, in the order of their headers. Nothing else runs them.

const link = loadScript('link');
const seal = loadScript('seal');
const complete = loadScript('complete');
const forget = loadScript('forget');
const sweep = loadScript('sweep');
const confirm = loadScript('confirm');
const keep = loadScript('keep');
const readTrace = loadScript('read-trace');

/** Entries of a list that one command reads or deletes at most. */
export const PAGE_ENTRIES = 256;

/** In which epoch a caller works. Each slice has its own. */
export interface EpochRef {
  readonly sliceId: number | undefined;
  /** `undefined`: nobody counts them. `any`: whatever the trace is of. */
  readonly epoch: number | undefined | 'any';
}

/** The field of the trace under which its epoch stands. */
export function epochField({ sliceId }: Pick<EpochRef, 'sliceId'>): string {
  return `e${sliceId ?? ''}`;
}

/** A queue entry: one list of one handle, live or sealed. */
export interface EntryRef {
  readonly handle: string;
  readonly list: number;
}

export interface LinkSubsegment {
  readonly topId: string;
  readonly hasRoot: boolean;
  readonly shard: number;
  readonly entry: string;
  readonly payloadBytes: number;
  /** `undefined` for spans without offsets. */
  readonly taken: { readonly position: string; readonly minOffset: bigint; readonly maxOffset: bigint } | undefined;
  readonly spanIds: readonly string[];
}

export interface LinkCall {
  readonly trace: TraceRef;
  readonly now: number;
  readonly ttlSeconds: number;
  readonly policy: SegmentPolicy;
  readonly token: string;
  /** Random, 0 to 2^31 - 1: where the lists of new segments begin. */
  readonly firstList: number;
  readonly epoch: EpochRef;
  readonly subsegments: readonly LinkSubsegment[];
}

/** When a live list is due, and until when it is held: as in a queue. */
interface LiveTimes {
  readonly due: string;
  readonly held: string;
}

export type LinkEffect =
  | (EntryRef & LiveTimes & { readonly kind: 'live'; readonly shard: number })
  | (EntryRef & { readonly kind: 'sealed' | 'absorbed'; readonly shard: number })
  | { readonly kind: 'replayed'; readonly index: number };

/** `partial`: highest offset taken by position; nothing was written. `stale`: neither, the trace is of a later epoch. */
export type LinkReply =
  | { readonly kind: 'stale' }
  | { readonly kind: 'partial'; readonly taken: ReadonlyMap<string, bigint> }
  | { readonly kind: 'applied'; readonly effects: readonly LinkEffect[] };

/** The field of the trace under which the highest offset taken from a partition stands. */
export function positionField(source: string | undefined, partition: number): string {
  return `@${source ?? ''}/${partition}`;
}

export function linkCommand(call: LinkCall): RedisCommand {
  const { policy, subsegments } = call;
  const terms = Buffer.allocUnsafe(TERMS_BYTES);
  let at = terms.writeDoubleLE(call.now);
  at = terms.writeDoubleLE(policy.rootTimeoutSeconds, at);
  at = terms.writeDoubleLE(policy.timeoutSeconds, at);
  at = terms.writeDoubleLE(policy.maxAgeSeconds, at);
  at = terms.writeDoubleLE(policy.maxSegmentBytes, at);
  terms.writeUInt8(areDistinct(subsegments) ? 1 : 0, terms.writeUInt16LE(subsegments.length, at));
  const { epoch = '' } = call.epoch;
  const args: RedisCommand['args'][number][] = [
    call.ttlSeconds,
    `!${call.token}`,
    call.firstList,
    epochField(call.epoch),
    epoch,
    terms,
  ];
  for (const subsegment of subsegments) {
    const { entry, taken } = subsegment;
    const offsets = taken === undefined ? '' : offsetDigits(taken.minOffset) + offsetDigits(taken.maxOffset);
    args.push(entry, offsets, subsegmentFacts(subsegment));
  }
  for (const { taken } of subsegments) args.push(taken?.position ?? '');
  return evalsha(link, [formatTraceKey(call.trace)], args);
}

/** Whether no two of them have an id in common. */
function areDistinct(subsegments: readonly LinkSubsegment[]): boolean {
  if (subsegments.length === 1) return true;
  const owners = new Map<string, number>();
  const isOwn = (id: string, index: number): boolean => {
    const owner = owners.get(id);
    if (owner === undefined) owners.set(id, index);
    return owner === undefined || owner === index;
  };
  return subsegments.every(({ topId, spanIds }, i) => isOwn(topId, i) && spanIds.every((id) => isOwn(id, i)));
}

const ID_BYTES = 8;
/** TERMS and FACTS of link.lua. */
const TERMS_BYTES = 43;
const FACTS_BYTES = 12;

/** Spans (2), hasRoot (1), shard (3), bytes (6); the id of the top, then those of the other spans. */
function subsegmentFacts({ topId, hasRoot, shard, payloadBytes, spanIds }: LinkSubsegment): Buffer {
  const out = Buffer.allocUnsafe(FACTS_BYTES + ID_BYTES * (spanIds.length + 1));
  let at = out.writeUInt8(hasRoot ? 1 : 0, out.writeUInt16LE(spanIds.length));
  at = out.writeUIntLE(payloadBytes, out.writeUIntLE(shard, at, 3), 6);
  // Together, as a call into the runtime for each costs more than the bytes do.
  let ids = topId;
  for (const id of spanIds) if (id !== topId) ids += id;
  at += out.write(ids, at, 'hex');
  return out.subarray(0, at);
}

/** Digits that sort as text as the offsets do as numbers. */
function offsetDigits(offset: bigint): string {
  return offset.toString().padStart(20, '0');
}

/** A handle in a trace: a colon, and its id. */
export const HANDLE_BYTES = 1 + ID_BYTES;

/** The field of a trace for something of a handle. */
function fieldOf(prefix: string, handle: string, rest: string): Buffer {
  return Buffer.from(`${prefix}:${Buffer.from(handle, 'hex').toString('latin1')}${rest}`, 'latin1');
}

export function handleField(handle: string): Buffer {
  return fieldOf('', handle, '');
}

export function sealedField({ handle, list }: EntryRef): Buffer {
  return fieldOf('#', handle, `.${list}`);
}

/** Inverse of {@link handleField}, of bytes in which a handle begins at `at`. */
export function handleAt(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at + 1, at + HANDLE_BYTES);
}

const LINE_FEED = 10;
const PLACE_BYTES = HANDLE_BYTES + 4 + 4;
/** By the letter of their effect. */
const PLACED = { [0x53]: 'sealed', [0x41]: 'absorbed' } as const;

export function parseLinkReply(reply: RedisReply): LinkReply {
  if (!Buffer.isBuffer(reply)) {
    const [status, ...rest] = (reply as readonly Buffer[]).map(String);
    if (status === 'STALE') return { kind: 'stale' };
    const taken = new Map<string, bigint>();
    for (let i = 0; i < rest.length; i += 2) taken.set(rest[i] as string, BigInt(rest[i + 1] as string));
    return { kind: 'partial', taken };
  }
  const effects: LinkEffect[] = [];
  let at = 0;
  while (reply[at] !== LINE_FEED) {
    const kind = PLACED[reply[at++] as keyof typeof PLACED];
    if (kind === undefined) {
      effects.push({ kind: 'replayed', index: reply.readUInt8(at++) });
      continue;
    }
    const list = reply.readUInt32LE(at + HANDLE_BYTES);
    effects.push({ kind, handle: handleAt(reply, at), list, shard: reply.readUInt32LE(at + HANDLE_BYTES + 4) });
    at += PLACE_BYTES;
  }
  for (at++; at < reply.length; at += HANDLE_BYTES + RECORD_BYTES) {
    const { list, shard, due, held } = unpackRecord(reply.subarray(at + HANDLE_BYTES));
    effects.push({ kind: 'live', handle: handleAt(reply, at), list, shard, due, held });
  }
  return { kind: 'applied', effects };
}

/** Records of the segments that an applied link has touched, as they are now: as many as it has `live` effects. */
export function linkedRecords(reply: Buffer, liveCount: number): LiveRecord[] {
  const start = reply.length - liveCount * (HANDLE_BYTES + RECORD_BYTES);
  return Array.from({ length: liveCount }, (_, i) =>
    unpackRecord(reply.subarray(start + i * (HANDLE_BYTES + RECORD_BYTES) + HANDLE_BYTES)),
  );
}

export interface SealTarget extends EntryRef {
  /** Seal even when it is not due, and say this unless it is due as well. */
  readonly anyway?: SealReason | undefined;
}

export interface SealTerms {
  /** Message time, Unix seconds. */
  readonly now: number;
  readonly epoch: EpochRef;
}

/** Queue entries that one call seals, generations that one call completes, at most. */
export const MAX_GENERATIONS_PER_CALL = 20;

/** What a sealed generation's record says. */
export interface SealedRecord {
  readonly incarnation: string;
  readonly segmentId: string;
  readonly shard: number;
  readonly generation: number;
  readonly entries: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
  readonly reason: SealReason;
  readonly rootSeen: boolean;
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** The first entries of its list: two or more if there are as many, at most {@link PAGE_ENTRIES}. */
  readonly firstPage: readonly string[];
  /** Whether everything of it is read again should Redis lose any of it. */
  readonly isOfEpoch: boolean;
}

/** Of an entry: `live` says where its spans are by now. `stale`: its trace is of a later epoch. */
export type SealReply =
  | { readonly kind: 'sealed'; readonly record: SealedRecord }
  | (EntryRef & LiveTimes & { readonly kind: 'live'; readonly shard: number; readonly entries: number })
  | { readonly kind: 'gone' | 'stale' };

/** @param targets - 1 to {@link MAX_GENERATIONS_PER_CALL}. */
export function sealCommand(traceKey: string, targets: readonly SealTarget[], { now, epoch }: SealTerms): RedisCommand {
  const args: RedisCommand['args'][number][] = [now, epochField(epoch), epoch.epoch ?? '', PAGE_ENTRIES];
  for (const { handle, list, anyway } of targets)
    args.push(handleField(handle), list, anyway === undefined ? 0 : REASONS.indexOf(anyway) + 1);
  return evalsha(seal, [traceKey], args);
}

/** @returns One for each of the `count` targets, in their order. */
export function parseSealReply(reply: RedisReply, count: number): SealReply[] {
  if (Buffer.isBuffer(reply)) return Array(count).fill({ kind: String(reply) === 'STALE' ? 'stale' : 'gone' });
  const parts = reply as readonly (Buffer | number)[];
  const incarnation = String(parts[0]);
  const isOfEpoch = String(parts[1]) !== '';
  let at = 2;
  return Array.from({ length: count }, (): SealReply => {
    const first = parts[at++] as Buffer;
    if (first.length === 0) return { kind: 'gone' };
    if (first.length === HANDLE_BYTES) {
      const { list, shard, due, held, entries } = unpackRecord(parts[at++] as Buffer);
      return { kind: 'live', handle: handleAt(first, 0), list, shard, due, held, entries };
    }
    const page = parts.slice(at + 1, at + 1 + (parts[at] as number)) as Buffer[];
    at += 1 + page.length;
    const firstPage = page.map((entry) => entry.toString('latin1'));
    return { kind: 'sealed', record: { ...unpackSealed(incarnation, first, firstPage), isOfEpoch } };
  });
}

/** By number as in sealRecord of trace.lua, from 1. */
const REASONS: readonly SealReason[] = ['root-idle', 'idle', 'max-age', 'max-bytes', 'drain'];

/** As sealRecord of trace.lua packs it: reason, name, rootSeen, shard (3), generation (4), entries (4), spans (4), bytes (6), first, last. */
export function unpackSealed(
  incarnation: string,
  packed: Buffer,
  firstPage: readonly string[],
): Omit<SealedRecord, 'isOfEpoch'> {
  const reason = REASONS[packed.readUInt8(0) - 1];
  if (reason === undefined) throw new StoreRefusedError(`unknown seal reason ${packed.readUInt8(0)}`, false);
  const firstSeconds = packed.readDoubleLE(31);
  return {
    incarnation,
    segmentId: packed.toString('hex', 1, 9),
    reason,
    rootSeen: packed.readUInt8(9) === 1,
    shard: packed.readUIntLE(10, 3),
    generation: packed.readUInt32LE(13),
    entries: packed.readUInt32LE(17),
    spanCount: packed.readUInt32LE(21),
    payloadBytes: packed.readUIntLE(25, 6),
    firstSeconds,
    lastSeconds: firstSeconds + packed.readUInt32LE(39) / 1000,
    firstPage,
  };
}

/** What the record of a live segment says of the generation that it holds. */
export interface LiveRecord extends LiveTimes {
  readonly segmentId: string;
  readonly shard: number;
  readonly list: number;
  readonly entries: number;
  /** 0: it holds nothing, and waits for the spans of its next generation. */
  readonly spanCount: number;
  readonly generation: number;
  readonly payloadBytes: number;
  readonly rootSeen: boolean;
  readonly firstSeconds: number;
  readonly lastSeconds: number;
}

/** Bytes of a record, and of a sealed one. */
export const RECORD_BYTES = 55;
export const SEALED_BYTES = 43;

/**
 * RECORD of trace.lua: flags, name, rank, shard (3), list (4), generation (4), entries (4), spans (4), bytes (6), first, last,
 * due, held.
 */
export function unpackRecord(packed: Buffer): LiveRecord {
  const firstSeconds = packed.readDoubleLE(35);
  return {
    segmentId: packed.toString('hex', 1, 9),
    shard: packed.readUIntLE(10, 3),
    list: packed.readUInt32LE(13),
    entries: packed.readUInt32LE(21),
    spanCount: packed.readUInt32LE(25),
    generation: packed.readUInt32LE(17),
    payloadBytes: packed.readUIntLE(29, 6),
    rootSeen: (packed.readUInt8(0) & 1) === 1,
    firstSeconds,
    lastSeconds: firstSeconds + packed.readUInt32LE(43) / 1000,
    due: String(firstSeconds + packed.readUInt32LE(47) / 1000),
    held: String(packed.readUInt32LE(51)),
  };
}

/** Names a sealed generation for good: lists are numbered anew only in another incarnation of the trace. */
export interface SealedRef extends EntryRef {
  readonly trace: TraceRef;
  readonly incarnation: string;
  readonly entries: number;
}

/** Fields of a trace from which on it is not left to expire: Redis takes more than a millisecond to free as many at once. */
const LARGE_FIELDS = 4_096;
/** How long after its dedupe window a large trace expires all the same, should nobody claim meanwhile. */
const FORGET_GRACE_SECONDS = 10;

export type Completed = 'GONE' | 'KNOWN' | 'LARGE';

/**
 * Answers what is left of the trace: see {@link Completed} in complete.lua.
 * @param generations - Of one incarnation of one trace: one, or up to {@link MAX_GENERATIONS_PER_CALL} with {@link PAGE_ENTRIES} entries in all.
 */
export function completeCommand(
  traceKey: string,
  generations: readonly SealedRef[],
  dedupeWindowSeconds: number,
): RedisCommand {
  const { incarnation } = generations[0] as SealedRef;
  const args: RedisCommand['args'][number][] = [incarnation, dedupeWindowSeconds, LARGE_FIELDS, FORGET_GRACE_SECONDS];
  for (const { handle, list, entries } of generations)
    args.push(handleField(handle), list, Math.min(entries, PAGE_ENTRIES));
  return evalsha(complete, [traceKey], args);
}

export function forgetCommand(traceKey: string): RedisCommand {
  return evalsha(forget, [traceKey], []);
}

/** Reads entries `from` up to, not including, `to`. Answers an array of entries. */
export function readEntriesCommand(
  trace: TraceRef,
  { handle, list }: EntryRef,
  from: number,
  to: number,
): RedisCommand {
  const key = formatTraceKey(trace);
  return { key, name: 'hmget', args: [key, ...entryFields(handle, list, from, to)] };
}

export function sweepCommand(sealed: SealedRef, { handle, list }: EntryRef, from: number, to: number): RedisCommand {
  return evalsha(sweep, [formatTraceKey(sealed.trace)], [sealed.incarnation, ...entryFields(handle, list, from, to)]);
}

function entryFields(handle: string, list: number, from: number, to: number): Buffer[] {
  return Array.from({ length: to - from }, (_, i) => fieldOf('', handle, `.${list}.${from + i}`));
}

/** Answers an array whose two elements say whether the generation still waits: its record, and the incarnation. */
export function stillSealedCommand(sealed: SealedRef): RedisCommand {
  const key = formatTraceKey(sealed.trace);
  return { key, name: 'hmget', args: [key, sealedField(sealed), 'i'] };
}

/** Lets the trace live for `ttlSeconds` at least. Answers 1, or 0 when the generation has been completed. */
export function keepCommand({ trace, handle, list, incarnation }: SealedRef, ttlSeconds: number): RedisCommand {
  return evalsha(keep, [formatTraceKey(trace)], [handleField(handle), list, incarnation, ttlSeconds]);
}

export function confirmCommand(trace: TraceRef, sealed: readonly (EntryRef & { shard: number })[]): RedisCommand {
  const places = sealed.map(({ handle, list, shard }) => {
    const place = Buffer.alloc(PLACE_BYTES);
    handleField(handle).copy(place);
    place.writeUInt32LE(shard, place.writeUInt32LE(list, HANDLE_BYTES));
    return place;
  });
  return evalsha(confirm, [formatTraceKey(trace)], places);
}

/** Answers all fields of a small trace, each followed by its value. */
export function readTraceCommand(traceKey: string): RedisCommand {
  return evalsha(readTrace, [traceKey], []);
}
