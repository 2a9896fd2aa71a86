import type { QueueRef } from '@spanbuf/keys';
import type { ClaimQuery } from '../segment-store.ts';
import type { Effects, LinkTerms } from './batch-linker.ts';
import { groupBy, pagesOf } from './grouping.ts';
import {
  claimCommand,
  forgetLaterCommand,
  forgetShardsCommand,
  type Lease,
  parseClaimReply,
  parseShardsReply,
  QUEUE_PAGE,
  type QueueTimes,
  readShardsCommand,
  registerShardsCommand,
  type ScheduleCall,
  scheduleCommand,
  settleCommand,
} from './queue-scripts.ts';
import type { RedisCommand, RedisReply, RedisRunner } from './redis-runner.ts';
import type { RedisStoreSettings } from './settings.ts';
import { forgetCommand } from './trace-scripts.ts';

/** Shard -> token of the last call that scheduled something there. */
export type ShardTokens = ReadonlyMap<number, string>;

/** How a lease ends: given back with a due time, or, without one, taken out of the queue. */
export interface Ending {
  readonly lease: Lease;
  readonly due: string | number | undefined;
}

/** Of a queue: it may be made anew for an entry of which a flusher does not know how long it may wait. */
const LEAST_TTL_SECONDS = 86_400;

/** The queues of all shards of a slice. They are hints: what they lead to is decided in the trace. */
export class ShardQueues {
  readonly #runner: RedisRunner;
  readonly #settings: RedisStoreSettings;
  #turn = 0;

  constructor(runner: RedisRunner, settings: RedisStoreSettings) {
    this.#runner = runner;
    this.#settings = settings;
  }

  /** Schedules what a batch touched. What it absorbed is taken out by {@link takeOut} afterwards, never before. */
  async schedule({ due }: Effects, { ttlSeconds }: LinkTerms): Promise<void> {
    await this.#schedule(
      [...due].map(([shard, entries]) => [shard, [...entries].map(([entry, times]) => ({ entry, ...times }))]),
      ttlSeconds,
    );
  }

  takeOut({ absorbed }: Effects, { ttlSeconds }: LinkTerms): RedisCommand[] {
    return [...absorbed].flatMap(([shard, entries]) =>
      pagesOf([...entries], QUEUE_PAGE).map((takeOut) =>
        scheduleCommand({ queue: this.queue(shard), ttlSeconds, entries: [], takeOut }),
      ),
    );
  }

  /** Queues entries found to be elsewhere than their queue said. */
  async requeue(moved: readonly (QueueTimes & { shard: number; entry: string })[]): Promise<void> {
    await this.#schedule([...groupBy(moved, ({ shard }) => shard)], this.#ttlSeconds);
  }

  /** First the entries, then the note that the shards have some: whoever finds a shard empty reads that note before. */
  async #schedule(shards: readonly (readonly [number, ScheduleCall['entries']])[], ttlSeconds: number): Promise<void> {
    if (shards.length === 0) return;
    const { sliceId, nextWriteId } = this.#settings;
    await this.#runner.run(
      shards.flatMap(([shard, all]) =>
        pagesOf(all, QUEUE_PAGE).map((entries) =>
          scheduleCommand({ queue: this.queue(shard), ttlSeconds, entries, takeOut: [] }),
        ),
      ),
    );
    const noted = shards.map(([shard]) => shard);
    await this.#runner.run([registerShardsCommand(sliceId, ttlSeconds, nextWriteId(), noted)]);
  }

  async readShards(): Promise<ShardTokens> {
    const [reply] = await this.#runner.run([readShardsCommand(this.#settings.sliceId)]);
    return parseShardsReply(reply as RedisReply);
  }

  /**
   * Leases at most `room` entries, `page` of them at once, from all shards alike.
   * @param tokens - Read before, where shards that turn out to be empty are to be forgotten.
   */
  async lease(
    shards: readonly number[],
    query: ClaimQuery,
    page: number,
    tokens: ShardTokens | undefined,
  ): Promise<Lease[]> {
    const { leaseSeconds } = this.#settings;
    const terms = { leaseSeconds, limit: Math.ceil(page / shards.length), ttlSeconds: this.#ttlSeconds };
    const now = query.drain ? '+inf' : query.now;
    // Another shard is the first each time, so that none is left over for ever where there are more of them than room.
    const turn = this.#turn++ % shards.length;
    const queues = [...shards.slice(turn), ...shards.slice(0, turn)].map((shard) => this.queue(shard));
    const replies = await this.#runner.run(queues.map((queue) => claimCommand({ queue, now, ...terms })));
    const parsed = queues.map((queue, i) => parseClaimReply(queue, replies[i] as RedisReply));
    const isEmpty = (_: QueueRef, i: number): boolean => parsed[i]?.isEmpty === true;
    await this.#runner.run(parsed.flatMap(({ forget }) => forget).map(forgetCommand));
    await this.forgetShards(
      queues.filter(isEmpty).map(({ shard }) => shard),
      tokens,
    );
    const leases = parsed.flatMap((claim) => claim.leases);
    await this.settle(leases.slice(page).map((lease) => ({ lease, due: query.now })));
    return leases.slice(0, page);
  }

  /** Answers which of the queues are empty now. */
  async settle(endings: readonly Ending[]): Promise<number[]> {
    const commands: RedisCommand[] = [];
    const shards: number[] = [];
    for (const group of groupBy(endings, ({ lease }) => `${lease.queue.shard} ${lease.lease}`).values()) {
      for (const page of pagesOf(group, QUEUE_PAGE)) {
        const { lease } = page[0] as Ending;
        const pairs = page.map((ending) => ({ entry: ending.lease.entry, due: ending.due }));
        commands.push(settleCommand(lease, this.#ttlSeconds, pairs));
        shards.push(lease.queue.shard);
      }
    }
    const sizes = await this.#runner.run(commands);
    return [...new Set(shards.filter((_, i) => sizes[i] === 0))];
  }

  /** Forgets shards seen empty since `tokens` were read. */
  async forgetShards(shards: readonly number[], tokens: ShardTokens | undefined): Promise<void> {
    const known = shards.flatMap((shard): [number, string][] => {
      const token = tokens?.get(shard);
      return token === undefined ? [] : [[shard, token]];
    });
    if (known.length > 0) await this.#runner.run([forgetShardsCommand(this.#settings.sliceId, new Map(known))]);
  }

  /** Has large traces forgotten when their dedupe window is over, by whoever leases from this shard then. */
  forgetLater(shard: number, traceKeys: readonly string[]): RedisCommand {
    return forgetLaterCommand(this.queue(shard), this.#ttlSeconds, this.#settings.dedupeWindowSeconds, traceKeys);
  }

  queue(shard: number): QueueRef {
    const { sliceId } = this.#settings;
    return sliceId === undefined ? { shard } : { shard, sliceId };
  }

  /** Of what a flusher writes to a queue. Only ever lengthens what a writer has set. */
  get #ttlSeconds(): number {
    const { redisTtlSeconds, leaseSeconds, dedupeWindowSeconds } = this.#settings;
    return Math.max(redisTtlSeconds, LEAST_TTL_SECONDS, Math.ceil(2 * leaseSeconds), 2 * dedupeWindowSeconds);
  }
}
