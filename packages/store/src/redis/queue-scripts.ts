import {
  formatQueueKey,
  formatSegmentKey,
  formatShardsKey,
  parseSegmentKey,
  QUEUE_LANES,
  type QueueRef,
  type TraceRef,
} from '@spanbuf/keys';
import { pagesOf } from './grouping.ts';
import { evalsha, type RedisCommand, type RedisReply } from './redis-runner.ts';
import { loadScript } from './script.ts';
import type { EntryRef } from './trace-scripts.ts';

// Typed faces of the scripts that run on one shard's queue and on the list of shards. Nothing else runs them.

const schedule = loadScript('schedule');
const claim = loadScript('claim');
const settle = loadScript('settle');
const park = loadScript('park');
const unpark = loadScript('unpark');
const leaseParked = loadScript('lease-parked');
const forgetLater = loadScript('forget-later');
const lookUp = loadScript('look-up');
const registerShards = loadScript('register-shards');
const forgetShards = loadScript('forget-shards');

/** Entries that one call schedules or settles at most: some 1 ms of Redis. */
export const QUEUE_PAGE = 128;

/** One shard's queue. */
export interface Queue {
  readonly shard: number;
  /** In the order of KEYS in queue.lua. */
  readonly keys: readonly string[];
}

export function queueOf(ref: QueueRef): Queue {
  const parts = (['in-flight', 'parked', 'forgotten', 'held', 'tries'] as const).map((part) =>
    formatQueueKey({ ...ref, part }),
  );
  const lanes = Array.from({ length: QUEUE_LANES }, (_, lane) => formatQueueKey({ ...ref, part: 'due', lane }));
  return { shard: ref.shard, keys: [...parts, ...lanes] };
}

/** What stands in a queue for one list of one handle: its segment key, a dot and the list. */
export function formatEntry(trace: TraceRef, { handle, list }: EntryRef): string {
  return `${formatSegmentKey({ ...trace, spanId: handle })}.${list}`;
}

/** @throws {@link MalformedKeyError} */
export function parseEntry(entry: string): EntryRef & { readonly trace: TraceRef } {
  const dot = entry.lastIndexOf('.');
  const { projectId, traceId, spanId } = parseSegmentKey(entry.slice(0, dot));
  return { trace: { projectId, traceId }, handle: spanId, list: Number(entry.slice(dot + 1)) };
}

/** When an entry is to be taken. */
export interface QueueTimes {
  /** Message time, Unix seconds. */
  readonly due: string | number;
  /** Wall time, Unix seconds: taken then whatever message time says. */
  readonly held: string | number;
}

export interface ScheduleCall {
  readonly queue: Queue;
  readonly ttlSeconds: number;
  readonly entries: readonly (QueueTimes & { readonly entry: string })[];
  readonly takeOut: readonly string[];
}

export function scheduleCommand({ queue, ttlSeconds, entries, takeOut }: ScheduleCall): RedisCommand {
  const args: (string | number)[] = [ttlSeconds, entries.length];
  for (const { entry, due, held } of entries) args.push(entry, due, held);
  return evalsha(schedule, queue.keys, [...args, ...takeOut]);
}

export interface Lease {
  readonly queue: Queue;
  readonly lease: string;
  readonly entry: string;
  /** Taken whatever message time says, as it was held too long by the wall clock, or was put back after it had been parked. */
  readonly held: boolean;
  /** Its due time in the queue; `undefined` where it was taken for another reason than that. */
  readonly due: string | undefined;
}

export interface ClaimCall {
  readonly queue: Queue;
  readonly now: number | '+inf';
  readonly leaseSeconds: number;
  readonly limit: number;
  readonly ttlSeconds: number;
}

export function claimCommand({ queue, now, leaseSeconds, limit, ttlSeconds }: ClaimCall): RedisCommand {
  return evalsha(claim, queue.keys, [now, leaseSeconds, limit, ttlSeconds]);
}

export interface ClaimReply {
  readonly leases: readonly Lease[];
  /** Keys of large traces whose dedupe window is over. */
  readonly forget: readonly string[];
  readonly isEmpty: boolean;
  /** Whether there may be more to lease at this moment. */
  readonly mayHaveMore: boolean;
}

export function parseClaimReply(queue: Queue, reply: RedisReply): ClaimReply {
  const [lease, state, ...rest] = reply as readonly [Buffer, number, ...Buffer[]];
  const leases: Lease[] = [];
  const forget: string[] = [];
  for (let i = 0; i < rest.length; i += 2) {
    const [entry, how] = [String(rest[i]), String(rest[i + 1])];
    const held = how === '-inf';
    const due = held || how === 'again' ? undefined : how;
    if (how === 'forget') forget.push(entry);
    else leases.push({ queue, lease: String(lease), entry, held, due });
  }
  return { leases, forget, isEmpty: state === 0, mayHaveMore: state === 2 };
}

export function forgetLaterCommand(
  queue: Queue,
  ttlSeconds: number,
  dedupeWindowSeconds: number,
  traceKeys: readonly string[],
): RedisCommand {
  const forgotten = queue.keys[2] as string;
  return evalsha(forgetLater, [forgotten], [ttlSeconds, dedupeWindowSeconds, ...traceKeys]);
}

/** `due` of an ending: when to give the entry back; `undefined` takes it out of the queue. Answers 0 when the queue is empty then. */
export function settleCommand(
  { queue, lease }: Pick<Lease, 'queue' | 'lease'>,
  ttlSeconds: number,
  endings: readonly { readonly entry: string; readonly due: string | number | undefined }[],
): RedisCommand {
  return evalsha(settle, queue.keys, [lease, ttlSeconds, ...endings.flatMap(({ entry, due }) => [entry, due ?? ''])]);
}

/** What is kept about a parked entry, besides when it was parked. */
export interface ParkedFacts {
  readonly reason: string;
  readonly segmentId: string;
  readonly generation: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
}

/** Answers for each entry 1 when it is parked, else 0. */
export function parkCommand(
  { queue, lease }: Pick<Lease, 'queue' | 'lease'>,
  { ttlSeconds, mostTries }: { readonly ttlSeconds: number; readonly mostTries: number },
  entries: readonly { readonly entry: string; readonly facts: ParkedFacts }[],
): RedisCommand {
  const pairs = entries.flatMap(({ entry, facts }) => [entry, JSON.stringify(facts)]);
  return evalsha(park, queue.keys, [lease, ttlSeconds, mostTries, ...pairs]);
}

export function unparkCommand(queue: Queue, ttlSeconds: number, entries: readonly string[]): RedisCommand {
  return evalsha(unpark, queue.keys, [ttlSeconds, ...entries]);
}

export function leaseParkedCommand(
  queue: Queue,
  { leaseSeconds, ttlSeconds }: { readonly leaseSeconds: number; readonly ttlSeconds: number },
  entries: readonly string[],
): RedisCommand {
  return evalsha(leaseParked, queue.keys, [leaseSeconds, ttlSeconds, ...entries]);
}

export function parseLeaseParkedReply(queue: Queue, reply: RedisReply): Lease[] {
  const [lease = '', ...entries] = (reply as readonly Buffer[]).map(String);
  return entries.map((entry) => ({ queue, lease, entry, held: false, due: undefined }));
}

/** Lets the list of what is parked live for `ttlSeconds` from now, or longer. */
export function keepParkedCommand(queue: Queue, ttlSeconds: number): RedisCommand {
  const key = queue.keys[1] as string;
  return { key, name: 'expire', args: [key, ttlSeconds, 'GT'] };
}

/** Where an entry is in a queue; scores as Redis writes them, `undefined` where it is not. */
export interface EntryPlace {
  readonly due: string | undefined;
  readonly lease: string | undefined;
  readonly held: string | undefined;
  readonly isParked: boolean;
}

/** @param entries - 1 to {@link QUEUE_PAGE}. */
export function lookUpCommand(queue: Queue, entries: readonly string[]): RedisCommand {
  return evalsha(lookUp, queue.keys, entries);
}

/** `nowMicros`: clock of the server. Places in the order of the entries. */
export function parseLookUpReply(reply: RedisReply): { readonly nowMicros: number; readonly places: EntryPlace[] } {
  const [now, ...rest] = reply as readonly [Buffer, ...RedisReply[]];
  const score = (value: RedisReply | undefined): string | undefined => String(value) || undefined;
  const places = pagesOf(rest, 4).map(([due, lease, held, isParked]) => ({
    due: score(due),
    lease: score(lease),
    held: score(held),
    isParked: isParked === 1,
  }));
  return { nowMicros: Number(now), places };
}

/** Reads some `count` parked entries from a cursor on; the first one is '0'. */
export function scanParkedCommand(queue: Queue, cursor: string, count: number): RedisCommand {
  const key = queue.keys[1] as string;
  return { key, name: 'hscan', args: [key, cursor, 'COUNT', count] };
}

/** `cursor` is '0' at the end. An entry may come twice. */
export function parseScanParkedReply(reply: RedisReply): {
  cursor: string;
  found: (readonly [entry: string, facts: ParkedFacts & { readonly parkedSeconds: number }])[];
} {
  const [cursor, pairs] = reply as readonly [Buffer, readonly Buffer[]];
  const found = pagesOf(pairs, 2).map(([entry, json]) => [String(entry), JSON.parse(String(json))] as const);
  return { cursor: String(cursor), found };
}

export function registerShardsCommand(
  sliceId: number | undefined,
  ttlSeconds: number,
  token: string,
  shards: readonly number[],
): RedisCommand {
  return evalsha(registerShards, [shardsKey(sliceId)], [ttlSeconds, token, ...shards]);
}

export function readShardsCommand(sliceId: number | undefined): RedisCommand {
  const key = shardsKey(sliceId);
  return { key, name: 'hgetall', args: [key] };
}

/** Shard -> token of the last call that scheduled something there. */
export function parseShardsReply(reply: RedisReply): Map<number, string> {
  // ioredis makes an object of the map that RESP3 answers.
  const entries = Object.entries(reply as unknown as Record<string, Buffer>);
  return new Map(entries.map(([shard, token]) => [Number(shard), String(token)]));
}

export function forgetShardsCommand(sliceId: number | undefined, tokens: ReadonlyMap<number, string>): RedisCommand {
  return evalsha(forgetShards, [shardsKey(sliceId)], [...tokens].flat());
}

function shardsKey(sliceId: number | undefined): string {
  return formatShardsKey(sliceId === undefined ? {} : { sliceId });
}
