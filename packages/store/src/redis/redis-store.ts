import { formatTraceKey, type SpanbufError } from '@spanbuf/keys';
import { UnreadablePayloadError } from '../errors.ts';
import type {
  AddResult,
  ClaimQuery,
  SealedGeneration,
  SegmentPolicy,
  SegmentStore,
  StoredSpan,
  TraceAddition,
} from '../segment-store.ts';
import { BatchLinker } from './batch-linker.ts';
import { entryOf, pagesOf } from './grouping.ts';
import { MemberPayloads } from './members.ts';
import { formatEntry, type Lease, parseEntry } from './queue-scripts.ts';
import type { RedisCommand, RedisReply, RedisRunner } from './redis-runner.ts';
import { readContents, sweepsOf } from './sealed-lists.ts';
import type { RedisStoreSettings } from './settings.ts';
import { type Ending, ShardQueues } from './shard-queues.ts';
import {
  type Completed,
  completeCommand,
  confirmCommand,
  parseSealReply,
  type SealedRef,
  sealCommand,
  stillSealedCommand,
} from './trace-scripts.ts';

/** What the store keeps about a generation it has handed out. */
interface RedisClaim {
  readonly lease: Lease;
  readonly sealed: SealedRef;
  readonly firstPage: readonly string[];
  /** Message time with which it goes back into the queue. */
  readonly dueAgain: number;
}

/** Payload keys read or removed by one pipeline at most: 32 MB of blobs of the usual size. */
const PAYLOADS_AT_ONCE = 1_024;
/** Leases that are taken and sealed together: some 1 ms of a queue's node. */
const CLAIM_PAGE = 256;
/** The same where bytes are counted. */
const SEAL_CHUNK = 32;

/** Segments in Redis or Redis Cluster. What differs between the layouts is in their payload storage alone. */
export class RedisStore implements SegmentStore {
  readonly #runner: RedisRunner;
  readonly #settings: RedisStoreSettings;
  readonly #payloads: MemberPayloads;
  readonly #linker: BatchLinker;
  readonly #queues: ShardQueues;

  constructor(runner: RedisRunner, settings: RedisStoreSettings) {
    this.#runner = runner;
    this.#settings = settings;
    this.#payloads = new MemberPayloads(runner, settings);
    this.#linker = new BatchLinker(runner, this.#payloads, settings);
    this.#queues = new ShardQueues(runner, settings);
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
    const spans = additions.flatMap(({ subsegments }) => subsegments).reduce((sum, { spans }) => sum + spans.length, 0);
    return { added: spans - effects.replayed, replayed: effects.replayed };
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
    const chunk = query.maxBytes === undefined ? CLAIM_PAGE : SEAL_CHUNK;
    const claimed: SealedGeneration[] = [];
    let bytes = 0;
    let isFull = shards.length === 0;
    while (!isFull) {
      const leases = await this.#queues.lease(shards, query, Math.min(limit - claimed.length, chunk), tokens);
      if (leases.length === 0) break;
      const left: SealedGeneration[] = [];
      for (const generation of await this.#seal(leases, query)) {
        isFull ||= claimed.length > 0 && bytes + generation.payloadBytes > maxBytes;
        if (isFull) {
          left.push(generation);
          continue;
        }
        claimed.push(generation);
        bytes += generation.payloadBytes;
        isFull = claimed.length >= limit;
      }
      await this.release(left);
    }
    return claimed;
  }

  /** Seals what the leases stand for. What is not due after all, or is elsewhere by now, is queued where it belongs. */
  async #seal(leases: readonly Lease[], query: ClaimQuery): Promise<SealedGeneration[]> {
    const targets = leases.map((lease) => ({ lease, ...parseEntry(lease.entry) }));
    const replies = await this.#runner.run(
      targets.map(({ lease, trace, handle, list }) => {
        const anyway = lease.held ? 'max-age' : query.drain ? 'drain' : undefined;
        return sealCommand({ trace, handle, list, now: query.now, anyway });
      }),
    );
    const generations: SealedGeneration[] = [];
    const moved: { shard: number; entry: string; due: string; held: string }[] = [];
    const endings: Ending[] = [];
    for (const [i, { lease, trace, handle, list }] of targets.entries()) {
      const reply = parseSealReply(replies[i] as RedisReply);
      if (reply.kind === 'gone') {
        endings.push({ lease, due: undefined });
      } else if (reply.kind === 'live') {
        const entry = formatEntry(trace, reply);
        const stays = entry === lease.entry && reply.shard === lease.queue.shard;
        if (!stays) moved.push({ shard: reply.shard, entry, due: reply.due, held: reply.held });
        endings.push({ lease, due: stays ? reply.due : undefined });
      } else {
        const { incarnation, entries, firstPage, ...record } = reply.record;
        const sealed = { trace, handle, list, incarnation, entries };
        const claim: RedisClaim = { lease, sealed, firstPage, dueAgain: query.now };
        generations.push({ ...trace, ...record, shard: lease.queue.shard, claim });
      }
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

  async complete(generations: readonly SealedGeneration[]): Promise<void> {
    if (generations.length === 0) return;
    const claims = generations.map(claimOf);
    const tokens = await this.#queues.readShards();
    const contents = await readContents(this.#runner, claims);
    // The record goes first: once it is gone, nobody reads these payloads, whoever unlinks them.
    const replies = await this.#runner.run(
      claims.map(({ sealed }) => completeCommand(sealed, this.#settings.dedupeWindowSeconds)),
    );
    const removals: RedisCommand[] = [];
    const large = new Map<number, string[]>();
    for (const [i, content] of contents.entries()) {
      const { sealed, lease } = claims[i] as RedisClaim;
      const left = String(replies[i]) as Completed;
      removals.push(...this.#payloads.removals(content.members));
      if (left !== 'GONE') removals.push(...sweepsOf(sealed, content));
      if (left === 'LARGE') entryOf(large, lease.queue.shard, () => []).push(formatTraceKey(sealed.trace));
    }
    for (const [shard, traceKeys] of large) removals.push(this.#queues.forgetLater(shard, traceKeys));
    for (const page of pagesOf(removals, PAYLOADS_AT_ONCE)) await this.#runner.run(page);
    const empty = await this.#queues.settle(claims.map(({ lease }) => ({ lease, due: undefined })));
    await this.#queues.forgetShards(empty, tokens);
  }

  async release(generations: readonly SealedGeneration[]): Promise<void> {
    await this.#queues.settle(generations.map(claimOf).map(({ lease, dueAgain }) => ({ lease, due: dueAgain })));
  }
}

function claimOf(generation: SealedGeneration): RedisClaim {
  return generation.claim as RedisClaim;
}
