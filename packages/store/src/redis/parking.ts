import { UnreadablePayloadError } from '../errors.ts';
import {
  MAX_REASON_CHARACTERS,
  type ParkedContents,
  type ParkedGeneration,
  type ParkedQuery,
  type SealedGeneration,
} from '../segment-store.ts';
import { groupBy, pagesOf } from './grouping.ts';
import type { MemberPayloads } from './members.ts';
import { type Lease, type ParkedFacts, parseEntry } from './queue-scripts.ts';
import type { RedisRunner } from './redis-runner.ts';
import { type KnownGeneration, parseListEntry, readContents, sealEntries } from './sealed-lists.ts';
import type { ShardQueues } from './shard-queues.ts';
import { keepCommand, type SealReply } from './trace-scripts.ts';

/** Payloads that are read, or whose life is lengthened, by one pipeline at most. */
const PAYLOADS_AT_ONCE = 1_024;
/** Parked entries that are looked at together, at least. */
const SCANNED_AT_ONCE = 256;
/** Generations whose lists are in memory at once. */
const GENERATIONS_AT_ONCE = 32;
/** Payload bytes that are in memory at once. */
const BYTES_AT_ONCE = 32 * 2 ** 20;
const PARKED_TTL_SECONDS = 30 * 86_400;
/** What is parked is put back whatever epoch it is of: whoever takes it next finds out. */
const ANY_EPOCH = { sliceId: undefined, epoch: 'any' } as const;
/** Earlier than anything is due: of a list that is live, seal then says so and changes nothing. */
export const NEVER_SECONDS = Number.MIN_SAFE_INTEGER;

/** What the store has handed out, and is to set aside. */
export interface Parking extends KnownGeneration {
  readonly lease: Lease;
  readonly generation: SealedGeneration;
  readonly reason: string;
}

interface ParkedRef {
  readonly entry: string;
}

/**
 * Generations that are set aside. First everything that belongs to one is given a long life, then it is parked; and the
 * same before it is put back. So whatever dies in between, nothing that is parked is about to expire.
 */
export class ParkedGenerations {
  readonly #runner: RedisRunner;
  readonly #payloads: MemberPayloads;
  readonly #queues: ShardQueues;
  readonly #ttlSeconds: number;

  constructor(runner: RedisRunner, payloads: MemberPayloads, queues: ShardQueues, redisTtlSeconds: number) {
    this.#runner = runner;
    this.#payloads = payloads;
    this.#queues = queues;
    this.#ttlSeconds = Math.max(PARKED_TTL_SECONDS, redisTtlSeconds);
  }

  async park(parkings: readonly Parking[], mostTries: number): Promise<boolean[]> {
    if (parkings.length === 0) return [];
    const waits = await this.#keep(parkings);
    const waiting = parkings.filter((_, i) => waits[i]);
    await this.#queues.note(
      waiting.map(({ generation }) => generation.shard),
      this.#ttlSeconds,
    );
    const parked = await this.#queues.park(
      waiting.map(({ lease, reason, generation }) => {
        const { segmentId, generation: number, spanCount, payloadBytes } = generation;
        const cut = reason.slice(0, MAX_REASON_CHARACTERS);
        return { lease, facts: { reason: cut, segmentId, generation: number, spanCount, payloadBytes } };
      }),
      { ttlSeconds: this.#ttlSeconds, mostTries },
    );
    // Completed by another flusher meanwhile.
    const gone = parkings.filter((_, i) => !waits[i]);
    await this.#queues.settle(gone.map(({ lease }) => ({ lease, due: undefined })));
    return parkings.map(({ lease }) => parked.has(lease));
  }

  /** Says which of the generations still wait. */
  async #keep(generations: readonly KnownGeneration[]): Promise<boolean[]> {
    const contents = await readContents(this.#runner, generations);
    const replies = await this.#runner.run(generations.map(({ sealed }) => keepCommand(sealed, this.#ttlSeconds)));
    const waits = replies.map((reply) => reply === 1);
    const members = contents.filter((_, i) => waits[i]).flatMap((content) => content.members);
    for (const page of pagesOf(this.#payloads.keeps(members, this.#ttlSeconds), PAYLOADS_AT_ONCE))
      await this.#runner.run(page);
    return waits;
  }

  /**
   * Lengthens the life of everything that is parked, and lets go of what nothing is left of. Yields how many generations there
   * were, a page at a time.
   */
  async *keepAll(): AsyncGenerator<number> {
    const shards = [...(await this.#queues.readShards()).keys()];
    await this.#queues.keepParked(shards, this.#ttlSeconds);
    let page: Found[] = [];
    const keepPage = async (): Promise<number> => {
      const known = await this.#find(page);
      await this.#keep(known.filter((generation) => generation !== undefined));
      // Lost, or read again in another epoch: whoever claims it finds that it stands for nothing, and takes it out.
      const gone = page.filter((_, i) => known[i] === undefined);
      await this.#queues.unpark(groupBy(gone, ({ shard }) => shard));
      return page.length - gone.length;
    };
    for await (const found of this.#scan(shards, GENERATIONS_AT_ONCE)) {
      page.push(found);
      if (page.length < GENERATIONS_AT_ONCE) continue;
      yield await keepPage();
      page = [];
    }
    if (page.length > 0) yield await keepPage();
  }

  /** What is parked, each once. */
  async *#scan(shards: readonly number[], count: number): AsyncGenerator<Found> {
    const seen = new Set<string>();
    for await (const [shard, entry, facts] of this.#queues.scanParked(shards, count)) {
      const name = `${shard} ${entry}`;
      if (!seen.has(name)) yield { shard, entry, facts };
      seen.add(name);
    }
  }

  async list({ shards: asked, projectId, traceId, limit }: ParkedQuery): Promise<ParkedGeneration[]> {
    const shards = asked ?? [...(await this.#queues.readShards()).keys()];
    const found: ParkedGeneration[] = [];
    for await (const { shard, entry, facts } of this.#scan(shards, Math.max(limit, SCANNED_AT_ONCE))) {
      const { trace } = parseEntry(entry);
      const isAsked =
        trace.projectId === (projectId ?? trace.projectId) && trace.traceId === (traceId ?? trace.traceId);
      const ref: ParkedRef = { entry };
      if (isAsked) found.push({ ...trace, shard, ...facts, ref });
      if (found.length === limit) break;
    }
    return found;
  }

  async read(parked: readonly ParkedGeneration[]): Promise<(ParkedContents | undefined)[]> {
    const known = await this.#find(parked.map(refOf));
    const contents = await readContents(
      this.#runner,
      known.filter((generation) => generation !== undefined),
    );
    const results = known.map((generation) => generation && ({ spans: [], unreadable: [] } as Gathered));
    const found = results.filter((result) => result !== undefined);
    const members = contents.flatMap((content, at) => content.members.map((member) => ({ member, at })));
    for (const page of pagesOf(members, PAYLOADS_AT_ONCE)) {
      const payloads = await this.#payloads.get(page.map(({ member }) => member));
      for (const [i, { at }] of page.entries()) {
        const { spans, unreadable } = found[at] as Gathered;
        const payload = payloads[i] ?? [];
        if (payload instanceof UnreadablePayloadError) unreadable.push(payload);
        else for (const span of payload) spans.push(span);
      }
    }
    return results;
  }

  async retry(parked: readonly ParkedGeneration[]): Promise<void> {
    for (const page of pagesOf(parked, GENERATIONS_AT_ONCE)) {
      const known = await this.#find(page.map(refOf));
      await this.#keep(known.filter((generation) => generation !== undefined));
      // What is lost goes back as well: whoever claims it finds that it stands for nothing, and takes it out.
      await this.#queues.unpark(byShard(page));
    }
  }

  /** Leases parked generations to the caller. Those that are not parked any more are left out. */
  async lease(parked: readonly ParkedGeneration[]): Promise<Map<Lease, ParkedGeneration>> {
    const leases = await this.#queues.leaseParked(byShard(parked));
    const byName = new Map(parked.map((each) => [`${each.shard} ${refOf(each).entry}`, each]));
    return new Map(
      leases.map((lease) => [lease, byName.get(`${lease.queue.shard} ${lease.entry}`) as ParkedGeneration]),
    );
  }

  /** What the traces know of parked entries; `undefined` where that is nothing. */
  async #find(refs: readonly ParkedRef[]): Promise<(KnownGeneration | undefined)[]> {
    const targets = refs.map(({ entry }) => parseEntry(entry));
    const replies = await sealEntries(this.#runner, targets, { now: NEVER_SECONDS, epoch: ANY_EPOCH });
    return targets.map((target, i) => {
      const reply = replies[i] as SealReply;
      if (reply.kind !== 'sealed') return undefined;
      const { incarnation, entries, firstPage } = reply.record;
      const page = firstPage.map((entry) => parseListEntry(target.trace, entry));
      return { sealed: { ...target, incarnation, entries }, firstPage: page };
    });
  }
}

interface Found extends ParkedRef {
  readonly shard: number;
  readonly facts: ParkedFacts & { readonly parkedSeconds: number };
}

/** {@link ParkedContents}, while it is being read. */
type Gathered = { [K in keyof ParkedContents]: ParkedContents[K][number][] };

/** In pages whose spans may all be in memory at once, unless a single generation has more. */
export function* parkedInHand(parked: readonly ParkedGeneration[]): Generator<ParkedGeneration[]> {
  let page: ParkedGeneration[] = [];
  let bytes = 0;
  for (const each of parked) {
    const isFull = page.length === GENERATIONS_AT_ONCE || bytes + each.payloadBytes > BYTES_AT_ONCE;
    if (isFull && page.length > 0) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(each);
    bytes += each.payloadBytes;
  }
  if (page.length > 0) yield page;
}

function refOf({ ref }: ParkedGeneration): ParkedRef {
  return ref as ParkedRef;
}

function byShard(parked: readonly ParkedGeneration[]): Map<number, ParkedRef[]> {
  const groups = groupBy(parked, ({ shard }) => shard);
  return new Map([...groups].map(([shard, group]) => [shard, group.map(refOf)]));
}
