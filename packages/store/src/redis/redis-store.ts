import { formatTraceKey, type SpanbufError } from '@spanbuf/keys';
import { UnreadablePayloadError } from '../errors.ts';
import { receiptsOf } from '../ledger.ts';
import type {
  AddResult,
  ClaimQuery,
  ParkedContents,
  ParkedGeneration,
  ParkedQuery,
  SealedGeneration,
  SegmentPolicy,
  SegmentStore,
  StoredSpan,
  TraceAddition,
} from '../segment-store.ts';
import { BatchLinker } from './batch-linker.ts';
import { entryOf, pagesOf } from './grouping.ts';
import { MemberPayloads } from './members.ts';
import { NEVER_SECONDS, ParkedGenerations, parkedInHand } from './parking.ts';
import { formatEntry, type Lease, parseEntry } from './queue-scripts.ts';
import { RedisLedger } from './redis-ledger.ts';
import type { RedisCommand, RedisRunner } from './redis-runner.ts';
import {
  completeSealed,
  type KnownGeneration,
  parseListEntry,
  readContents,
  sealEntries,
  sweepsOf,
} from './sealed-lists.ts';
import type { RedisStoreSettings } from './settings.ts';
import { dueAgain, type Ending, ShardQueues } from './shard-queues.ts';
import { confirmCommand, type SealReply, stillSealedCommand } from './trace-scripts.ts';

/** What the store keeps about a generation it has handed out. */
interface RedisClaim extends KnownGeneration {
  readonly lease: Lease;
  /** Message time with which it goes back into the queue. */
  readonly dueAgain: number;
}

/** Payload keys read or removed by one pipeline at most: 32 MB of blobs of the usual size. */
const PAYLOADS_AT_ONCE = 1_024;
/** Leases that are taken and sealed together: some 1 ms of a queue's node. */
const CLAIM_PAGE = 256;
/** The same where bytes are counted: at first, when nothing is known of them, and at least. */
const FIRST_PAGE = 32;

/** Segments in Redis or Redis Cluster. What differs between the layouts is in their payload storage alone. */
export class RedisStore implements SegmentStore {
  readonly #runner: RedisRunner;
  readonly #settings: RedisStoreSettings;
  readonly #payloads: MemberPayloads;
  readonly #linker: BatchLinker;
  readonly #queues: ShardQueues;
  readonly #parked: ParkedGenerations;
  readonly #ledger: RedisLedger;

  constructor(runner: RedisRunner, settings: RedisStoreSettings) {
    this.#runner = runner;
    this.#settings = settings;
    this.#payloads = new MemberPayloads(runner, settings);
    this.#linker = new BatchLinker(runner, this.#payloads, settings);
    this.#queues = new ShardQueues(runner, settings);
    this.#ledger = new RedisLedger(runner, settings);
    this.#parked = new ParkedGenerations(runner, this.#payloads, this.#queues, settings.redisTtlSeconds);
  }

  async add(
    additions: readonly TraceAddition[],
    policy: SegmentPolicy,
    at: { readonly now: number },
  ): Promise<AddResult> {
    const terms = { policy, now: at.now, ttlSeconds: this.#payloadTtlSeconds(policy) };
    const effects = await this.#linker.link(additions, terms);
    await this.#queues.schedule(effects, terms);
    // Last, so that a segment whose entry was the only one to lead to its spans keeps it until another does.
    const last = [...this.#queues.takeOut(effects, terms), ...this.#payloads.removals(effects.unused)];
    for (const { trace, entries } of effects.sealed.values()) last.push(confirmCommand(trace, entries));
    await this.#runner.run(last);
    await this.#waitForReplicas();
    const spans = additions.flatMap(({ subsegments }) => subsegments).reduce((sum, { spans }) => sum + spans.length, 0);
    return { added: spans - effects.replayed, replayed: effects.replayed };
  }

  async #waitForReplicas(): Promise<void> {
    const { waitReplicas, waitSeconds } = this.#settings;
    if (waitReplicas > 0) await this.#runner.awaitReplicas(waitReplicas, waitSeconds * 1_000);
  }

  /**
   * How long payloads live: as asked, but never less than a segment may wait, since the backstop takes it after three
   * times its age at the latest and two flushers may die with it.
   */
  #payloadTtlSeconds(policy: SegmentPolicy): number {
    const { redisTtlSeconds, leaseSeconds } = this.#settings;
    return Math.max(redisTtlSeconds, Math.ceil(3 * policy.maxAgeSeconds + policy.timeoutSeconds + 2 * leaseSeconds));
  }

  async claim(query: ClaimQuery): Promise<SealedGeneration[]> {
    const { limit, maxBytes = Number.POSITIVE_INFINITY } = query;
    const tokens = query.shards ? undefined : await this.#queues.readShards();
    const shards = query.shards ?? [...(tokens?.keys() ?? [])];
    const claimed: SealedGeneration[] = [];
    let bytes = 0;
    // As many as there may be room for, if they are as large as those before.
    const pageSize = (): number => {
      if (query.maxBytes === undefined) return CLAIM_PAGE;
      const room = claimed.length === 0 ? 0 : Math.floor(((maxBytes - bytes) * claimed.length) / bytes);
      return Math.min(Math.max(room, FIRST_PAGE), CLAIM_PAGE);
    };
    let isFull = shards.length === 0;
    while (!isFull) {
      const page = Math.min(limit - claimed.length, pageSize());
      const { leases, mayHaveMore } = await this.#queues.lease(shards, query, page, tokens);
      const sealed = await this.#seal(leases, query);
      const left: Ending[] = [];
      for (const generation of sealed) {
        isFull ||= claimed.length > 0 && bytes + generation.payloadBytes > maxBytes;
        if (isFull) {
          const { lease } = claimOf(generation);
          left.push({ lease, due: dueAgain(lease, query.now) });
          continue;
        }
        claimed.push(generation);
        bytes += generation.payloadBytes;
        isFull = claimed.length >= limit;
      }
      await this.#queues.settle(left);
      // What was found to be elsewhere may be due there.
      isFull ||= !mayHaveMore && sealed.length === leases.length;
    }
    return claimed;
  }

  /** Seals what the leases stand for. What is not due after all, or is elsewhere by now, is queued where it belongs. */
  async #seal(leases: readonly Lease[], query: ClaimQuery): Promise<SealedGeneration[]> {
    const targets = leases.map((lease) => {
      const anyway = lease.held ? 'max-age' : query.drain ? 'drain' : undefined;
      return { lease, anyway, ...parseEntry(lease.entry) } as const;
    });
    const replies = await sealEntries(this.#runner, targets, { now: query.now, epoch: this.#settings });
    const generations: SealedGeneration[] = [];
    const moved: { shard: number; entry: string; due: string; held: string }[] = [];
    const endings: Ending[] = [];
    for (const [i, { lease, trace, handle, list }] of targets.entries()) {
      const reply = replies[i] as SealReply;
      if (reply.kind === 'gone') {
        endings.push({ lease, due: undefined });
      } else if (reply.kind === 'live') {
        const entry = formatEntry(trace, reply);
        const stays = entry === lease.entry && reply.shard === lease.queue.shard;
        if (!stays) moved.push({ shard: reply.shard, entry, due: reply.due, held: reply.held });
        endings.push({ lease, due: stays ? reply.due : undefined });
      } else if (reply.kind === 'sealed') {
        const { incarnation, entries, firstPage, ...record } = reply.record;
        const sealed = { trace, handle, list, incarnation, entries };
        const page = firstPage.map((entry) => parseListEntry(trace, entry));
        const claim: RedisClaim = { lease, sealed, firstPage: page, dueAgain: query.now };
        generations.push({ ...trace, ...record, shard: lease.queue.shard, claim });
      }
      // What is of a later epoch comes again when the lease has run out. Whoever claims will know of that epoch by then.
    }
    await this.#queues.requeue(moved);
    await this.#queues.settle(endings);
    return generations;
  }

  async read(
    generations: readonly SealedGeneration[],
    onUnreadable: (generation: SealedGeneration, error: SpanbufError) => void = () => undefined,
  ): Promise<(StoredSpan[] | undefined)[]> {
    const claims = generations.map(claimOf);
    const contents = await readContents(this.#runner, claims);
    const results: (StoredSpan[] | undefined)[] = claims.map(() => []);
    const members = contents.flatMap((content, at) => content.members.map((member) => ({ member, at })));
    for (const page of pagesOf(members, PAYLOADS_AT_ONCE)) {
      const payloads = await this.#payloads.get(page.map(({ member }) => member));
      for (const [i, { at }] of page.entries()) {
        const spans = payloads[i] ?? [];
        if (!(spans instanceof UnreadablePayloadError)) {
          for (const span of spans) results[at]?.push(span);
        } else if (results[at] !== undefined) {
          results[at] = undefined;
          onUnreadable(generations[at] as SealedGeneration, spans);
        }
      }
    }
    // Where spans are missing, somebody may have completed the generation meanwhile.
    const short = [...generations.keys()].filter((i) => results[i] && results[i].length !== generations[i]?.spanCount);
    const records = await this.#runner.run(short.map((i) => stillSealedCommand((claims[i] as RedisClaim).sealed)));
    for (const [k, i] of short.entries()) {
      const [record, incarnation] = records[k] as [Buffer | null, Buffer | null];
      const waits = record !== null && String(incarnation) === claims[i]?.sealed.incarnation;
      if (!waits) results[i] = undefined;
    }
    return results;
  }

  async complete(
    generations: readonly SealedGeneration[],
    spans: readonly (readonly StoredSpan[])[] = [],
  ): Promise<void> {
    if (generations.length === 0) return;
    const claims = generations.map(claimOf);
    // Receipts go before records: a crash in between has them written twice, and the other way round it would have none.
    const receipts = generations.flatMap(({ reason }, i) => receiptsOf(spans[i] ?? [], reason));
    const [tokens, contents] = await Promise.all([
      this.#queues.readShards(),
      readContents(this.#runner, claims),
      this.#ledger.settle(receipts),
    ]);
    // The record goes first: once it is gone, nobody reads these payloads, whoever unlinks them.
    const left = await completeSealed(
      this.#runner,
      claims.map(({ sealed }) => sealed),
      this.#settings.dedupeWindowSeconds,
    );
    const removals: RedisCommand[] = [];
    const large = new Map<number, string[]>();
    for (const [i, content] of contents.entries()) {
      const { sealed, lease } = claims[i] as RedisClaim;
      removals.push(...this.#payloads.removals(content.members));
      if (left[i] !== 'GONE') removals.push(...sweepsOf(sealed, content));
      if (left[i] === 'LARGE') entryOf(large, lease.queue.shard, () => []).push(formatTraceKey(sealed.trace));
    }
    for (const [shard, traceKeys] of large) removals.push(this.#queues.forgetLater(shard, traceKeys));
    for (const page of pagesOf(removals, PAYLOADS_AT_ONCE)) await this.#runner.run(page);
    const empty = await this.#queues.settle(claims.map(({ lease }) => ({ lease, due: undefined })));
    await this.#queues.forgetShards(empty, tokens);
  }

  async release(generations: readonly SealedGeneration[]): Promise<void> {
    await this.#queues.settle(generations.map(claimOf).map(({ lease, dueAgain }) => ({ lease, due: dueAgain })));
  }

  async park(
    parked: readonly { readonly generation: SealedGeneration; readonly reason: string }[],
    { tries = 1 }: { readonly tries?: number } = {},
  ): Promise<boolean[]> {
    return this.#parked.park(
      parked.map((one) => ({ ...one, ...claimOf(one.generation) })),
      tries,
    );
  }

  keepParked(): AsyncIterable<number> {
    return this.#parked.keepAll();
  }

  async listParked(query: ParkedQuery): Promise<ParkedGeneration[]> {
    return this.#parked.list(query);
  }

  async readParked(parked: readonly ParkedGeneration[]): Promise<(ParkedContents | undefined)[]> {
    return this.#parked.read(parked);
  }

  async retryParked(parked: readonly ParkedGeneration[]): Promise<void> {
    await this.#parked.retry(parked);
  }

  async deleteParked(parked: readonly ParkedGeneration[]): Promise<ParkedGeneration[]> {
    const deleted: ParkedGeneration[] = [];
    for (const page of parkedInHand(parked)) {
      // Leased like anything else that is to be forgotten, so that nobody else has it meanwhile.
      const taken = await this.#parked.lease(page);
      const generations = await this.#seal([...taken.keys()], { now: NEVER_SECONDS, limit: page.length });
      // What is of an epoch before has been read from the input again since: nothing of it may count as deleted.
      const sealed = generations.map((generation) => taken.get(claimOf(generation).lease) as ParkedGeneration);
      const contents = await this.#parked.read(sealed);
      await this.#ledger.settle(contents.flatMap((content) => receiptsOf(content?.spans ?? [], 'deleted')));
      await this.complete(generations);
      deleted.push(...sealed);
    }
    return deleted;
  }
}

function claimOf(generation: SealedGeneration): RedisClaim {
  return generation.claim as RedisClaim;
}
