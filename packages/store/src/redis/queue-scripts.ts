import {
  formatQueueKey,
  formatSegmentKey,
  formatShardsKey,
  parseSegmentKey,
  type QueueRef,
  type TraceRef,
} from '@spanbuf/keys';
import { evalsha, type RedisCommand, type RedisReply } from './redis-runner.ts';
import { loadScript } from './script.ts';
import type { EntryRef } from './trace-scripts.ts';

// Typed faces of the scripts that run on one shard's queue and on the list of shards. Nothing else runs them.

const schedule = loadScript('schedule');
const claim = loadScript('claim');
const settle = loadScript('settle');
const forgetLater = loadScript('forget-later');
const registerShards = loadScript('register-shards');
const forgetShards = loadScript('forget-shards');

/** Entries that one call schedules or settles at most: some 1 ms of Redis. */
export const QUEUE_PAGE = 128;

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
  readonly queue: QueueRef;
  readonly ttlSeconds: number;
  readonly entries: readonly (QueueTimes & { readonly entry: string })[];
  readonly takeOut: readonly string[];
}

export function scheduleCommand({ queue, ttlSeconds, entries, takeOut }: ScheduleCall): RedisCommand {
  const args: (string | number)[] = [ttlSeconds, entries.length];
  for (const { entry, due, held } of entries) args.push(entry, due, held);
  return evalsha(schedule, [formatQueueKey(queue), formatQueueKey({ ...queue, part: 'held' })], [...args, ...takeOut]);
}

export interface Lease {
  readonly queue: QueueRef;
  readonly lease: string;
  readonly entry: string;
  /** Taken because it waited too long by the wall clock. */
  readonly held: boolean;
}

export interface ClaimCall {
  readonly queue: QueueRef;
  readonly now: number | '+inf';
  readonly leaseSeconds: number;
  readonly limit: number;
  readonly ttlSeconds: number;
}

export function claimCommand({ queue, now, leaseSeconds, limit, ttlSeconds }: ClaimCall): RedisCommand {
  return evalsha(claim, queueKeys(queue), [now, leaseSeconds, limit, ttlSeconds]);
}

export interface ClaimReply {
  readonly leases: readonly Lease[];
  /** Keys of large traces whose dedupe window is over. */
  readonly forget: readonly string[];
  readonly isEmpty: boolean;
}

export function parseClaimReply(queue: QueueRef, reply: RedisReply): ClaimReply {
  const [lease, size, ...rest] = reply as readonly [Buffer, number, ...Buffer[]];
  const leases: Lease[] = [];
  const forget: string[] = [];
  for (let i = 0; i < rest.length; i += 2) {
    const [entry, how] = [String(rest[i]), String(rest[i + 1])];
    if (how === 'forget') forget.push(entry);
    else leases.push({ queue, lease: String(lease), entry, held: how === 'held' });
  }
  return { leases, forget, isEmpty: size === 0 };
}

export function forgetLaterCommand(
  queue: QueueRef,
  ttlSeconds: number,
  dedupeWindowSeconds: number,
  traceKeys: readonly string[],
): RedisCommand {
  return evalsha(
    forgetLater,
    [formatQueueKey({ ...queue, part: 'forgotten' })],
    [ttlSeconds, dedupeWindowSeconds, ...traceKeys],
  );
}

/** `due` of an ending: when to give the entry back; `undefined` takes it out of the queue. Answers the queue's size. */
export function settleCommand(
  { queue, lease }: Pick<Lease, 'queue' | 'lease'>,
  ttlSeconds: number,
  endings: readonly { readonly entry: string; readonly due: string | number | undefined }[],
): RedisCommand {
  return evalsha(settle, queueKeys(queue), [
    lease,
    ttlSeconds,
    ...endings.flatMap(({ entry, due }) => [entry, due ?? '']),
  ]);
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

function queueKeys(queue: QueueRef): string[] {
  return [
    formatQueueKey(queue),
    formatQueueKey({ ...queue, part: 'in-flight' }),
    formatQueueKey({ ...queue, part: 'held' }),
    formatQueueKey({ ...queue, part: 'forgotten' }),
  ];
}

function shardsKey(sliceId: number | undefined): string {
  return formatShardsKey(sliceId === undefined ? {} : { sliceId });
}
