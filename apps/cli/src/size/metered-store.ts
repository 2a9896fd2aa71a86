import type {
  ClaimQuery,
  SealedGeneration,
  SegmentPolicy,
  SegmentStore,
  StoredSpan,
  TraceAddition,
} from '@spanbuf/store';
import {
  addCalls,
  becomesTable,
  claimCalls,
  completeCalls,
  payloadBytes,
  queueBytes,
  sweepCalls,
  type TraceContents,
  traceBytes,
} from './redis-model.ts';

/** What a store does of all it can. */
export type SizedStore = Pick<SegmentStore, 'add' | 'claim' | 'read' | 'complete'>;

interface KnownTrace {
  readonly contents: TraceContents;
  /** Ids at which pieces end whose span has not come: when it does, the pieces are united. */
  readonly openTops: Set<string>;
  /** Of what it holds: spans, and tops. */
  readonly ids: Set<string>;
  /** Spans that are roots: each has a segment. */
  rootCount: number;
  /** Of its segments, in queues. */
  entryCount: number;
  bytes: number;
  /** Once it holds nothing. */
  forgetAt: number;
}

/** What the additions of one batch concern. */
interface BatchNotes {
  /** By shard: traces. */
  readonly touched: Map<number, Set<string>>;
  /** Shards in which segments were united: queue entries are taken out. */
  readonly merged: Set<number>;
  mergeCount: number;
}

/** A store, and what the same calls would take of a Redis. */
export class MeteredStore implements SizedStore {
  readonly #store: SizedStore;
  readonly #dedupeWindowSeconds: number;
  readonly #clock: () => number;
  readonly #traces = new Map<string, KnownTrace>();
  /** Traces that hold nothing, in the order in which they are forgotten. */
  readonly #forgetting = new Map<string, KnownTrace>();
  /** On the first span of each payload that is held: what it takes. */
  readonly #payloads = new WeakMap<StoredSpan, number>();
  #heldBytes = 0;
  #traceBytes = 0;
  #entryCount = 0;
  #payloadCount = 0;
  #peakBytes = 0;
  #scriptCalls = 0;

  constructor(store: SizedStore, options: { readonly dedupeWindowSeconds: number; readonly clock: () => number }) {
    this.#store = store;
    this.#dedupeWindowSeconds = options.dedupeWindowSeconds;
    this.#clock = options.clock;
  }

  /** Now. A trace counts with a segment for each of its roots, and with one at least. */
  get redisBytes(): number {
    return this.#heldBytes + this.#traceBytes + queueBytes(this.#entryCount);
  }

  get peakBytes(): number {
    return this.#peakBytes;
  }

  get scriptCalls(): number {
    return this.#scriptCalls;
  }

  /** Payloads that were written. */
  get payloadCount(): number {
    return this.#payloadCount;
  }

  async add(additions: readonly TraceAddition[], policy: SegmentPolicy, at: { readonly now: number }) {
    this.#forget();
    const batch: BatchNotes = { touched: new Map(), merged: new Set(), mergeCount: 0 };
    for (const addition of additions) this.#note(addition, batch);
    const traces = new Map([...batch.touched].map(([shard, all]) => [shard, all.size]));
    this.#scriptCalls += addCalls(additions.length, traces, batch.merged.size) + sweepCalls(batch.mergeCount);
    this.#peakBytes = Math.max(this.#peakBytes, this.redisBytes);
    return this.#store.add(additions, policy, at);
  }

  #note({ projectId, traceId, subsegments }: TraceAddition, batch: BatchNotes): void {
    const key = `${projectId}:${traceId}`;
    let trace = this.#traces.get(key);
    if (trace === undefined) {
      const contents = {
        spanCount: 0,
        entryCount: 0,
        heldEntryCount: 0,
        callCount: 0,
        pieceCount: 0,
        segmentCount: 1,
        isTable: false,
      };
      trace = { contents, openTops: new Set(), ids: new Set(), rootCount: 0, entryCount: 0, bytes: 0, forgetAt: 0 };
      this.#traces.set(key, trace);
    }
    this.#forgetting.delete(key);
    const { contents } = trace;
    const spanCount = subsegments.reduce((sum, { spans }) => sum + spans.length, 0);
    contents.callCount += 1;
    contents.spanCount += spanCount;
    contents.entryCount += subsegments.length;
    contents.heldEntryCount += subsegments.length;
    const roots = subsegments.flatMap(({ spans }) =>
      spans.filter(({ spanId, parentId }) => spanId === parentId),
    ).length;
    trace.rootCount += roots;
    contents.segmentCount = Math.max(1, trace.rootCount);
    contents.isTable ||= becomesTable(contents);
    this.#payloadCount += subsegments.length;
    for (const subsegment of subsegments) {
      const first = subsegment.spans[0] as StoredSpan;
      const bytes = payloadBytes(subsegment);
      this.#payloads.set(first, bytes);
      this.#heldBytes += bytes;
      const { partition } = first;
      // Where nothing is held above it, a piece gets another name, and that is all.
      const isHeldAbove = trace.ids.has(subsegment.topId);
      for (const { spanId } of subsegment.spans) {
        if (!trace.openTops.delete(spanId) || !isHeldAbove) continue;
        batch.merged.add(partition);
        batch.mergeCount += 1;
      }
      const traces = batch.touched.get(partition);
      if (traces === undefined) batch.touched.set(partition, new Set([key]));
      else traces.add(key);
    }
    for (const { topId, spans } of subsegments) {
      if (!trace.ids.has(topId) && !spans.some(({ spanId }) => spanId === topId)) {
        trace.openTops.add(topId);
        contents.pieceCount += 1;
      }
      trace.ids.add(topId);
      for (const { spanId } of spans) trace.ids.add(spanId);
    }
    this.#weigh(trace);
  }

  #weigh(trace: KnownTrace): void {
    const { contents } = trace;
    const bytes = traceBytes(contents);
    this.#traceBytes += bytes - trace.bytes;
    trace.bytes = bytes;
    const entryCount = contents.heldEntryCount === 0 ? 0 : Math.min(contents.segmentCount, contents.heldEntryCount);
    this.#entryCount += entryCount - trace.entryCount;
    trace.entryCount = entryCount;
  }

  async claim(query: ClaimQuery): Promise<SealedGeneration[]> {
    const claimed = await this.#store.claim(query);
    if (claimed.length > 0) this.#scriptCalls += claimCalls(claimed, query.limit);
    return claimed;
  }

  read(...call: Parameters<SegmentStore['read']>): ReturnType<SegmentStore['read']> {
    return this.#store.read(...call);
  }

  async complete(
    generations: readonly SealedGeneration[],
    spans: readonly (readonly StoredSpan[])[] = [],
  ): Promise<void> {
    if (generations.length > 0) this.#scriptCalls += completeCalls(generations, spans);
    for (const [i, { projectId, traceId }] of generations.entries()) {
      const key = `${projectId}:${traceId}`;
      const trace = this.#traces.get(key);
      if (trace === undefined) continue;
      for (const span of spans[i] ?? []) {
        const bytes = this.#payloads.get(span);
        if (bytes === undefined) continue;
        this.#payloads.delete(span);
        this.#heldBytes -= bytes;
        trace.contents.heldEntryCount -= 1;
      }
      this.#weigh(trace);
      if (trace.contents.heldEntryCount > 0) continue;
      trace.openTops.clear();
      trace.ids.clear();
      trace.forgetAt = this.#clock() + this.#dedupeWindowSeconds;
      this.#forgetting.set(key, trace);
    }
    await this.#store.complete(generations, spans);
  }

  #forget(): void {
    const now = this.#clock();
    for (const [key, trace] of this.#forgetting) {
      if (trace.forgetAt > now) return;
      this.#forgetting.delete(key);
      this.#traces.delete(key);
      this.#traceBytes -= trace.bytes;
    }
  }
}
