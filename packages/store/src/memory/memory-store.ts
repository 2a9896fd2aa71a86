import { formatTraceKey, type TraceRef } from '@spanbuf/keys';
import { z } from 'zod';
import { InvalidStoreOptionsError } from '../errors.ts';
import {
  type AddResult,
  type ClaimQuery,
  MAX_REASON_CHARACTERS,
  type ParkedContents,
  type ParkedGeneration,
  type ParkedQuery,
  type SealedGeneration,
  type SegmentPolicy,
  type SegmentStore,
  type StoredSpan,
  type Subsegment,
  type TraceAddition,
} from '../segment-store.ts';
import {
  findOrCreate,
  type Generation,
  inTurn,
  isTaken,
  type Lease,
  positionOf,
  type Queue,
  resolve,
  type Segment,
  seal,
  setDue,
  type Trace,
} from './generations.ts';

const optionsSchema = z.strictObject({
  dedupeWindowSeconds: z.number().min(0).default(120),
  leaseSeconds: z.number().positive().default(60),
  clock: z.custom<() => number>((value) => typeof value === 'function').default(() => () => Date.now() / 1000),
});

/** Options of {@link createMemoryStore}; every one has a default. */
export interface MemoryStoreOptions {
  /** How long a trace without spans stays known, so that late spans and replays are recognised; default 120. */
  dedupeWindowSeconds?: number | undefined;
  /** How long a flusher has a segment before another may take it, above 0; default 60. */
  leaseSeconds?: number | undefined;
  /** Wall time, Unix seconds, for leases and windows; default the clock of the machine. */
  clock?: (() => number) | undefined;
}

/**
 * Segments in this process: for embedded runs, and the model that the Redis adapters are tested against. Everything is
 * gone with the process.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createMemoryStore(options: MemoryStoreOptions = {}): SegmentStore {
  const parsed = optionsSchema.safeParse(options);
  if (!parsed.success)
    throw new InvalidStoreOptionsError(`options of createMemoryStore: ${z.prettifyError(parsed.error)}`);
  return new MemoryStore(parsed.data);
}

interface MemoryClaim {
  readonly generation: Generation;
  readonly lease: Lease;
}

class MemoryStore implements SegmentStore {
  readonly #options: z.output<typeof optionsSchema>;
  readonly #traces = new Map<string, Trace>();
  /** By shard. */
  readonly #queues = new Map<number, Queue>();
  /** Traces without spans, in the order in which they are to be forgotten. */
  readonly #forgetting = new Map<string, Trace>();
  #turn = 0;

  constructor(options: z.output<typeof optionsSchema>) {
    this.#options = options;
  }

  async add(
    additions: readonly TraceAddition[],
    policy: SegmentPolicy,
    at: { readonly now: number },
  ): Promise<AddResult> {
    this.#forgetTraces();
    const result = { added: 0, replayed: 0 };
    for (const { projectId, traceId, subsegments } of additions) {
      const trace = this.#traceOf({ projectId, traceId });
      const taken = new Map(trace.taken);
      const touched = new Set<Segment>();
      for (const subsegment of subsegments) {
        const spans = subsegment.spans.filter((span) => !isTaken(taken, span));
        result.added += spans.length;
        result.replayed += subsegment.spans.length - spans.length;
        if (spans.length > 0) touched.add(this.#apply(trace, { ...subsegment, spans }, policy, at.now));
      }
      for (const segment of touched) setDue(resolve(segment), policy);
    }
    return result;
  }

  #traceOf(ref: TraceRef): Trace {
    const key = formatTraceKey(ref);
    let trace = this.#traces.get(key);
    if (trace === undefined) {
      trace = { ref, segments: new Map(), taken: new Map(), waiting: 0, forgetAt: Number.POSITIVE_INFINITY };
      this.#traces.set(key, trace);
    }
    return trace;
  }

  #apply(trace: Trace, { topId, hasRoot, spans }: Subsegment, policy: SegmentPolicy, now: number): Segment {
    const segment = findOrCreate(trace, topId);
    const includesRoot = hasRoot && spans.some(({ spanId }) => spanId === topId);
    if (includesRoot && segment.name === topId) segment.rootSeen = true;
    for (const { spanId } of spans) {
      const known = trace.segments.get(spanId);
      const other = known && resolve(known);
      if (other === undefined) {
        trace.segments.set(spanId, segment);
        segment.rank = Math.max(segment.rank, 1);
      } else if (other !== segment && other.name === spanId && !other.rootSeen) this.#unite(segment, other, policy);
    }
    const bytes = spans.reduce((sum, { payload }) => sum + payload.length, 0);
    if (segment.live && segment.live.bytes + bytes > policy.maxSegmentBytes) seal(segment, 'max-bytes');
    segment.live ??= this.#begin(trace, segment, spans[0]?.partition as number, policy, now);
    const { live } = segment;
    live.spans.push(...spans);
    live.bytes += bytes;
    live.first = Math.min(live.first, now);
    live.last = Math.max(live.last, now);
    if (live.bytes >= policy.maxSegmentBytes) seal(segment, 'max-bytes');
    for (const span of spans) {
      if (span.offset !== undefined && !isTaken(trace.taken, span)) trace.taken.set(positionOf(span), span.offset);
    }
    return segment;
  }

  #begin(trace: Trace, segment: Segment, shard: number, policy: SegmentPolicy, now: number): Generation {
    trace.waiting += 1;
    trace.forgetAt = Number.POSITIVE_INFINITY;
    this.#forgetting.delete(formatTraceKey(trace.ref));
    const generation: Generation = {
      trace,
      segment,
      shard,
      spans: [],
      bytes: 0,
      first: now,
      last: now,
      due: now,
      byAge: false,
      heldUntil: this.#options.clock() + 3 * policy.maxAgeSeconds,
      sealed: undefined,
      lease: undefined,
      tries: 0,
      triedWith: undefined,
      parked: undefined,
      isCompleted: false,
    };
    this.#queue(shard).generations.add(generation);
    return generation;
  }

  /** The segment of `child` turns out to be part of that of `top`. */
  #unite(top: Segment, child: Segment, policy: SegmentPolicy): void {
    const winner = child.rank > top.rank ? child : top;
    if (child.rank === top.rank) winner.rank += 1;
    top.rank = winner.rank;
    top.nextGeneration = child.nextGeneration = Math.max(top.nextGeneration, child.nextGeneration);
    child.name = top.name;
    child.rootSeen = top.rootSeen;
    if (top.live && child.live && top.live.bytes + child.live.bytes > policy.maxSegmentBytes) {
      seal(child.live.bytes > top.live.bytes ? child : top, 'max-bytes');
      top.nextGeneration = Math.max(top.nextGeneration, child.nextGeneration);
    }
    const shard = winner.live?.shard ?? top.live?.shard ?? child.live?.shard;
    if (top.live && child.live) {
      top.live.spans = top.live.spans.concat(child.live.spans);
      top.live.bytes += child.live.bytes;
      top.live.first = Math.min(top.live.first, child.live.first);
      top.live.last = Math.max(top.live.last, child.live.last);
      top.live.heldUntil = Math.min(top.live.heldUntil, child.live.heldUntil);
      top.live.trace.waiting -= 1;
      this.#queue(child.live.shard).generations.delete(child.live);
    } else if (child.live) {
      top.live = child.live;
      top.live.segment = top;
    }
    if (top.live && shard !== undefined && top.live.shard !== shard) {
      this.#queue(top.live.shard).generations.delete(top.live);
      this.#queue(shard).generations.add(top.live);
      top.live.shard = shard;
    }
    child.live = undefined;
    child.mergedInto = top;
  }

  #queue(shard: number): Queue {
    let queue = this.#queues.get(shard);
    if (queue === undefined) {
      queue = { generations: new Set(), taken: 0 };
      this.#queues.set(shard, queue);
    }
    return queue;
  }

  async claim(query: ClaimQuery): Promise<SealedGeneration[]> {
    const wall = this.#options.clock();
    const all = query.shards ?? [...this.#queues.keys()];
    // Another shard is the first each time, so that none is left over for ever.
    const turn = this.#turn++ % Math.max(1, all.length);
    const shards = [...all.slice(turn), ...all.slice(0, turn)];
    const ready = shards.map((shard) => {
      const queue = this.#queue(shard);
      return inTurn(queue.generations, queue.taken, query, wall);
    });
    const claimed: SealedGeneration[] = [];
    let bytes = 0;
    const longest = Math.max(0, ...ready.map((queue) => queue.length));
    for (let i = 0; i < longest; i++) {
      for (const queue of ready) {
        const generation = queue[i];
        if (generation === undefined || claimed.length >= query.limit) continue;
        bytes += generation.bytes;
        if (query.maxBytes !== undefined && claimed.length > 0 && bytes > query.maxBytes) return claimed;
        claimed.push(this.#hand(generation, query, wall));
      }
    }
    return claimed;
  }

  #hand(generation: Generation, query: ClaimQuery, wall: number): SealedGeneration {
    const lease = { until: wall + this.#options.leaseSeconds };
    generation.lease = lease;
    this.#queue(generation.shard).taken += 1;
    if (generation.sealed === undefined) {
      const { segment } = generation;
      const ownReason = generation.byAge ? 'max-age' : segment.rootSeen ? 'root-idle' : 'idle';
      const forced = generation.heldUntil <= wall ? 'max-age' : 'drain';
      seal(segment, generation.due <= query.now ? ownReason : forced);
    }
    const sealed = generation.sealed as NonNullable<Generation['sealed']>;
    const claim: MemoryClaim = { generation, lease };
    return {
      ...generation.trace.ref,
      ...sealed,
      shard: generation.shard,
      spanCount: generation.spans.length,
      payloadBytes: generation.bytes,
      firstSeconds: generation.first,
      lastSeconds: generation.last,
      isOfEpoch: false,
      claim,
    };
  }

  async read(generations: readonly SealedGeneration[]): Promise<(StoredSpan[] | undefined)[]> {
    return generations.map(({ claim }) => {
      const { generation } = claim as MemoryClaim;
      return generation.isCompleted ? undefined : [...generation.spans];
    });
  }

  async complete(generations: readonly SealedGeneration[]): Promise<void> {
    for (const { claim } of generations) this.#complete((claim as MemoryClaim).generation);
    this.#forgetTraces();
  }

  #complete(generation: Generation): void {
    if (generation.isCompleted) return;
    generation.isCompleted = true;
    this.#queue(generation.shard).generations.delete(generation);
    const { trace } = generation;
    trace.waiting -= 1;
    if (trace.waiting > 0) return;
    trace.forgetAt = this.#options.clock() + this.#options.dedupeWindowSeconds;
    this.#forgetting.set(formatTraceKey(trace.ref), trace);
  }

  #forgetTraces(): void {
    const wall = this.#options.clock();
    for (const [key, trace] of this.#forgetting) {
      if (trace.forgetAt > wall) return;
      this.#forgetting.delete(key);
      this.#traces.delete(key);
    }
  }

  async release(generations: readonly SealedGeneration[]): Promise<void> {
    for (const { claim } of generations) {
      const { generation, lease } = claim as MemoryClaim;
      if (generation.lease === lease) generation.lease = undefined;
    }
  }

  async park(
    parked: readonly { readonly generation: SealedGeneration; readonly reason: string }[],
    { tries = 1 }: { readonly tries?: number } = {},
  ): Promise<boolean[]> {
    const seconds = this.#options.clock();
    return parked.map(({ generation: sealed, reason }) => {
      const { generation, lease } = sealed.claim as MemoryClaim;
      if (!generation.isCompleted && generation.lease === lease) {
        if (generation.triedWith !== lease) generation.tries += 1;
        generation.triedWith = lease;
        if (generation.tries < tries) return false;
        generation.tries = 0;
        generation.lease = undefined;
        generation.parked = { reason: reason.slice(0, MAX_REASON_CHARACTERS), seconds };
      }
      return generation.parked !== undefined && !generation.isCompleted;
    });
  }

  /** Nothing expires here. */
  async *keepParked(): AsyncGenerator<number> {
    yield this.#parkedIn([...this.#queues.keys()]).length;
  }

  #parkedIn(shards: readonly number[]): Generation[] {
    return shards.flatMap((shard) => [...this.#queue(shard).generations].filter(({ parked }) => parked));
  }

  async listParked({ shards, projectId, traceId, limit }: ParkedQuery): Promise<ParkedGeneration[]> {
    const found = this.#parkedIn(shards ?? [...this.#queues.keys()]).filter(({ trace: { ref } }) => {
      return ref.projectId === (projectId ?? ref.projectId) && ref.traceId === (traceId ?? ref.traceId);
    });
    return found.slice(0, limit).map((generation) => {
      const { reason, seconds } = generation.parked as NonNullable<Generation['parked']>;
      const { segmentId, generation: number } = generation.sealed as NonNullable<Generation['sealed']>;
      return {
        ...generation.trace.ref,
        segmentId,
        generation: number,
        shard: generation.shard,
        spanCount: generation.spans.length,
        payloadBytes: generation.bytes,
        reason,
        parkedSeconds: seconds,
        ref: generation,
      };
    });
  }

  async readParked(parked: readonly ParkedGeneration[]): Promise<(ParkedContents | undefined)[]> {
    return parked.map(({ ref }) => {
      const { isCompleted, spans } = ref as Generation;
      return isCompleted ? undefined : { spans: [...spans], unreadable: [] };
    });
  }

  async retryParked(parked: readonly ParkedGeneration[]): Promise<void> {
    for (const { ref } of parked) (ref as Generation).parked = undefined;
  }

  async deleteParked(parked: readonly ParkedGeneration[]): Promise<ParkedGeneration[]> {
    const deleted = parked.filter(({ ref }) => {
      const generation = ref as Generation;
      return generation.parked !== undefined && !generation.isCompleted;
    });
    for (const { ref } of deleted) this.#complete(ref as Generation);
    this.#forgetTraces();
    return deleted;
  }
}
