import { formatClocksKey, formatFlushersKey, formatQueueKey, QUEUE_LANES, type QueueRef } from '@spanbuf/keys';
import type { ShardClock } from '../buffer-control.ts';
import type { LaneFigures, QueueFigures, QueueReport } from '../inspector.ts';
import {
  countFlushersCommand,
  parseClocksReply,
  parseTimeReply,
  readClocksCommand,
  timeCommand,
} from '../redis/control-scripts.ts';
import { pagesOf } from '../redis/grouping.ts';
import { parseShardsReply, readShardsCommand } from '../redis/queue-scripts.ts';
import type { RedisCommand, RedisReply } from '../redis/redis-runner.ts';
import { shardTimes } from '../shard-times.ts';
import { type InspectScope, sliceOf } from './inspect-scope.ts';

/** Shards that are asked for at once: some 2 ms of a node that has all of them. */
const SHARDS_AT_ONCE = 8;
const MICROS = 1_000_000;
const LANES = Array.from({ length: QUEUE_LANES }, (_, lane) => lane);

/** How much waits where. `asked`: by default all shards that have something in their queue, or a clock. */
export async function readQueues(scope: InspectScope, asked: readonly number[] | undefined): Promise<QueueReport> {
  const { runner, settings } = scope;
  const slice = sliceOf(settings);
  const [clocksReply, time, flushersTime, shardsReply] = (await runner.run([
    readClocksCommand(slice),
    timeCommand(formatClocksKey(slice)),
    timeCommand(formatFlushersKey(slice)),
    readShardsCommand(settings.sliceId),
  ])) as [RedisReply, RedisReply, RedisReply, RedisReply];
  const clocks = parseClocksReply(clocksReply);
  const redisSeconds = parseTimeReply(time);
  const [liveFlushers] = await runner.run([countFlushersCommand(slice, parseTimeReply(flushersTime))]);
  const shards = (asked ?? [...new Set([...parseShardsReply(shardsReply).keys(), ...clocks.keys()])]).toSorted(
    (a, b) => a - b,
  );
  const times = shardTimes(
    { redisSeconds, clocks, shards: shards.map((shard) => ({ shard, clock: clocks.get(shard) })) },
    settings.clockGraceSeconds,
  );
  const found: QueueFigures[] = [];
  for (const page of pagesOf(shards, SHARDS_AT_ONCE)) {
    const looks = page.map((shard) => ({
      shard,
      clock: clocks.get(shard),
      messageSeconds: times.get(shard) as number,
      redisSeconds,
    }));
    const commands = looks.map((look) => figuresCommands({ ...slice, shard: look.shard }, look));
    const replies = await runner.run(commands.flat());
    let at = 0;
    for (const [i, look] of looks.entries()) {
      const count = commands[i]?.length ?? 0;
      found.push(parseFigures(look, replies.slice(at, at + count)));
      at += count;
    }
  }
  return { redisSeconds, liveFlushers: liveFlushers as number, shards: found };
}

interface Look {
  readonly shard: number;
  readonly clock: ShardClock | undefined;
  readonly messageSeconds: number;
  readonly redisSeconds: number;
}

/** Commands of a lane. */
const LANE_COMMANDS = 3;

function figuresCommands(queue: QueueRef, { messageSeconds, redisSeconds }: Look): RedisCommand[] {
  const inFlight = formatQueueKey({ ...queue, part: 'in-flight' });
  const parked = formatQueueKey({ ...queue, part: 'parked' });
  const tries = formatQueueKey({ ...queue, part: 'tries' });
  const now = Math.round(redisSeconds * MICROS);
  const of = (key: string, name: string, ...args: (string | number)[]): RedisCommand => ({
    key,
    name,
    args: [key, ...args],
  });
  return [
    of(inFlight, 'zcard'),
    of(inFlight, 'zcount', '-inf', now),
    of(inFlight, 'zrangebyscore', `(${now}`, '+inf', 'WITHSCORES', 'LIMIT', 0, 1),
    of(parked, 'hlen'),
    of(tries, 'hlen'),
    ...LANES.map((lane) => formatQueueKey({ ...queue, part: 'due', lane })).flatMap((due) => [
      of(due, 'zcard'),
      of(due, 'zcount', '-inf', messageSeconds),
      // Without those that are to be taken whatever message time says.
      of(due, 'zrangebyscore', '(-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1),
    ]),
  ];
}

function parseFigures({ redisSeconds: _, ...look }: Look, replies: readonly RedisReply[]): QueueFigures {
  const [inFlightCount, endedLeaseCount, nextLease, parkedCount, triedCount, ...ofLanes] = replies;
  const lanes = pagesOf(ofLanes, LANE_COMMANDS)
    .map(
      ([queuedCount, dueCount, first], lane): LaneFigures => ({
        lane,
        queuedCount: queuedCount as number,
        dueCount: dueCount as number,
        oldestDueSeconds: firstScore(first as RedisReply),
      }),
    )
    .filter(({ queuedCount }) => queuedCount > 0);
  const sum = (count: (lane: LaneFigures) => number): number => lanes.reduce((total, lane) => total + count(lane), 0);
  const dues = lanes.flatMap(({ oldestDueSeconds }) => oldestDueSeconds ?? []);
  const oldestDueSeconds = dues.length > 0 ? Math.min(...dues) : undefined;
  const nextLeaseMicros = firstScore(nextLease as RedisReply);
  return {
    ...look,
    queuedCount: sum(({ queuedCount }) => queuedCount),
    dueCount: sum(({ dueCount }) => dueCount),
    oldestDueSeconds,
    overdueSeconds: Math.max(0, look.messageSeconds - (oldestDueSeconds ?? Number.POSITIVE_INFINITY)),
    inFlightCount: inFlightCount as number,
    endedLeaseCount: endedLeaseCount as number,
    nextLeaseEndSeconds: nextLeaseMicros === undefined ? undefined : nextLeaseMicros / MICROS,
    parkedCount: parkedCount as number,
    triedCount: triedCount as number,
    lanes,
  };
}

/** Of a range with scores: RESP3 answers pairs, RESP2 one after the other. */
function firstScore(reply: RedisReply): number | undefined {
  const score = (reply as readonly RedisReply[]).flat()[1];
  return score === undefined ? undefined : Number(score);
}
