import { formatSegmentKey, SpanbufError } from '@spanbuf/keys';
import type { SealedGeneration, SealReason, SegmentPolicy, SegmentStore, StoredSpan } from '@spanbuf/store';
import { z } from 'zod';
import { problemsOf } from './check-span.ts';
import { groupSpans } from './group-spans.ts';
import { InvalidSpanError } from './ingest-span.ts';
import { PartitionOrder } from './partition-order.ts';
import { type SegmentMessage, segmentMessages } from './segment-messages.ts';
import type { Span } from './span.ts';

const MIB = 1024 * 1024;
const MAX_SECONDS = 30 * 86_400;

const optionsSchema = z.strictObject({
  rootTimeoutSeconds: z.number().positive().max(MAX_SECONDS).default(10),
  timeoutSeconds: z.number().positive().max(MAX_SECONDS).default(60),
  maxAgeSeconds: z.number().positive().max(MAX_SECONDS).default(600),
  maxSegmentBytes: z
    .int()
    .min(1)
    .default(10 * MIB),
  maxMessageBytes: z
    .int()
    .min(1)
    .default(10 * MIB),
  holdIncomplete: z.boolean().default(false),
  onLoss: z.custom<(loss: SpanLoss) => void>((value) => typeof value === 'function').optional(),
  onUnreadable: z.custom<(segment: UnreadableSegment) => void>((value) => typeof value === 'function').optional(),
});

/** Options of {@link SpanBuffer}; every one has a default. Seconds are of message time, 0 < s ≤ 30 days. */
export interface SpanBufferOptions {
  /** Quiet time after which a segment whose root was seen is due; default 10. */
  rootTimeoutSeconds?: number | undefined;
  /** Quiet time after which a segment whose root was not seen is due; default 60. */
  timeoutSeconds?: number | undefined;
  /** Longest time from a generation's first span until it is due, also three times that in wall time; default 600. */
  maxAgeSeconds?: number | undefined;
  /** Raw payload bytes at which a segment goes out early as a generation; the rest follows. Default 10 MiB. */
  maxSegmentBytes?: number | undefined;
  /** Longest message, unless a single span is longer; default 10 MiB. Keep it below what the broker takes. */
  maxMessageBytes?: number | undefined;
  /**
   * What becomes of a segment of which the store has lost spans. By default the rest goes out. `true`: nothing does, if everything of it
   * is read from the input again, in another epoch (see `createLossWatch` of the store).
   */
  holdIncomplete?: boolean | undefined;
  /** Told of spans that were accepted, and that the store no longer has when their segment is flushed. */
  onLoss?: ((loss: SpanLoss) => void) | undefined;
  /**
   * Told of segments with a payload that cannot be read: damaged, or written by a newer version. They stay in the store
   * and come again when their lease has run out, unless they are parked.
   */
  onUnreadable?: ((segment: UnreadableSegment) => void) | undefined;
}

/** A segment that is due and cannot be flushed. */
export interface UnreadableSegment {
  readonly projectId: string;
  readonly traceId: string;
  readonly segmentId: string;
  readonly generation: number;
  readonly error: SpanbufError;
  /** The same as the store knows it. Opaque: what {@link SpanBuffer.park} needs. */
  readonly sealed: SealedGeneration;
}

/** Spans that Redis lost: expired, evicted, or gone with a node. */
export interface SpanLoss {
  readonly projectId: string;
  readonly traceId: string;
  readonly segmentId: string;
  readonly generation: number;
  /** Spans the segment had, and how many of them are missing. */
  readonly spanCount: number;
  readonly lostSpanCount: number;
  /** Whether the segment is held back: see `holdIncomplete`. */
  readonly isHeld: boolean;
}

/** Options of a buffer that are out of range; every problem is in the message. */
export class InvalidBufferOptionsError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_BUFFER_OPTIONS';
  readonly retriable = false;
}

/** A time or a limit that a call cannot work with. */
export class InvalidArgumentError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_ARGUMENT';
  readonly retriable = false;
}

/** What became of a batch. `accepted + replayed + rejected.length` is the number of spans in it. */
export interface ProcessResult {
  /** Spans stored and queued. */
  readonly accepted: number;
  /** Spans left out because their position had been taken already. */
  readonly replayed: number;
  /** Spans that cannot be taken: nothing of them is stored. For the dead-letter topic. */
  readonly rejected: readonly RejectedSpan[];
}

export interface RejectedSpan {
  /** In the batch, from 0. */
  readonly index: number;
  readonly span: Span;
  readonly error: InvalidSpanError;
}

/** What one flush took out of one segment. */
export interface FlushedSegment {
  /** `span-buf:s:{<project>:<trace>}:<segment id>` */
  readonly key: string;
  readonly projectId: string;
  readonly traceId: string;
  /** Root id. The root span itself may never have arrived. */
  readonly segmentId: string;
  readonly shard: number;
  /** From 1, rising for the same segment. */
  readonly generation: number;
  readonly spanCount: number;
  /** Spans that were accepted and that Redis has lost since; they are not in `spanCount`. */
  readonly lostSpanCount: number;
  /** Of the payloads as received. */
  readonly payloadBytes: number;
  readonly reason: SealReason;
  /** Whether the root span arrived, now or in an earlier generation. */
  readonly rootSeen: boolean;
  /** Message time of its first and its last span, Unix seconds. */
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** Effective parents that its spans name and that are not among its spans. Counted when it is read: O(spans). */
  readonly missingParentCount: number;
  /** As the store had them, in an order that says nothing. */
  readonly spans: readonly StoredSpan[];
  /** The same as the store knows it. Opaque: what `done`, `release` and `park` need. */
  readonly sealed: SealedGeneration;
  /**
   * Builds the messages; at least one, the same each time. Cost: a copy of the payloads, and a hash of those without
   * an offset.
   * @throws {@link UnreadableSpanError} when a payload in the store is not a JSON object.
   */
  messages(): SegmentMessage[];
}

export interface FlushRequest {
  /** Message time, Unix seconds: what is due then is flushed. */
  readonly now: number;
  /** Which shards; by default every shard that has a queue. */
  readonly shards?: readonly number[] | undefined;
  /** Most segments to return; by default all that are due. All of them are in memory at once: set it, or `maxBytes`. */
  readonly limit?: number | undefined;
  /** Most payload bytes to return, unless a single segment has more. */
  readonly maxBytes?: number | undefined;
  /** Flush what is not due yet, too. */
  readonly drain?: boolean | undefined;
}

/**
 * Assembles spans, in any order, into segments. Any number of buffers, in any number of processes, may work on the same
 * store. One buffer may be used by several callers at once; batches of the same partition are applied in the order of
 * the calls.
 */
export class SpanBuffer {
  readonly #store: SegmentStore;
  readonly #policy: SegmentPolicy;
  readonly #maxMessageBytes: number;
  readonly #holdIncomplete: boolean;
  readonly #onLoss: (loss: SpanLoss) => void;
  readonly #onUnreadable: (segment: UnreadableSegment) => void;
  readonly #order = new PartitionOrder();

  /** @throws {@link InvalidBufferOptionsError} that names every option that is wrong. */
  constructor(store: SegmentStore, options: SpanBufferOptions = {}) {
    const parsed = optionsSchema.safeParse(options);
    if (!parsed.success) throw new InvalidBufferOptionsError(`options of SpanBuffer: ${z.prettifyError(parsed.error)}`);
    const { maxMessageBytes, holdIncomplete, onLoss, onUnreadable, ...policy } = parsed.data;
    this.#store = store;
    this.#policy = policy;
    this.#maxMessageBytes = maxMessageBytes;
    this.#holdIncomplete = holdIncomplete;
    this.#onLoss = onLoss ?? (() => undefined);
    this.#onUnreadable = onUnreadable ?? (() => undefined);
  }

  /**
   * Stores a batch and schedules its segments. Once it resolves, every accepted span will come out of a flush, whatever
   * dies; only then may the Kafka offset move. After an error process the same batch again: what was done is not done
   * twice, provided the spans have offsets.
   * @param at - `now` is the batch's message time, Unix seconds; of the oldest message, where they differ.
   * @throws `StoreUnavailableError` of @spanbuf/store when Redis stays away; {@link EarlierBatchFailedError}; both retriable.
   * @remarks Cost: one write a subsegment, one script call for up to 80 spans of a trace. Four round trips, a
   * fifth where segments were united, sealed or replayed, and one more for every further 80 spans of the same trace.
   */
  async process(spans: readonly Span[], at: { readonly now: number }): Promise<ProcessResult> {
    checkNow(at.now);
    const taken: Span[] = [];
    const rejected: RejectedSpan[] = [];
    for (const [index, span] of spans.entries()) {
      const problems = problemsOf(span);
      if (problems.length === 0) taken.push(span);
      else rejected.push({ index, span, error: new InvalidSpanError(problems) });
    }
    const { additions, repeated } = groupSpans(taken, this.#policy.maxSegmentBytes);
    const result = await this.#order.run(partitionsOf(taken), () => this.#store.add(additions, this.#policy, at));
    return { accepted: result.added, replayed: result.replayed + repeated, rejected };
  }

  /**
   * Takes what is due. Each segment is the caller's alone until the lease of the store runs out: produce its messages,
   * then call {@link done}; or {@link release} it, or {@link park} it.
   */
  async flush(at: FlushRequest): Promise<FlushedSegment[]> {
    checkNow(at.now);
    const { now, shards, limit = Number.MAX_SAFE_INTEGER, maxBytes, drain = false } = at;
    for (const [name, value] of Object.entries({ limit, maxBytes: maxBytes ?? 1 })) {
      if (!Number.isInteger(value) || value < 1)
        throw new InvalidArgumentError(`${name} must be an integer from 1, got ${value}`);
    }
    const query = {
      now,
      limit,
      drain,
      ...(shards && { shards }),
      ...(maxBytes !== undefined && { maxBytes }),
    };
    for (;;) {
      const generations = await this.#store.claim(query);
      const { segments, areHeld } = await this.#load(generations);
      // An empty answer is to mean that nothing is due, not that all of it is lost. Or that all of it comes again.
      if (segments.length > 0 || areHeld || generations.length === 0) return segments;
    }
  }

  /** `areHeld`: some are incomplete, and held back. */
  async #load(generations: readonly SealedGeneration[]): Promise<{ segments: FlushedSegment[]; areHeld: boolean }> {
    const unreadable = new Set<SealedGeneration>();
    const contents = await this.#read(generations, (generation, error) => {
      unreadable.add(generation);
      const { projectId, traceId, segmentId } = generation;
      const number = generation.generation;
      this.#onUnreadable({ projectId, traceId, segmentId, generation: number, error, sealed: generation });
    });
    const empty: SealedGeneration[] = [];
    const segments: FlushedSegment[] = [];
    let areHeld = false;
    for (const [i, generation] of generations.entries()) {
      const spans = contents[i];
      const isShort = spans !== undefined && spans.length < generation.spanCount;
      const isHeld = isShort && this.#holdIncomplete && generation.isOfEpoch;
      if (isShort) this.#onLoss(lossOf(generation, spans.length, isHeld));
      if (isHeld) {
        areHeld = true;
        continue;
      }
      if (spans && spans.length > 0) segments.push(this.#segment(generation, spans));
      else if (!unreadable.has(generation)) empty.push(generation);
    }
    // Completed by another flusher, or lost as a whole: only the queue entry is left.
    if (empty.length > 0) await this.#store.complete(empty);
    return { segments, areHeld };
  }

  async #read(...call: Parameters<SegmentStore['read']>): ReturnType<SegmentStore['read']> {
    try {
      return await this.#store.read(...call);
    } catch (error) {
      // Should this fail as well, the leases run out.
      await this.#store.release(call[0]).catch(() => undefined);
      throw error;
    }
  }

  #segment(generation: SealedGeneration, spans: readonly StoredSpan[]): FlushedSegment {
    const { projectId, traceId, segmentId } = generation;
    return {
      key: formatSegmentKey({ projectId, traceId, spanId: segmentId }),
      projectId,
      traceId,
      segmentId,
      shard: generation.shard,
      generation: generation.generation,
      spanCount: spans.length,
      lostSpanCount: generation.spanCount - spans.length,
      payloadBytes: generation.payloadBytes,
      reason: generation.reason,
      rootSeen: generation.rootSeen,
      firstSeconds: generation.firstSeconds,
      lastSeconds: generation.lastSeconds,
      get missingParentCount() {
        return missingParentsOf(spans);
      },
      spans,
      sealed: generation,
      messages: () => segmentMessages(generation, spans, this.#maxMessageBytes),
    };
  }

  /** Forgets segments whose messages the broker has acknowledged. Safe to repeat. */
  async done(segments: readonly FlushedSegment[]): Promise<void> {
    await this.#store.complete(
      segments.map(({ sealed }) => sealed),
      segments.map(({ spans }) => spans),
    );
  }

  /** Gives segments back that were not produced: the next flush returns them, with the same flush ids. */
  async release(segments: readonly FlushedSegment[]): Promise<void> {
    await this.#store.release(segments.map(({ sealed }) => sealed));
  }

  /**
   * Sets segments aside that cannot be produced as they are: a message that the broker refuses for good, a payload that
   * nobody can read. They hold up nothing, and stay in the store, with the reason, until they are put back (see
   * `SegmentStore.retryParked`). Without effect on one whose lease has passed to another flusher.
   * @param options - `tries`, from 1, default 1: at which flush that ends here a segment is set aside. Before, it comes again
   * when its lease runs out.
   * @returns For each whether it is set aside now.
   */
  async park(
    parked: readonly { readonly segment: FlushedSegment | UnreadableSegment; readonly reason: string }[],
    options?: { readonly tries?: number },
  ): Promise<boolean[]> {
    const sealed = parked.map(({ segment, reason }) => ({ generation: segment.sealed, reason }));
    return this.#store.park(sealed, options);
  }
}

function partitionsOf(spans: readonly Span[]): string[] {
  const partitions = new Set<string>();
  for (const { offset, source, partition } of spans)
    if (offset !== undefined) partitions.add(`${source ?? ''}/${partition}`);
  return [...partitions];
}

function missingParentsOf(spans: readonly StoredSpan[]): number {
  const missing = new Set(spans.map(({ parentId }) => parentId));
  for (const { spanId } of spans) missing.delete(spanId);
  return missing.size;
}

function lossOf(
  { projectId, traceId, segmentId, generation, spanCount }: SealedGeneration,
  found: number,
  isHeld: boolean,
): SpanLoss {
  return { projectId, traceId, segmentId, generation, spanCount, lostSpanCount: spanCount - found, isHeld };
}

function checkNow(now: number): void {
  if (!Number.isFinite(now)) throw new InvalidArgumentError(`now must be Unix seconds, got ${now}`);
}
