import { formatClocksKey, formatFlushersKey } from '@spanbuf/keys';
import type { ClockMark, ShardClock, ShardState } from '../buffer-control.ts';
import type { Queue } from './queue-scripts.ts';
import { evalsha, type RedisCommand, type RedisReply } from './redis-runner.ts';
import { loadScript } from './script.ts';

// Typed faces of the scripts and commands of the control plane. Nothing else runs them.

const markClocks = loadScript('mark-clocks');
const announceFlusher = loadScript('announce-flusher');
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
