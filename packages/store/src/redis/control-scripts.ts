import { formatClocksKey, formatFlushersKey, formatProcessesKey } from '@spanbuf/keys';
import type { ClockMark, ProcessFacts, ShardClock, ShardState } from '../buffer-control.ts';
import { LAYOUTS, type LayoutName } from '../layout.ts';
import type { Queue } from './queue-scripts.ts';
import { evalsha, type RedisCommand, type RedisReply } from './redis-runner.ts';
import { loadScript } from './script.ts';

// Typed faces of the scripts and commands of the control plane. Nothing else runs them.

const markClocks = loadScript('mark-clocks');
const announceFlusher = loadScript('announce-flusher');
const announceProcess = loadScript('announce-process');
const queueState = loadScript('queue-state');

interface SliceRef {
  readonly sliceId?: number;
}

export function markClocksCommand(
  slice: SliceRef,
  ttlSeconds: number,
  marks: readonly (readonly [number, ClockMark])[],
): RedisCommand {
  const pairs = marks.flatMap(([shard, mark]) => [shard, `${mark.messageSeconds} ${mark.behindSeconds}`]);
  return evalsha(markClocks, [formatClocksKey(slice)], [ttlSeconds, ...pairs]);
}

export function readClocksCommand(slice: SliceRef): RedisCommand {
  const key = formatClocksKey(slice);
  return { key, name: 'hgetall', args: [key] };
}

export function parseClocksReply(reply: RedisReply): Map<number, ShardClock> {
  // ioredis makes an object of the map that RESP3 answers.
  const entries = Object.entries(reply as unknown as Record<string, Buffer>);
  return new Map(
    entries.map(([shard, text]) => {
      const [markedSeconds, messageSeconds, behindSeconds] = String(text).split(' ').map(Number) as [
        number,
        number,
        number,
      ];
      return [Number(shard), { messageSeconds, behindSeconds, markedSeconds }];
    }),
  );
}

export function announceFlusherCommand(
  slice: SliceRef,
  ttlSeconds: number,
  flusherId: string,
  presenceSeconds: number,
): RedisCommand {
  return evalsha(announceFlusher, [formatFlushersKey(slice)], [ttlSeconds, presenceSeconds, flusherId]);
}

export function withdrawFlusherCommand(slice: SliceRef, flusherId: string): RedisCommand {
  const key = formatFlushersKey(slice);
  return { key, name: 'zrem', args: [key, flusherId] };
}

/** From the first span of a segment to its backstop, in `maxAgeSeconds`: as in link.lua. */
export const BACKSTOP = 3;

export function announceProcessCommand(
  slice: SliceRef,
  ttlSeconds: number,
  { id, ...facts }: ProcessFacts,
  presenceSeconds: number,
): RedisCommand {
  const { app, version, layout, writes, reads } = facts;
  const text = JSON.stringify({
    app,
    version,
    layout,
    writes: writes && { shards: formatRanges(writes.shards) },
    reads,
  });
  const written = writes === undefined ? ['', 0] : [layout, Math.ceil(BACKSTOP * writes.maxAgeSeconds)];
  return evalsha(announceProcess, [formatProcessesKey(slice)], [ttlSeconds, presenceSeconds, id, text, ...written]);
}

export function withdrawProcessCommand(slice: SliceRef, id: string): RedisCommand {
  const key = formatProcessesKey(slice);
  return { key, name: 'hdel', args: [key, `p${id}`] };
}

export function readProcessesCommand(slice: SliceRef): RedisCommand {
  const key = formatProcessesKey(slice);
  return { key, name: 'hgetall', args: [key] };
}

/** A process as it has announced itself; `shards` of one that does not write is `undefined`. */
export interface AnnouncedProcess {
  readonly id: string;
  readonly app: string;
  readonly version: string;
  readonly layout: LayoutName;
  readonly sinceSeconds: number;
  readonly forgottenSeconds: number;
  readonly shards: readonly number[] | undefined;
  /** Of one that takes segments out. */
  readonly leaseSeconds: number | undefined;
}

/** When a layout was written, and until when what was written is held at the longest. */
export interface WrittenLayout {
  readonly layout: LayoutName;
  readonly saidSeconds: number;
  readonly heldUntilSeconds: number;
}

export interface Announcements {
  /** Those that are forgotten, too, as long as nobody has swept them out. */
  readonly processes: readonly AnnouncedProcess[];
  readonly written: readonly WrittenLayout[];
  /** The backstop of what was begun before anybody announced anything; `undefined`: nobody has yet. */
  readonly unknownUntilSeconds: number | undefined;
  /** Ids of what this version cannot read. */
  readonly unreadable: readonly string[];
}

export function parseProcessesReply(reply: RedisReply): Announcements {
  const processes: AnnouncedProcess[] = [];
  const written: WrittenLayout[] = [];
  const unreadable: string[] = [];
  let unknownUntilSeconds: number | undefined;
  // ioredis makes an object of the map that RESP3 answers.
  for (const [field, value] of Object.entries(reply as unknown as Record<string, Buffer>)) {
    const [kind, name, text] = [field[0], field.slice(1), String(value)];
    if (field === 'b') unknownUntilSeconds = Number(text);
    if (kind === 'p') {
      const process = parseProcess(name, text);
      if (process === undefined) unreadable.push(name);
      else processes.push(process);
    }
    if (kind === 'w') {
      const [saidSeconds, heldUntilSeconds] = text.split(' ').map(Number) as [number, number];
      if (isLayout(name)) written.push({ layout: name, saidSeconds, heldUntilSeconds });
      else unreadable.push(name);
    }
  }
  return { processes, written, unknownUntilSeconds, unreadable };
}

function parseProcess(id: string, text: string): AnnouncedProcess | undefined {
  const { forgotten, since, json = '' } = /^(?<forgotten>\S+) (?<since>\S+) (?<json>.*)$/s.exec(text)?.groups ?? {};
  try {
    const { app, version, layout, writes, reads } = JSON.parse(json);
    if (!isLayout(layout)) return undefined;
    const shards = writes === undefined ? undefined : parseRanges(writes.shards);
    const times = { sinceSeconds: Number(since), forgottenSeconds: Number(forgotten) };
    return {
      id,
      app: String(app),
      version: String(version),
      layout,
      ...times,
      shards,
      leaseSeconds: reads?.leaseSeconds,
    };
  } catch {
    return undefined;
  }
}

function isLayout(name: unknown): name is LayoutName {
  return LAYOUTS.some((layout) => layout === name);
}

/** `0-2,7`: a consumer may have thousands of shards, in a row as a rule. */
function formatRanges(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && number <= last[1] + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
}

function parseRanges(text: string): number[] {
  if (text === '') return [];
  return text.split(',').flatMap((range) => {
    const [from, to = from] = range.split('-').map(Number) as [number, number?];
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

/** Ids of those that are to be forgotten later than at `seconds`. */
export function readFlushersCommand(slice: SliceRef, seconds: number): RedisCommand {
  const key = formatFlushersKey(slice);
  return { key, name: 'zrangebyscore', args: [key, `(${seconds}`, '+inf'] };
}

/** Answers how many were to be forgotten later than at `seconds`. */
export function countFlushersCommand(slice: SliceRef, seconds: number): RedisCommand {
  const key = formatFlushersKey(slice);
  return { key, name: 'zcount', args: [key, `(${seconds}`, '+inf'] };
}

/** Clock of the node that has this key. */
export function timeCommand(key: string): RedisCommand {
  return { key, name: 'time', args: [] };
}

/** Unix seconds, to the microsecond. */
export function parseTimeReply(reply: RedisReply): number {
  const [seconds, micros] = (reply as readonly Buffer[]).map(Number) as [number, number];
  return seconds + micros / 1e6;
}

export function queueStateCommand(queue: Queue): RedisCommand {
  return evalsha(queueState, queue.keys, []);
}

export function parseQueueStateReply(
  queue: Queue,
  reply: RedisReply,
): { readonly isEmpty: boolean; readonly state: Omit<ShardState, 'clock'> } {
  const [dueCount, inFlightCount, parkedCount, oldest, empty] = reply as readonly [
    number,
    number,
    number,
    Buffer,
    number,
  ];
  const oldestDueSeconds = oldest.length === 0 ? undefined : Number(oldest);
  return {
    isEmpty: empty === 1,
    state: { shard: queue.shard, dueCount, inFlightCount, parkedCount, oldestDueSeconds },
  };
}
