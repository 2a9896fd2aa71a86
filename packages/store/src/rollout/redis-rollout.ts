import { formatClocksKey, formatFlushersKey, formatProcessesKey } from '@spanbuf/keys';
import type { LayoutName, Mark, Place } from '../layout.ts';
import {
  type Announcements,
  parseClocksReply,
  parseProcessesReply,
  parseTimeReply,
  readClocksCommand,
  readFlushersCommand,
  readProcessesCommand,
  timeCommand,
} from '../redis/control-scripts.ts';
import { drawCommands, shareOut } from '../redis/draw.ts';
import { groupBy, pagesOf } from '../redis/grouping.ts';
import {
  lookUpCommand,
  parseLookUpReply,
  parseScanParkedReply,
  parseShardsReply,
  QUEUE_PAGE,
  type Queue,
  queueOf,
  readShardsCommand,
  scanParkedCommand,
} from '../redis/queue-scripts.ts';
import { readMemory } from '../redis/redis-buffer-control.ts';
import type { RedisReply, RedisRunner } from '../redis/redis-runner.ts';
import type { HeldPayloads, LayoutCheck, Rollout, RolloutQuery, RolloutStatus, RunningProcess } from '../rollout.ts';
import { type HeldSegment, lookAt } from './held-payloads.ts';
import { isEverywhere, judgeLayout, layoutsMissing, neededPlaces, type Suspects } from './judge-layout.ts';

const DEFAULT_SAMPLE = 1_000;
const DEFAULT_GRACE_SECONDS = 30;
/** Segments that may be older than the layouts that run, and are looked at; of parked ones as many again. */
const MOST_SUSPECTS = 2_000;
const SCANNED_AT_ONCE = 256;
/** A mark that is older is one of a consumer that is gone, or cannot store anything. They are made each second. */
const FRESH_MARK_SECONDS = 10;
/** Where no flusher says how long its leases are. */
const DEFAULT_LEASE_SECONDS = 60;
/** By how much the clocks of nodes may differ: a backstop is of the clock of one, what is announced of that of another. */
const SKEW_SECONDS = 5;

interface SliceRef {
  readonly sliceId?: number;
}

/** All that is known, and what of it the status does not show. */
interface Knowledge {
  readonly status: Omit<RolloutStatus, 'held'>;
  readonly announcements: Announcements;
  readonly shards: readonly ShardCount[];
}

interface ShardCount {
  readonly queue: Queue;
  readonly heldCount: number;
  readonly parkedCount: number;
}

export class RedisRollout implements Rollout {
  readonly #runner: RedisRunner;
  readonly #slice: SliceRef;
  readonly #random: () => number;

  /** @param random - At least 0, less than 1. */
  constructor(runner: RedisRunner, slice: SliceRef, random: () => number) {
    this.#runner = runner;
    this.#slice = slice;
    this.#random = random;
  }

  async readStatus({ sample, graceSeconds }: RolloutQuery = {}): Promise<RolloutStatus> {
    const { status, shards } = await this.#read(graceSeconds);
    const segments = await lookAt(this.#runner, [...(await this.#draw(shards, sample)).keys()]);
    return { ...status, held: heldPayloads(shards, segments) };
  }

  async check(layout: LayoutName, { sample, graceSeconds }: RolloutQuery = {}): Promise<LayoutCheck> {
    const { status: known, announcements, shards } = await this.#read(graceSeconds);
    const { processes, memory } = known;
    const drawn = await this.#draw(shards, sample);
    const segments = await lookAt(this.#runner, [...drawn.keys()]);
    const status = { ...known, held: heldPayloads(shards, segments) };
    const places = neededPlaces(layout, processes);
    const untilSeconds = suspectUntil(announcements, places, status.redisSeconds);
    const suspects = await this.#readSuspects(shards, untilSeconds, places);
    const misplaced = segments.filter(({ marks }) => !areEverywhere(marks, places));
    const unexplainedCount = await this.#countYounger(misplaced, drawn, untilSeconds);
    const obstacles = judgeLayout({ layout, status, suspects: { ...suspects, unexplainedCount } });
    const writers = processes.filter(({ isWriter }) => isWriter);
    return {
      layout,
      isSafe: obstacles.length === 0,
      obstacles,
      neededPlaces: places,
      isEntered: processes.length > 0 && processes.every((process) => process.layout === layout),
      doublesPayloads: memory.length > 0 && writesTwice(layout) && !writers.some((each) => writesTwice(each.layout)),
      status,
    };
  }

  async #read(graceSeconds = DEFAULT_GRACE_SECONDS): Promise<Knowledge> {
    const memory = readMemory(this.#runner);
    // Awaited below; a failure of what comes first must not leave it without anybody who listens.
    memory.catch(() => undefined);
    const [processesReply, processesTime, flushersTime, clocksReply, clocksTime, shardsReply] = (await this.#runner.run(
      [
        readProcessesCommand(this.#slice),
        timeCommand(formatProcessesKey(this.#slice)),
        timeCommand(formatFlushersKey(this.#slice)),
        readClocksCommand(this.#slice),
        timeCommand(formatClocksKey(this.#slice)),
        readShardsCommand(this.#slice.sliceId),
      ],
    )) as [RedisReply, RedisReply, RedisReply, RedisReply, RedisReply, RedisReply];
    const redisSeconds = parseTimeReply(processesTime);
    const announcements = parseProcessesReply(processesReply);
    const running = announcements.processes.filter(({ forgottenSeconds }) => forgottenSeconds > redisSeconds);
    const queues = [...parseShardsReply(shardsReply).keys()]
      .sort((a, b) => a - b)
      .map((shard) => queueOf({ ...this.#slice, shard }));
    const [flushersReply, ...counts] = await this.#runner.run([
      readFlushersCommand(this.#slice, parseTimeReply(flushersTime)),
      ...queues.flatMap(({ keys }) => [
        { key: keys[HELD] as string, name: 'zcard', args: [keys[HELD] as string] },
        { key: keys[PARKED] as string, name: 'hlen', args: [keys[PARKED] as string] },
      ]),
    ]);
    const shards = queues.map((queue, i) => ({
      queue,
      heldCount: counts[2 * i] as number,
      parkedCount: counts[2 * i + 1] as number,
    }));
    const known = new Set(running.map(({ id }) => id));
    const silentFlushers = (flushersReply as readonly Buffer[]).map(String).filter((id) => !known.has(id));
    const written = new Set(running.flatMap((process) => process.shards ?? []));
    const clocksSeconds = parseTimeReply(clocksTime);
    const silent = [...parseClocksReply(clocksReply)].map(
      ([shard, { markedSeconds }]) => [shard, clocksSeconds - markedSeconds] as const,
    );
    const holding = new Set(shards.filter(({ heldCount }) => heldCount > 0).map(({ queue }) => queue.shard));
    return {
      announcements,
      shards,
      status: {
        redisSeconds,
        processes: running
          .map(({ id, app, version, layout, sinceSeconds, ...process }) => ({
            ...{ id, app, version, layout, sinceSeconds },
            isWriter: process.shards !== undefined,
            isReader: process.leaseSeconds !== undefined,
          }))
          .sort(inOrder),
        silentFlushers: [...silentFlushers, ...announcements.unreadable].sort(),
        silentShards: silent
          .filter(([shard, seconds]) => seconds <= FRESH_MARK_SECONDS && !written.has(shard))
          .map(([shard]) => shard)
          .sort((a, b) => a - b),
        unattended: silent
          .filter(([shard, seconds]) => seconds > FRESH_MARK_SECONDS && seconds <= graceSeconds && holding.has(shard))
          .map(([shard, silentSeconds]) => ({ shard, silentSeconds })),
        written: announcements.written
          .map(({ layout, saidSeconds }) => ({ layout, lastSeconds: saidSeconds }))
          .sort((a, b) => b.lastSeconds - a.lastSeconds),
        memory: await memory,
      },
    };
  }

  /** Entries of all shards, of each in proportion to what it has. All of them where there are no more than asked for. */
  async #draw(shards: readonly ShardCount[], sample = DEFAULT_SAMPLE): Promise<ReadonlyMap<string, Queue>> {
    const counts = shards.flatMap(({ heldCount, parkedCount }) => [heldCount, parkedCount]);
    const isWhole = counts.reduce((sum, count) => sum + count, 0) <= sample;
    const shares = sample === 0 ? [] : shareOut(counts, sample, this.#random());
    const drawn = new Map<string, Queue>();
    for (const [i, { queue }] of shards.entries()) {
      const [held = 0, parked = 0] = shares.slice(2 * i, 2 * i + 2);
      const replies = await this.#runner.run(drawCommands(queue.keys[HELD] as string, held, isWhole));
      for (const entry of replies.flatMap((reply) => reply as readonly Buffer[])) drawn.set(String(entry), queue);
      for (const entry of await this.#parked(queue, parked)) drawn.set(entry, queue);
    }
    return drawn;
  }

  /** How many are in a queue, and not among those that are or were suspected. */
  async #countYounger(
    segments: readonly HeldSegment[],
    queues: ReadonlyMap<string, Queue>,
    untilSeconds: number,
  ): Promise<number> {
    const byQueue = groupBy(segments, ({ entry }) => queues.get(entry) as Queue);
    const counts = [...byQueue].map(async ([queue, some]) => {
      const backstops = await this.#heldUntil(queue, some);
      return backstops.filter((seconds) => seconds > untilSeconds).length;
    });
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  }

  /** Up to so many parked entries. */
  async #parked(queue: Queue, most: number): Promise<string[]> {
    const entries = new Set<string>();
    if (most === 0) return [];
    let cursor = '0';
    do {
      const [reply] = await this.#runner.run([scanParkedCommand(queue, cursor, Math.min(most, SCANNED_AT_ONCE))]);
      const page = parseScanParkedReply(reply as RedisReply);
      for (const [entry] of page.found) entries.add(entry);
      cursor = page.cursor;
    } while (cursor !== '0' && entries.size < most);
    return [...entries].slice(0, most);
  }

  /** Looks at what may have been begun by those who wrote, before now, to other places than these. */
  async #readSuspects(
    shards: readonly ShardCount[],
    untilSeconds: number,
    places: readonly Place[],
  ): Promise<Omit<Suspects, 'unexplainedCount'>> {
    let unprovenCount = 0;
    const look = async (entries: readonly string[]): Promise<HeldSegment[]> => {
      const found = await lookAt(this.#runner, entries);
      unprovenCount += found.filter(({ marks, isWhole }) => !isWhole && areEverywhere(marks, places)).length;
      return found.filter(({ marks }) => !areEverywhere(marks, places));
    };
    let misplacedCount = 0;
    let parkedMisplacedCount = 0;
    let latestSeconds: number | undefined;
    let [heldRoom, parkedRoom] = [MOST_SUSPECTS, MOST_SUSPECTS];
    for (const { queue, parkedCount } of shards) {
      const key = queue.keys[HELD] as string;
      // One more than there is room for tells whether there are more.
      const args = [key, '-inf', untilSeconds, 'LIMIT', 0, heldRoom + 1];
      const [reply] = await this.#runner.run([{ key, name: 'zrangebyscore', args }]);
      const entries = (reply as readonly Buffer[]).map(String);
      if (entries.length > heldRoom) unprovenCount++;
      heldRoom -= Math.min(heldRoom, entries.length);
      const misplaced = await look(entries.slice(0, MOST_SUSPECTS));
      misplacedCount += misplaced.length;
      for (const until of await this.#heldUntil(queue, misplaced)) latestSeconds = Math.max(latestSeconds ?? 0, until);
      // Also where there was nothing: what was held a moment ago may be parked by now.
      if (parkedCount > parkedRoom) unprovenCount += parkedCount - parkedRoom;
      const parked = await this.#parked(queue, parkedRoom);
      parkedRoom -= parked.length;
      parkedMisplacedCount += (await look(parked)).length;
    }
    return { misplacedCount, untilSeconds: latestSeconds, parkedMisplacedCount, unprovenCount };
  }

  /** Backstops. */
  async #heldUntil(queue: Queue, segments: readonly HeldSegment[]): Promise<number[]> {
    const pages = pagesOf(segments, QUEUE_PAGE);
    const replies = await this.#runner.run(
      pages.map((page) =>
        lookUpCommand(
          queue,
          page.map(({ entry }) => entry),
        ),
      ),
    );
    return replies
      .flatMap((reply) => parseLookUpReply(reply).places)
      .flatMap(({ held }) => (held === undefined ? [] : Number(held)));
  }
}

/** Of the keys of a queue. */
const PARKED = 1;
const HELD = 3;

/**
 * Up to which backstop a segment may have payloads that are not in all of these places. What is behind its backstop is queued again
 * with a later one, a lease away, so that its age is not known any more.
 */
function suspectUntil(announcements: Announcements, places: readonly Place[], redisSeconds: number): number {
  const { written, processes, unknownUntilSeconds = Number.POSITIVE_INFINITY } = announcements;
  const missing = layoutsMissing(places);
  const leases = processes.map(({ leaseSeconds }) => leaseSeconds ?? 0);
  const again = redisSeconds + Math.max(DEFAULT_LEASE_SECONDS, ...leases);
  const misplaced = written.filter(({ layout }) => missing.includes(layout));
  const until = Math.max(unknownUntilSeconds, again, ...misplaced.map(({ heldUntilSeconds }) => heldUntilSeconds));
  return until === Number.POSITIVE_INFINITY ? until : until + SKEW_SECONDS;
}

function areEverywhere(marks: ReadonlySet<Mark>, places: readonly Place[]): boolean {
  return [...marks].every((mark) => isEverywhere(mark, places));
}

function writesTwice(layout: LayoutName): boolean {
  return layout === 'dual-read-colocated' || layout === 'dual-read-distributed';
}

function heldPayloads(shards: readonly ShardCount[], segments: readonly HeldSegment[]): HeldPayloads {
  const only = (mark: Mark): number => segments.filter(({ marks }) => marks.size === 1 && marks.has(mark)).length;
  const parkedCount = shards.reduce((sum, each) => sum + each.parkedCount, 0);
  return {
    segmentCount: shards.reduce((sum, each) => sum + each.heldCount, parkedCount),
    parkedCount,
    lookedAtCount: segments.length,
    colocated: only('c'),
    both: only('b'),
    distributed: only('d'),
    mixed: segments.filter(({ marks }) => marks.size > 1).length,
    cut: segments.filter(({ isWhole }) => !isWhole).length,
  };
}

function inOrder(a: RunningProcess, b: RunningProcess): number {
  return a.app.localeCompare(b.app) || a.sinceSeconds - b.sinceSeconds;
}
