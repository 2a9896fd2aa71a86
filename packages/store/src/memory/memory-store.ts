import { formatTraceKey, type TraceRef } from '@spanbuf/keys';
import { z } from 'zod';
import { InvalidStoreOptionsError } from '../errors.ts';
import type {
  AddResult,
  ClaimQuery,
  SealedGeneration,
  SealReason,
  SegmentPolicy,
  SegmentStore,
  StoredSpan,
  Subsegment,
  TraceAddition,
} from '../segment-store.ts';

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

/** Spans of a segment that leave together: live until it is sealed, then immutable. */
interface Generation {
  readonly trace: Trace;
  segment: Segment;
  shard: number;
  spans: StoredSpan[];
  bytes: number;
  first: number;
  last: number;
  due: number;
  byAge: boolean;
  /** Wall time at which it is taken whatever message time says. */
  heldUntil: number;
  sealed: Pick<SealedGeneration, 'segmentId' | 'generation' | 'reason' | 'rootSeen'> | undefined;
  /** End of the lease by wall time; `undefined` while nobody has it. A new object for each lease. */
  lease: { readonly until: number } | undefined;
  isCompleted: boolean;
}

/** A segment as long as its trace is known. */
interface Segment {
  name: string;
  rootSeen: boolean;
  nextGeneration: number;
  /** As in the scripts: which of two segments' shards a union is queued in depends on it. */
  rank: number;
  live: Generation | undefined;
  mergedInto: Segment | undefined;
}

interface Trace {
  readonly ref: TraceRef;
  readonly segments: Map<string, Segment>;
  readonly taken: Map<string, bigint>;
  /** Generations with spans, live or sealed. */
  waiting: number;
  forgetAt: number;
}

interface MemoryClaim {
  readonly generation: Generation;
  readonly lease: { readonly until: number };
}

class MemoryStore implements SegmentStore {
  readonly #options: z.output<typeof optionsSchema>;
  readonly #traces = new Map<string, Trace>();
  /** By shard, in the order in which they began. */
  readonly #queues = new Map<number, Set<Generation>>();
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
      isCompleted: false,
    };
    this.#queue(shard).add(generation);
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
      this.#queue(child.live.shard).delete(child.live);
    } else if (child.live) {
      top.live = child.live;
      top.live.segment = top;
    }
    if (top.live && shard !== undefined && top.live.shard !== shard) {
      this.#queue(top.live.shard).delete(top.live);
      this.#queue(shard).add(top.live);
      top.live.shard = shard;
    }
    child.live = undefined;
    child.mergedInto = top;
  }

  #queue(shard: number): Set<Generation> {
    let queue = this.#queues.get(shard);
    if (queue === undefined) {
      queue = new Set();
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
    const ready = shards.map((shard) =>
      [...(this.#queues.get(shard) ?? [])].filter((one) => isReady(one, query, wall)).sort(byDue),
    );
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
    for (const { claim } of generations) {
      const { generation } = claim as MemoryClaim;
      if (generation.isCompleted) continue;
      generation.isCompleted = true;
      this.#queues.get(generation.shard)?.delete(generation);
      const { trace } = generation;
      trace.waiting -= 1;
      if (trace.waiting > 0) continue;
      trace.forgetAt = this.#options.clock() + this.#options.dedupeWindowSeconds;
      this.#forgetting.set(formatTraceKey(trace.ref), trace);
    }
    this.#forgetTraces();
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
}

function findOrCreate(trace: Trace, id: string): Segment {
  const known = trace.segments.get(id);
  if (known) return resolve(known);
  const segment: Segment = {
    name: id,
    rootSeen: false,
    nextGeneration: 1,
    rank: 0,
    live: undefined,
    mergedInto: undefined,
  };
  trace.segments.set(id, segment);
  return segment;
}

function resolve(segment: Segment): Segment {
  let at = segment;
  while (at.mergedInto) at = at.mergedInto;
  if (segment !== at) segment.mergedInto = at;
  return at;
}

function seal(segment: Segment, reason: SealReason): void {
  const generation = segment.live as Generation;
  const { name, rootSeen, nextGeneration } = segment;
  generation.sealed = { segmentId: name, generation: nextGeneration, reason, rootSeen };
  segment.live = undefined;
  segment.nextGeneration += 1;
}

function setDue({ live, rootSeen }: Segment, policy: SegmentPolicy): void {
  if (live === undefined) return;
  const idle = live.last + (rootSeen ? policy.rootTimeoutSeconds : policy.timeoutSeconds);
  const oldest = live.first + policy.maxAgeSeconds;
  live.byAge = oldest < idle;
  live.due = Math.min(idle, oldest);
}

function isReady(generation: Generation, query: ClaimQuery, wall: number): boolean {
  if (generation.lease && generation.lease.until > wall) return false;
  if (generation.sealed || query.drain) return true;
  return generation.due <= query.now || generation.heldUntil <= wall;
}

function byDue(a: Generation, b: Generation): number {
  return a.due - b.due;
}

function positionOf({ source, partition }: StoredSpan): string {
  return `${source ?? ''}/${partition}`;
}

function isTaken(taken: ReadonlyMap<string, bigint>, span: StoredSpan): boolean {
  if (span.offset === undefined) return false;
  const highest = taken.get(positionOf(span));
  return highest !== undefined && span.offset <= highest;
}
