import type { ClaimQuery } from '../segment-store.ts';
import type { Effects, LinkTerms } from './batch-linker.ts';
import { entryOf, groupBy, pagesOf } from './grouping.ts';
import {
  claimCommand,
  forgetLaterCommand,
  forgetShardsCommand,
  keepParkedCommand,
  type Lease,
  leaseParkedCommand,
  type ParkedFacts,
  parkCommand,
  parseClaimReply,
  parseLeaseParkedReply,
  parseScanParkedReply,
  parseShardsReply,
  QUEUE_PAGE,
  type Queue,
  type QueueTimes,
  queueOf,
  readShardsCommand,
  registerShardsCommand,
  type ScheduleCall,
  scanParkedCommand,
  scheduleCommand,
  settleCommand,
  unparkCommand,
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

export interface Leased {
  readonly leases: readonly Lease[];
  /** Whether there may be more to lease at this moment. */
  readonly mayHaveMore: boolean;
}

/**
 * The message time with which an entry that was leased, and is not wanted after all, goes back into its queue: as it was, so
 * that it keeps its place among the others, but not later than now.
 */
export function dueAgain({ due }: Lease, now: number): number {
  return Math.min(due === undefined ? now : Number(due), now);
}

/** Of a queue: it may be made anew for an entry of which a flusher does not know how long it may wait. */
const LEAST_TTL_SECONDS = 86_400;

/** The queues of all shards of a slice. They are hints: what they lead to is decided in the trace. */
export class ShardQueues {
  readonly #runner: RedisRunner;
  readonly #settings: RedisStoreSettings;
  readonly #queues = new Map<number, Queue>();
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
    await this.#runner.run(
      shards.flatMap(([shard, all]) =>
        pagesOf(all, QUEUE_PAGE).map((entries) =>
          scheduleCommand({ queue: this.queue(shard), ttlSeconds, entries, takeOut: [] }),
        ),
      ),
    );
    await this.note(
      shards.map(([shard]) => shard),
      ttlSeconds,
    );
  }

  /** Notes that shards have something in their queues. */
  async note(shards: readonly number[], ttlSeconds: number): Promise<void> {
    if (shards.length === 0) return;
    const { sliceId, nextWriteId } = this.#settings;
    await this.#runner.run([registerShardsCommand(sliceId, ttlSeconds, nextWriteId(), [...new Set(shards)])]);
  }

  async readShards(): Promise<ShardTokens> {
    const [reply] = await this.#runner.run([readShardsCommand(this.#settings.sliceId)]);
    return parseShardsReply(reply as RedisReply);
  }

  /**
   * Leases at most `page` entries, from all shards alike.
   * @param tokens - Read before, where shards that turn out to be empty are to be forgotten.
   */
  async lease(shards: readonly number[], query: ClaimQuery, page: number, tokens?: ShardTokens): Promise<Leased> {
    const { leaseSeconds } = this.#settings;
    const terms = { leaseSeconds, limit: Math.ceil(page / shards.length), ttlSeconds: this.#ttlSeconds };
    const now = query.drain ? '+inf' : query.now;
    // Another shard is the first each time, so that none is left over for ever where there are more of them than room.
    const turn = this.#turn++ % shards.length;
    const queues = [...shards.slice(turn), ...shards.slice(0, turn)].map((shard) => this.queue(shard));
    const replies = await this.#runner.run(queues.map((queue) => claimCommand({ queue, now, ...terms })));
    const parsed = queues.map((queue, i) => parseClaimReply(queue, replies[i] as RedisReply));
    await this.#runner.run(parsed.flatMap(({ forget }) => forget).map(forgetCommand));
    const empty = queues.filter((_, i) => parsed[i]?.isEmpty === true);
    await this.forgetShards(
      empty.map(({ shard }) => shard),
      tokens,
    );
    const leases = parsed.flatMap((claim) => claim.leases);
    const left = leases.slice(page);
    await this.settle(left.map((lease) => ({ lease, due: dueAgain(lease, query.now) })));
    const leased = leases.slice(0, page);
    // A writer may have died before it noted that they are there. Once they are sealed, no replay schedules them again.
    await this.note(
      leased.map(({ queue }) => queue.shard),
      this.#ttlSeconds,
    );
    return {
      leases: leased,
      mayHaveMore: left.length > 0 || parsed.some(({ mayHaveMore }) => mayHaveMore),
    };
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
    const leftovers = await this.#runner.run(commands);
    return [...new Set(shards.filter((_, i) => leftovers[i] === 0))];
  }

  /** Takes leased entries out of work, at the last of their tries. Answers which leases are parked now. */
  async park(
    parked: readonly { readonly lease: Lease; readonly facts: ParkedFacts }[],
    terms: { readonly ttlSeconds: number; readonly mostTries: number },
  ): Promise<Set<Lease>> {
    const groups = groupBy(parked, ({ lease }) => `${lease.queue.shard} ${lease.lease}`);
    const pages = [...groups.values()].flatMap((group) => pagesOf(group, QUEUE_PAGE));
    const replies = await this.#runner.run(
      pages.map((page) => {
        const entries = page.map(({ lease, facts }) => ({ entry: lease.entry, facts }));
        return parkCommand((page[0] as (typeof page)[0]).lease, terms, entries);
      }),
    );
    const are = pages.flatMap((page, i) => page.filter((_, k) => (replies[i] as readonly number[])[k] === 1));
    return new Set(are.map(({ lease }) => lease));
  }

  /** Leases parked entries. Those that are not parked any more are left out. */
  async leaseParked(shards: ReadonlyMap<number, readonly { readonly entry: string }[]>): Promise<Lease[]> {
    const { leaseSeconds } = this.#settings;
    const terms = { leaseSeconds, ttlSeconds: this.#ttlSeconds };
    const pages = [...shards].flatMap(([shard, parked]) =>
      pagesOf(parked, QUEUE_PAGE).map((page) => ({
        queue: this.queue(shard),
        entries: page.map(({ entry }) => entry),
      })),
    );
    const replies = await this.#runner.run(
      pages.map(({ queue, entries }) => leaseParkedCommand(queue, terms, entries)),
    );
    return pages.flatMap(({ queue }, i) => parseLeaseParkedReply(queue, replies[i] as RedisReply));
  }

  /** Lets what is known of the parked entries of some shards live for `ttlSeconds` from now, or longer. */
  async keepParked(shards: readonly number[], ttlSeconds: number): Promise<void> {
    await this.#runner.run(shards.map((shard) => keepParkedCommand(this.queue(shard), ttlSeconds)));
    await this.note(shards, ttlSeconds);
  }

  /** Puts parked entries back, to be taken at once. */
  async unpark(shards: ReadonlyMap<number, readonly { readonly entry: string }[]>): Promise<void> {
    await this.#runner.run(
      [...shards].flatMap(([shard, parked]) =>
        pagesOf(parked, QUEUE_PAGE).map((page) => {
          const entries = page.map(({ entry }) => entry);
          return unparkCommand(this.queue(shard), this.#ttlSeconds, entries);
        }),
      ),
    );
    await this.note([...shards.keys()], this.#ttlSeconds);
  }

  /** What is parked, from all shards alike, some `count` entries at a time. An entry may come twice. */
  async *scanParked(
    shards: readonly number[],
    count: number,
  ): AsyncGenerator<[shard: number, entry: string, facts: ParkedFacts & { readonly parkedSeconds: number }]> {
    let open = shards.map((shard) => ({ queue: this.queue(shard), cursor: '0' }));
    while (open.length > 0) {
      const share = Math.min(Math.ceil(count / open.length), QUEUE_PAGE);
      const replies = await this.#runner.run(open.map(({ queue, cursor }) => scanParkedCommand(queue, cursor, share)));
      const pages = replies.map(parseScanParkedReply);
      for (const [i, { found }] of pages.entries())
        for (const [entry, facts] of found) yield [(open[i] as (typeof open)[0]).queue.shard, entry, facts];
      open = open
        .map(({ queue }, i) => ({ queue, cursor: pages[i]?.cursor ?? '0' }))
        .filter(({ cursor }) => cursor !== '0');
    }
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

  queue(shard: number): Queue {
    const { sliceId } = this.#settings;
    return entryOf(this.#queues, shard, () => queueOf(sliceId === undefined ? { shard } : { shard, sliceId }));
  }

  /** Of what a flusher writes to a queue. Only ever lengthens what a writer has set. */
  get #ttlSeconds(): number {
    const { redisTtlSeconds, leaseSeconds, dedupeWindowSeconds } = this.#settings;
    return Math.max(redisTtlSeconds, LEAST_TTL_SECONDS, Math.ceil(2 * leaseSeconds), 2 * dedupeWindowSeconds);
  }
}
