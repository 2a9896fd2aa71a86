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

/** Entries of a list that one command reads or deletes at most. */
export const PAGE_ENTRIES = 512;

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

/** `partial`: highest offset taken by position; nothing was written. */
export type LinkReply =
  | { readonly partial: ReadonlyMap<string, bigint> }
  | { readonly partial?: undefined; readonly effects: readonly LinkEffect[] };

/** The field of the trace under which the highest offset taken from a partition stands. */
export function positionField(source: string | undefined, partition: number): string {
  return `@${source ?? ''}/${partition}`;
}

export function linkCommand(call: LinkCall): RedisCommand {
  const { policy } = call;
  const args: (string | number)[] = [
    call.now,
    call.ttlSeconds,
    policy.rootTimeoutSeconds,
    policy.timeoutSeconds,
    policy.maxAgeSeconds,
    policy.maxSegmentBytes,
    call.token,
    call.firstList,
  ];
  for (const { topId, hasRoot, shard, entry, payloadBytes, taken, spanIds } of call.subsegments) {
    args.push(topId, hasRoot ? 1 : 0, shard, entry, spanIds.length, payloadBytes);
    if (taken === undefined) args.push('', '', '');
    else args.push(taken.position, offsetDigits(taken.minOffset), offsetDigits(taken.maxOffset));
    args.push(spanIds.join(''));
  }
  return evalsha(link, [formatTraceKey(call.trace)], args);
}

/** Digits that sort as text as the offsets do as numbers. */
function offsetDigits(offset: bigint): string {
  return offset.toString().padStart(20, '0');
}

export function parseLinkReply(reply: RedisReply): LinkReply {
  const [status, ...rest] = (reply as readonly Buffer[]).map(String);
  if (status === 'PARTIAL') {
    const partial = new Map<string, bigint>();
    for (let i = 0; i < rest.length; i += 2) partial.set(rest[i] as string, BigInt(rest[i + 1] as string));
    return { partial };
  }
  return { effects: rest.map(parseEffect) };
}

function parseEffect(text: string): LinkEffect {
  const [what, first = '', list, shard, due = '', held = ''] = text.split(' ');
  if (what === 'R') return { kind: 'replayed', index: Number(first) };
  const entry = { handle: first, list: Number(list), shard: Number(shard) };
  if (what === 'L') return { kind: 'live', ...entry, due, held };
  return { kind: what === 'S' ? 'sealed' : 'absorbed', ...entry };
}

export interface SealCall extends EntryRef {
  readonly trace: TraceRef;
  readonly now: number;
  /** Seal even when it is not due, and say this unless it is due as well. */
  readonly anyway: SealReason | undefined;
}

/** What a sealed generation's record says. */
export interface SealedRecord {
  readonly incarnation: string;
  readonly segmentId: string;
  readonly generation: number;
  readonly entries: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
  readonly reason: SealReason;
  readonly rootSeen: boolean;
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** The first entries of its list, at most {@link PAGE_ENTRIES}. */
  readonly firstPage: readonly string[];
}

export type SealReply =
  | { readonly kind: 'sealed'; readonly record: SealedRecord }
  | (EntryRef & LiveTimes & { readonly kind: 'live'; readonly shard: number })
  | { readonly kind: 'gone' };

export function sealCommand(call: SealCall): RedisCommand {
  const { handle, list, now, anyway } = call;
  return evalsha(seal, [formatTraceKey(call.trace)], [handle, list, now, anyway ?? '', PAGE_ENTRIES]);
}

export function parseSealReply(reply: RedisReply): SealReply {
  const [status, ...rest] = reply as readonly Buffer[];
  if (String(status) === 'GONE') return { kind: 'gone' };
  if (String(status) === 'LIVE') {
    const [handle, list, shard, due, held] = rest.map(String) as [string, string, string, string, string];
    return { kind: 'live', handle, list: Number(list), shard: Number(shard), due, held };
  }
  const [incarnation, packed, ...page] = rest;
  return { kind: 'sealed', record: unpackSealed(String(incarnation), packed as Buffer, page.map(String)) };
}

/** In the order of REASON in trace.lua, from 1. */
const REASONS: readonly SealReason[] = ['root-idle', 'idle', 'max-age', 'max-bytes', 'drain'];

/** SEALED of trace.lua: reason, name, rootSeen, shard (3), generation (4), entries (4), spans (4), bytes (6), first, last. */
function unpackSealed(incarnation: string, packed: Buffer, firstPage: readonly string[]): SealedRecord {
  const reason = REASONS[packed.readUInt8(0) - 1];
  if (reason === undefined) throw new StoreRefusedError(`unknown seal reason ${packed.readUInt8(0)}`, false);
  const firstSeconds = packed.readDoubleLE(39);
  return {
    incarnation,
    segmentId: packed.toString('latin1', 1, 17),
    reason,
    rootSeen: packed.readUInt8(17) === 1,
    generation: packed.readUInt32LE(21),
    entries: packed.readUInt32LE(25),
    spanCount: packed.readUInt32LE(29),
    payloadBytes: packed.readUIntLE(33, 6),
    firstSeconds,
    lastSeconds: firstSeconds + packed.readUInt32LE(47) / 1000,
    firstPage,
  };
}

/** Names a sealed generation for good: lists are numbered anew only in another incarnation of the trace. */
export interface SealedRef extends EntryRef {
  readonly trace: TraceRef;
  readonly incarnation: string;
  readonly entries: number;
}

/** Fields of a trace from which on it is not left to expire: Redis takes some 3 ms to free as many at once. */
const LARGE_FIELDS = 8_192;
/** How long after its dedupe window a large trace expires all the same, should nobody claim meanwhile. */
const FORGET_GRACE_SECONDS = 10;

export type Completed = 'GONE' | 'KNOWN' | 'LARGE';

/** Answers what is left of the trace: see {@link Completed} in complete.lua. */
export function completeCommand(sealed: SealedRef, dedupeWindowSeconds: number): RedisCommand {
  const { handle, list, incarnation, entries } = sealed;
  const atOnce = Math.min(entries, PAGE_ENTRIES);
  const args = [handle, list, incarnation, dedupeWindowSeconds, atOnce, LARGE_FIELDS, FORGET_GRACE_SECONDS];
  return evalsha(complete, [formatTraceKey(sealed.trace)], args);
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

function entryFields(handle: string, list: number, from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `${handle}.${list}.${from + i}`);
}

/** Answers an array whose two elements say whether the generation still waits: its record, and the incarnation. */
export function stillSealedCommand({ trace, handle, list }: SealedRef): RedisCommand {
  const key = formatTraceKey(trace);
  return { key, name: 'hmget', args: [key, `#${handle}.${list}`, 'i'] };
}

export function confirmCommand(trace: TraceRef, sealed: readonly (EntryRef & { shard: number })[]): RedisCommand {
  const items = sealed.map(({ handle, list, shard }) => `${handle}.${list}.${shard};`);
  return evalsha(confirm, [formatTraceKey(trace)], items);
}
