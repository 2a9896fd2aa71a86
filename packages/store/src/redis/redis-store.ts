import { formatTraceKey, type PayloadRef, type QueueRef, type TraceRef } from '@spanbuf/keys';
import { UnreadablePayloadError } from '../errors.ts';
import { type Layout, type Mark, storagesOf } from '../layout.ts';
import { type Compression, decodeBlob, encodeBlob } from '../payload-blob.ts';
import type {
  AddResult,
  ClaimQuery,
  SealedGeneration,
  SegmentPolicy,
  SegmentStore,
  StoredSpan,
  Subsegment,
  TraceAddition,
} from '../segment-store.ts';
import type { PayloadStorage } from './payload-storage.ts';
import {
  claimCommand,
  forgetLaterCommand,
  forgetShardsCommand,
  formatEntry,
  type Lease,
  parseClaimReply,
  parseEntry,
  parseShardsReply,
  QUEUE_PAGE,
  readShardsCommand,
  registerShardsCommand,
  scheduleCommand,
  settleCommand,
} from './queue-scripts.ts';
import type { RedisCommand, RedisReply, RedisRunner } from './redis-runner.ts';
import {
  type Completed,
  completeCommand,
  confirmCommand,
  type EntryRef,
  forgetCommand,
  type LinkEffect,
  type LinkSubsegment,
  linkCommand,
  PAGE_ENTRIES,
  parseLinkReply,
  parseSealReply,
  positionField,
  readEntriesCommand,
  type SealedRef,
  sealCommand,
  stillSealedCommand,
  sweepCommand,
} from './trace-scripts.ts';

export interface RedisStoreSettings {
  readonly layout: Layout;
  readonly sliceId: number | undefined;
  readonly redisTtlSeconds: number;
  readonly dedupeWindowSeconds: number;
  readonly leaseSeconds: number;
  readonly compression: Compression;
  /** Answers an id that no other call of any store has had. */
  readonly nextWriteId: () => string;
}

/** One payload of a segment: its key in every layout, and in which of them it was written. */
interface Member {
  readonly mark: Mark;
  readonly ref: Required<PayloadRef>;
}

/** A subsegment with the member it becomes. */
interface Part {
  readonly subsegment: Subsegment;
  readonly member: Member;
}

/** One addition on its way into its trace. */
interface LinkStep {
  readonly trace: TraceRef;
  readonly token: string;
  readonly parts: readonly Part[];
}

/** What linking a batch changed in the queues. */
interface Effects {
  /** By shard and entry: when each is due. */
  readonly due: Map<number, Map<string, string | number>>;
  /** By shard: entries of segments that went into others. */
  readonly absorbed: Map<number, Set<string>>;
  /** By trace key: what was sealed in passing. */
  readonly sealed: Map<string, { trace: TraceRef; entries: (EntryRef & { shard: number })[] }>;
  /** Payloads written that nothing refers to. */
  readonly unused: Member[];
  replayed: number;
}

/** What the store keeps about a generation it has handed out. */
interface RedisClaim {
  readonly lease: Lease;
  readonly sealed: SealedRef;
  readonly firstPage: readonly string[];
  /** Message time with which it goes back into the queue. */
  readonly dueAgain: number;
}

/** Payload keys read by one pipeline at most: 32 MB of blobs of the usual size. */
const READ_BLOBS = 1_024;
/** Leases that are sealed together where bytes are counted. */
const SEAL_CHUNK = 32;

/** Segments in Redis or Redis Cluster. What differs between the layouts is in their {@link PayloadStorage} alone. */
export class RedisStore implements SegmentStore {
  readonly #runner: RedisRunner;
  readonly #settings: RedisStoreSettings;
  #turn = 0;

  constructor(runner: RedisRunner, settings: RedisStoreSettings) {
    this.#runner = runner;
    this.#settings = settings;
  }

  async add(
    additions: readonly TraceAddition[],
    policy: SegmentPolicy,
    at: { readonly now: number },
  ): Promise<AddResult> {
    const ttlSeconds = this.#payloadTtlSeconds(policy);
    const effects: Effects = { due: new Map(), absorbed: new Map(), sealed: new Map(), unused: [], replayed: 0 };
    const steps = additions.map((addition) => this.#stepOf(addition));
    await this.#putPayloads(
      steps.flatMap((step) => step.parts),
      ttlSeconds,
    );
    for (const round of roundsOf(steps)) await this.#link(round, policy, at.now, ttlSeconds, effects);
    await this.#enqueue(effects, policy, ttlSeconds);
    const spans = additions.reduce((sum, { subsegments }) => sum + countSpans(subsegments), 0);
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

  #stepOf({ projectId, traceId, subsegments }: TraceAddition): LinkStep {
    const trace = { projectId, traceId };
    const parts = subsegments.map((subsegment) => this.#partOf(trace, subsegment));
    return { trace, token: this.#settings.nextWriteId(), parts };
  }

  #partOf(trace: TraceRef, subsegment: Subsegment): Part {
    const { spanId } = subsegment.spans[0] as StoredSpan;
    const ref = { ...trace, spanId, writeId: this.#settings.nextWriteId() };
    return { subsegment, member: { mark: this.#settings.layout.mark, ref } };
  }

  /** Of what a flusher writes to a queue. Only ever lengthens what a writer has set. */
  get #queueTtlSeconds(): number {
    const { redisTtlSeconds, leaseSeconds, dedupeWindowSeconds } = this.#settings;
    return Math.max(redisTtlSeconds, Math.ceil(2 * leaseSeconds), 2 * dedupeWindowSeconds);
  }

  async #putPayloads(parts: readonly Part[], ttlSeconds: number): Promise<void> {
    const { layout, compression } = this.#settings;
    const puts = parts.flatMap(({ subsegment, member }) => {
      const blob = encodeBlob(subsegment.spans, compression);
      return layout.writesTo.map((storage) => storage.put(member.ref, blob, ttlSeconds));
    });
    await this.#runner.run(puts);
  }

  /** Applies steps of different traces. Those that are partly replays are cut down to what is new, and tried again. */
  async #link(
    round: readonly LinkStep[],
    policy: SegmentPolicy,
    now: number,
    ttlSeconds: number,
    effects: Effects,
  ): Promise<void> {
    for (let open = round; open.length > 0; ) {
      const calls = open.map(({ trace, token, parts }) =>
        linkCommand({ trace, now, ttlSeconds, policy, token, subsegments: parts.map(linkSubsegment) }),
      );
      const replies = await this.#runner.run(calls);
      const narrowed: LinkStep[] = [];
      for (const [i, step] of open.entries()) {
        const reply = parseLinkReply(replies[i] as RedisReply);
        if (reply.partial) narrowed.push(this.#narrow(step, reply.partial, effects));
        else for (const effect of reply.effects) note(effects, step, effect, now);
      }
      await this.#putPayloads(
        narrowed.flatMap((step, i) => newParts(step, open[i] as LinkStep)),
        ttlSeconds,
      );
      open = narrowed;
    }
  }

  #narrow(step: LinkStep, taken: ReadonlyMap<string, bigint>, effects: Effects): LinkStep {
    const parts = step.parts.map((part) => {
      const { spans } = part.subsegment;
      const [first] = spans as [StoredSpan];
      const limit = taken.get(positionField(first.source, first.partition));
      if (limit === undefined) return part;
      const fresh = spans.filter(({ offset }) => offset === undefined || offset > limit);
      if (fresh.length === 0 || fresh.length === spans.length) return part;
      effects.unused.push(part.member);
      effects.replayed += spans.length - fresh.length;
      const { topId } = part.subsegment;
      const hasRoot = part.subsegment.hasRoot && fresh.some(({ spanId }) => spanId === topId);
      return this.#partOf(step.trace, { topId, hasRoot, spans: fresh });
    });
    return { ...step, parts };
  }

  /**
   * Makes the queues say what the traces say. What became due is scheduled before anything is taken out, so that a
   * segment whose entry was the only one to lead to its spans keeps it until another does.
   */
  async #enqueue(effects: Effects, policy: SegmentPolicy, ttlSeconds: number): Promise<void> {
    const { sliceId } = this.#settings;
    const heldSeconds = Math.ceil(3 * policy.maxAgeSeconds);
    const schedule = (
      shard: number,
      entries: { entry: string; due: string | number }[],
      takeOut: string[],
    ): RedisCommand =>
      scheduleCommand({ queue: this.#queue(shard), ttlSeconds, heldSeconds, mode: 'set', entries, takeOut });

    const first: RedisCommand[] = [];
    for (const [shard, due] of effects.due) {
      const entries = [...due].map(([entry, at]) => ({ entry, due: at }));
      for (const page of pagesOf(entries, QUEUE_PAGE)) first.push(schedule(shard, page, []));
    }
    await this.#runner.run(first);
    const shards = [...effects.due.keys()];
    if (shards.length > 0) {
      await this.#runner.run([registerShardsCommand(sliceId, ttlSeconds, this.#settings.nextWriteId(), shards)]);
    }
    const last = this.#removals(effects.unused);
    for (const [shard, absorbed] of effects.absorbed) {
      for (const page of pagesOf([...absorbed], QUEUE_PAGE)) last.push(schedule(shard, [], page));
    }
    for (const { trace, entries } of effects.sealed.values()) last.push(confirmCommand(trace, entries));
    await this.#runner.run(last);
  }

  async claim(query: ClaimQuery): Promise<SealedGeneration[]> {
    const tokens = query.shards ? undefined : await this.#readShards();
    const shards = query.shards ?? [...(tokens as Map<number, string>).keys()];
    const claimed: SealedGeneration[] = [];
    let bytes = 0;
    const hasRoom = (): boolean =>
      claimed.length < query.limit && (query.maxBytes === undefined || claimed.length === 0 || bytes < query.maxBytes);

    while (shards.length > 0 && hasRoom()) {
      const leases = await this.#lease(shards, query, query.limit - claimed.length, tokens);
      if (leases.length === 0) break;
      for (const chunk of pagesOf(leases, query.maxBytes === undefined ? QUEUE_PAGE : SEAL_CHUNK)) {
        const generations = hasRoom() ? await this.#seal(chunk, query) : undefined;
        if (generations === undefined) await this.#giveBack(chunk, query.now);
        const left = (generations ?? []).filter((generation) => {
          if (!hasRoom()) return true;
          const fits =
            query.maxBytes === undefined || claimed.length === 0 || bytes + generation.payloadBytes <= query.maxBytes;
          if (!fits) {
            bytes = query.maxBytes as number;
            return true;
          }
          bytes += generation.payloadBytes;
          claimed.push(generation);
          return false;
        });
        await this.release(left);
      }
    }
    return claimed;
  }

  async #readShards(): Promise<Map<number, string>> {
    const [reply] = await this.#runner.run([readShardsCommand(this.#settings.sliceId)]);
    return parseShardsReply(reply as RedisReply);
  }

  async #lease(
    shards: readonly number[],
    query: ClaimQuery,
    room: number,
    tokens: ReadonlyMap<number, string> | undefined,
  ): Promise<Lease[]> {
    const { leaseSeconds, sliceId } = this.#settings;
    const ttlSeconds = this.#queueTtlSeconds;
    const page = Math.min(room, query.maxBytes === undefined ? QUEUE_PAGE : 2 * SEAL_CHUNK);
    const limit = Math.ceil(page / shards.length);
    const now = query.drain ? '+inf' : query.now;
    // Another shard is the first each time, so that none is left over for ever where there are more of them than room.
    const turn = this.#turn++ % shards.length;
    const queues = [...shards.slice(turn), ...shards.slice(0, turn)].map((shard) => this.#queue(shard));
    const replies = await this.#runner.run(
      queues.map((queue) => claimCommand({ queue, now, leaseSeconds, limit, ttlSeconds })),
    );
    const parsed = queues.map((queue, i) => parseClaimReply(queue, replies[i] as RedisReply));
    const empty = new Map<number, string>();
    for (const [i, { isEmpty }] of parsed.entries()) {
      const shard = queues[i]?.shard as number;
      const token = tokens?.get(shard);
      if (isEmpty && token !== undefined) empty.set(shard, token);
    }
    const forget = parsed.flatMap((claim) => claim.forget).map(forgetCommand);
    if (empty.size > 0) forget.push(forgetShardsCommand(sliceId, empty));
    await this.#runner.run(forget);
    const leases = parsed.flatMap((claim) => claim.leases);
    await this.#giveBack(leases.slice(room), query.now);
    return leases.slice(0, room);
  }

  async #giveBack(leases: readonly Lease[], due: number): Promise<void> {
    await this.#settle(leases.map((lease) => ({ lease, due })));
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
    const moved: { shard: number; entry: string; due: string }[] = [];
    const endings: { lease: Lease; due: string | undefined }[] = [];
    for (const [i, { lease, trace, handle, list }] of targets.entries()) {
      const reply = parseSealReply(replies[i] as RedisReply);
      if (reply.kind === 'gone') {
        endings.push({ lease, due: undefined });
      } else if (reply.kind === 'live') {
        const entry = formatEntry(trace, reply);
        const stays = entry === lease.entry && reply.shard === lease.queue.shard;
        if (!stays) moved.push({ shard: reply.shard, entry, due: reply.due });
        endings.push({ lease, due: stays ? reply.due : undefined });
      } else {
        const { incarnation, entries, firstPage, ...record } = reply.record;
        const sealed = { trace, handle, list, incarnation, entries };
        const claim: RedisClaim = { lease, sealed, firstPage, dueAgain: query.now };
        generations.push({ ...trace, ...record, shard: lease.queue.shard, claim });
      }
    }
    await this.#requeue(moved, query);
    await this.#settle(endings);
    return generations;
  }

  async #requeue(moved: readonly { shard: number; entry: string; due: string }[], query: ClaimQuery): Promise<void> {
    if (moved.length === 0) return;
    const { sliceId } = this.#settings;
    const ttlSeconds = this.#queueTtlSeconds;
    const heldSeconds = Math.ceil(3 * query.maxAgeSeconds);
    const shards = groupBy(moved, ({ shard }) => shard);
    const commands = [...shards].map(([shard, entries]) =>
      scheduleCommand({ queue: this.#queue(shard), ttlSeconds, heldSeconds, mode: 'keep', entries, takeOut: [] }),
    );
    await this.#runner.run(commands);
    const token = this.#settings.nextWriteId();
    await this.#runner.run([registerShardsCommand(sliceId, ttlSeconds, token, [...shards.keys()])]);
  }

  /** Ends leases: gives entries back with a due time, or takes them out. Answers which queues are empty now. */
  async #settle(endings: readonly { lease: Lease; due: string | number | undefined }[]): Promise<number[]> {
    const groups = groupBy(endings, ({ lease }) => `${lease.queue.shard} ${lease.lease}`);
    const commands: RedisCommand[] = [];
    const shards: number[] = [];
    for (const group of groups.values()) {
      for (const page of pagesOf(group, QUEUE_PAGE)) {
        const { lease } = page[0] as { lease: Lease };
        const pairs = page.map((ending) => ({ entry: ending.lease.entry, due: ending.due }));
        commands.push(settleCommand(lease, this.#queueTtlSeconds, pairs));
        shards.push(lease.queue.shard);
      }
    }
    const sizes = await this.#runner.run(commands);
    return [...new Set(shards.filter((_, i) => sizes[i] === 0))];
  }

  async read(generations: readonly SealedGeneration[]): Promise<(StoredSpan[] | undefined)[]> {
    const claims = generations.map(claimOf);
    const contents = await this.#contents(claims);
    const spans: StoredSpan[][] = claims.map(() => []);
    const members = contents.flatMap(({ members }, i) =>
      members.map((member) => ({ member, into: spans[i] as StoredSpan[] })),
    );
    for (const page of pagesOf(members, READ_BLOBS)) {
      const blobs = await this.#getPayloads(page.map(({ member }) => member));
      for (const [i, { into }] of page.entries()) {
        const blob = blobs[i];
        if (blob) for (const span of readable(blob)) into.push(span);
      }
    }
    const short = spans.flatMap((found, i) => (found.length === generations[i]?.spanCount ? [] : [i]));
    const records = await this.#runner.run(short.map((i) => stillSealedCommand((claims[i] as RedisClaim).sealed)));
    const results: (StoredSpan[] | undefined)[] = spans;
    for (const [k, i] of short.entries()) {
      const [record, incarnation] = records[k] as [Buffer | null, Buffer | null];
      const waits = record !== null && String(incarnation) === claims[i]?.sealed.incarnation;
      if (!waits) results[i] = undefined;
    }
    return results;
  }

  /** The payloads in the order of the members; null where there is none in any place it was written to. */
  async #getPayloads(members: readonly Member[]): Promise<(Buffer | null)[]> {
    const blobs = new Array<Buffer | null>(members.length).fill(null);
    let open = [...members.entries()].map(([at, { mark, ref }]) => ({
      at,
      ref,
      places: storagesOf(mark, this.#settings.layout),
    }));
    for (let place = 0; open.length > 0; place++) {
      const replies = await this.#runner.run(open.map(({ ref, places }) => (places[place] as PayloadStorage).get(ref)));
      open = open.filter(({ at, places }, i) => {
        blobs[at] = replies[i] as Buffer | null;
        return blobs[at] === null && place + 1 < places.length;
      });
    }
    return blobs;
  }

  /** Members and linked lists of generations, read page by page. */
  async #contents(claims: readonly RedisClaim[]): Promise<{ members: Member[]; lists: Required<LinkedList>[] }[]> {
    const contents = claims.map(({ sealed }) => ({ members: [] as Member[], lists: [sealed as LinkedList] }));
    const pages: { index: number; list: LinkedList; from: number }[] = [];
    const take = (index: number, entries: readonly string[]): void => {
      const { trace } = (claims[index] as RedisClaim).sealed;
      const content = contents[index] as (typeof contents)[0];
      for (const entry of entries) {
        if (!entry.startsWith('>')) {
          content.members.push(parseMember(trace, entry));
          continue;
        }
        const list = parseLink(entry);
        content.lists.push(list);
        pages.push(...pageStarts(list, 0).map((from) => ({ index, list, from })));
      }
    };
    for (const [index, { sealed, firstPage }] of claims.entries()) {
      take(index, firstPage);
      pages.push(...pageStarts(sealed, firstPage.length).map((from) => ({ index, list: sealed, from })));
    }
    while (pages.length > 0) {
      const now = pages.splice(0, SEAL_CHUNK);
      const replies = await this.#runner.run(
        now.map(({ index, list, from }) =>
          readEntriesCommand(
            (claims[index] as RedisClaim).sealed.trace,
            list,
            from,
            Math.min(list.entries, from + PAGE_ENTRIES),
          ),
        ),
      );
      for (const [i, { index }] of now.entries()) {
        const entries = replies[i] as (Buffer | null)[];
        take(index, entries.filter((entry) => entry !== null).map(String));
      }
    }
    return contents;
  }

  async complete(generations: readonly SealedGeneration[]): Promise<void> {
    if (generations.length === 0) return;
    const { dedupeWindowSeconds, sliceId } = this.#settings;
    const claims = generations.map(claimOf);
    const tokens = await this.#readShards();
    const contents = await this.#contents(claims);
    // The record goes first: once it is gone, nobody reads these payloads, whoever unlinks them.
    const replies = await this.#runner.run(claims.map(({ sealed }) => completeCommand(sealed, dedupeWindowSeconds)));
    const removals: RedisCommand[] = [];
    const large = new Map<number, string[]>();
    for (const [i, { members, lists }] of contents.entries()) {
      const { sealed, lease } = claims[i] as RedisClaim;
      const left = String(replies[i]) as Completed;
      removals.push(...this.#removals(members));
      if (left !== 'GONE') removals.push(...sweepsOf(sealed, lists));
      if (left === 'LARGE') entryOf(large, lease.queue.shard, () => []).push(formatTraceKey(sealed.trace));
    }
    for (const [shard, traceKeys] of large) {
      removals.push(forgetLaterCommand(this.#queue(shard), this.#queueTtlSeconds, dedupeWindowSeconds, traceKeys));
    }
    for (const page of pagesOf(removals, READ_BLOBS)) await this.#runner.run(page);
    const empty = await this.#settle(claims.map(({ lease }) => ({ lease, due: undefined })));
    const forget = new Map(empty.flatMap((shard) => (tokens.has(shard) ? [[shard, tokens.get(shard) as string]] : [])));
    if (forget.size > 0) await this.#runner.run([forgetShardsCommand(sliceId, forget)]);
  }

  async release(generations: readonly SealedGeneration[]): Promise<void> {
    await this.#settle(generations.map(claimOf).map(({ lease, dueAgain }) => ({ lease, due: dueAgain })));
  }

  #removals(members: readonly Member[]): RedisCommand[] {
    return members.flatMap(({ mark, ref }) =>
      storagesOf(mark, this.#settings.layout).map((storage) => storage.remove(ref)),
    );
  }

  #queue(shard: number): QueueRef {
    const { sliceId } = this.#settings;
    return sliceId === undefined ? { shard } : { shard, sliceId };
  }
}

/** A damaged payload counts as a missing one: it must not keep the rest of its segment, or its shard, from going out. */
function readable(blob: Buffer): StoredSpan[] {
  try {
    return decodeBlob(blob);
  } catch (error) {
    if (error instanceof UnreadablePayloadError) return [];
    throw error;
  }
}

interface LinkedList extends EntryRef {
  readonly entries: number;
}

/** Steps of the same trace in their order, one to a round; a round has no trace twice. */
function roundsOf(steps: readonly LinkStep[]): LinkStep[][] {
  const rounds: LinkStep[][] = [];
  for (const group of groupBy(steps, ({ trace }) => formatTraceKey(trace)).values()) {
    for (const [i, step] of group.entries()) {
      const round = rounds[i];
      if (round === undefined) rounds.push([step]);
      else round.push(step);
    }
  }
  return rounds;
}

function linkSubsegment({ subsegment, member }: Part): LinkSubsegment {
  const { topId, hasRoot, spans } = subsegment;
  const first = spans[0] as StoredSpan;
  const minOffset = first.offset;
  const maxOffset = (spans.at(-1) as StoredSpan).offset;
  const position = positionField(first.source, first.partition);
  return {
    topId,
    hasRoot,
    shard: first.partition,
    entry: formatMember(member),
    payloadBytes: spans.reduce((sum, { payload }) => sum + payload.length, 0),
    taken: minOffset === undefined || maxOffset === undefined ? undefined : { position, minOffset, maxOffset },
    spanIds: spans.map(({ spanId }) => spanId),
  };
}

function note(effects: Effects, { trace, parts }: LinkStep, effect: LinkEffect, now: number): void {
  if (effect.kind === 'replayed') {
    const { subsegment, member } = parts[effect.index] as Part;
    effects.unused.push(member);
    effects.replayed += subsegment.spans.length;
    return;
  }
  const { shard } = effect;
  const entry = formatEntry(trace, effect);
  if (effect.kind === 'absorbed') {
    effects.due.get(shard)?.delete(entry);
    entryOf(effects.absorbed, shard, () => new Set()).add(entry);
    return;
  }
  effects.absorbed.get(shard)?.delete(entry);
  entryOf(effects.due, shard, () => new Map()).set(entry, effect.kind === 'live' ? effect.due : now);
  if (effect.kind === 'sealed') {
    const { handle, list } = effect;
    entryOf(effects.sealed, formatTraceKey(trace), () => ({ trace, entries: [] })).entries.push({
      handle,
      list,
      shard,
    });
  }
}

function newParts(narrowed: LinkStep, before: LinkStep): Part[] {
  const old = new Set(before.parts);
  return narrowed.parts.filter((part) => !old.has(part));
}

function formatMember({ mark, ref }: Member): string {
  return `${mark}${ref.spanId}.${ref.writeId}`;
}

const SPAN_ID_END = 17;

function parseMember(trace: TraceRef, entry: string): Member {
  const ref = { ...trace, spanId: entry.slice(1, SPAN_ID_END), writeId: entry.slice(SPAN_ID_END + 1) };
  return { mark: entry[0] as Mark, ref };
}

function parseLink(entry: string): LinkedList {
  const [handle, list, entries] = entry.slice(1).split('.') as [string, string, string];
  return { handle, list: Number(list), entries: Number(entries) };
}

function pageStarts({ entries }: LinkedList, from: number): number[] {
  const starts: number[] = [];
  for (let start = from; start < entries; start += PAGE_ENTRIES) starts.push(start);
  return starts;
}

/** Deletes what {@link completeCommand} left: entries beyond its own first page, and those of linked lists. */
function sweepsOf(sealed: SealedRef, lists: readonly LinkedList[]): RedisCommand[] {
  return lists.flatMap((list, i) =>
    pageStarts(list, i === 0 ? PAGE_ENTRIES : 0).map((from) =>
      sweepCommand(sealed, list, from, Math.min(list.entries, from + PAGE_ENTRIES)),
    ),
  );
}

function claimOf(generation: SealedGeneration): RedisClaim {
  return generation.claim as RedisClaim;
}

function countSpans(subsegments: readonly Subsegment[]): number {
  return subsegments.reduce((sum, { spans }) => sum + spans.length, 0);
}

function pagesOf<T>(items: readonly T[], size: number): T[][] {
  const pages: T[][] = [];
  for (let at = 0; at < items.length; at += size) pages.push(items.slice(at, at + size));
  return pages;
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) entryOf(groups, keyOf(item), () => []).push(item);
  return groups;
}

function entryOf<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
