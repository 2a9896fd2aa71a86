import { DEFAULT_MAX_SPAN_BYTES, type FlushedSegment, SpanBuffer } from '@spanbuf/buffer';
import { createMemoryStore, type MemoryStoreOptions, type SegmentStore } from '@spanbuf/store';
import { MeteredStore, type SizedStore } from './metered-store.ts';
import type { TimedBatch } from './timed-batch.ts';

/** Settings that are tried. Seconds of message time. */
export interface CandidateSettings {
  readonly rootTimeoutSeconds: number;
  readonly timeoutSeconds: number;
  readonly maxAgeSeconds: number;
  readonly maxSegmentBytes: number;
}

/** Numbers for the names of segments, the same for all that are tried. */
export class SegmentNumbers {
  readonly #numbers = new Map<string, number>();

  of({ projectId, traceId, segmentId }: Pick<FlushedSegment, 'projectId' | 'traceId' | 'segmentId'>): number {
    const name = `${projectId}:${traceId}:${segmentId}`;
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(name, number);
    }
    return number;
  }
}

/** The first piece that came out of a segment. */
export interface FirstPiece {
  readonly spanCount: number;
  readonly rootSeen: boolean;
}

export interface CandidateOptions {
  /** Shared by all that are tried. */
  readonly numbers: SegmentNumbers;
  readonly lengths: Lengths;
  readonly dedupeWindowSeconds: number;
  /** By default a store in memory. */
  readonly openStore?: (options: MemoryStoreOptions) => SizedStore;
}

/** How flushers take segments by default: SPANBUF_POLL_SECONDS, and a shard's part of SPANBUF_FLUSH_SEGMENTS and -BYTES. */
const POLL_SECONDS = 0.5;
const FLUSH_SEGMENTS = 250;
const FLUSH_BYTES = 8 * 1_024 * 1_024;

/** Stands for any payload: only lengths count here. Nobody touches it, so it takes no memory. */
const ZEROS = new Uint8Array(DEFAULT_MAX_SPAN_BYTES);
const NOTHING = new Uint8Array(0);

/**
 * One set of settings, tried on the real buffer with a store in memory. Holds what is under way, without payloads, and two
 * numbers for each segment.
 */
export class Candidate {
  readonly settings: CandidateSettings;
  /** By number of the segment. */
  readonly firstPieces = new Map<number, FirstPiece>();
  /** Pieces that came out after the first, and spans in them, by number of the segment. */
  readonly laterPieces = new Map<number, { pieceCount: number; spanCount: number }>();
  /** Of each piece: from its last span, and from its first, until it was due. */
  readonly delaySeconds: number[] = [];
  readonly waitSeconds: number[] = [];
  readonly store: MeteredStore;
  readonly #buffer: SpanBuffer;
  readonly #numbers: SegmentNumbers;
  readonly #shards = new Set<number>();
  #nowSeconds = 0;
  #flushedSeconds = 0;

  constructor(
    settings: CandidateSettings,
    { numbers, lengths, dedupeWindowSeconds, openStore = createMemoryStore }: CandidateOptions,
  ) {
    this.settings = settings;
    this.#numbers = numbers;
    const clock = (): number => this.#nowSeconds;
    this.store = new MeteredStore(openStore({ dedupeWindowSeconds, clock }), { dedupeWindowSeconds, clock });
    this.#buffer = new SpanBuffer(
      withPayloads(this.store, (payload) => lengths.of(payload)),
      settings,
    );
  }

  /** What is due by the time of the batch goes out, then the batch goes in. */
  async take({ seconds, spans }: TimedBatch): Promise<void> {
    this.#nowSeconds = seconds;
    if (seconds - this.#flushedSeconds >= POLL_SECONDS) await this.#flush(false);
    for (const { partition } of spans) this.#shards.add(partition);
    await this.#buffer.process(spans, { now: seconds });
  }

  /** The input has ended: what is left is taken as if nothing more came. */
  async finish(): Promise<void> {
    await this.#flush(true);
  }

  async #flush(drain: boolean): Promise<void> {
    const now = this.#nowSeconds;
    this.#flushedSeconds = now;
    for (const shard of this.#shards) {
      for (let isMore = true; isMore; ) {
        const segments = await this.#buffer.flush({
          now,
          shards: [shard],
          limit: FLUSH_SEGMENTS,
          maxBytes: FLUSH_BYTES,
          drain,
        });
        for (const segment of segments) this.#note(segment);
        if (segments.length > 0) await this.#buffer.done(segments);
        isMore = segments.length > 0;
      }
    }
  }

  #note(segment: FlushedSegment): void {
    const { spanCount, rootSeen, firstSeconds, lastSeconds } = segment;
    const number = this.#numbers.of(segment);
    const later = this.laterPieces.get(number);
    if (!this.firstPieces.has(number)) this.firstPieces.set(number, { spanCount, rootSeen });
    else if (later === undefined) this.laterPieces.set(number, { pieceCount: 1, spanCount });
    else {
      later.pieceCount += 1;
      later.spanCount += spanCount;
    }
    const dueSeconds = this.#dueOf(segment);
    this.delaySeconds.push(dueSeconds - lastSeconds);
    this.waitSeconds.push(dueSeconds - firstSeconds);
  }

  /** To the moment, and not when it was looked for. What the end of the input has cut off would have been due then. */
  #dueOf({ reason, rootSeen, firstSeconds, lastSeconds }: FlushedSegment): number {
    const { rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds } = this.settings;
    if (reason === 'max-bytes') return lastSeconds;
    return Math.min(lastSeconds + (rootSeen ? rootTimeoutSeconds : timeoutSeconds), firstSeconds + maxAgeSeconds);
  }
}

const MONTH_SECONDS = 30 * 86_400;

/** What the segments of an input are, whenever their spans come: nothing goes out before its end. */
export class WholeInput {
  readonly #buffer: SpanBuffer;
  #seconds = 0;

  constructor() {
    this.#buffer = new SpanBuffer(
      withPayloads(createMemoryStore({ clock: () => 0 }), () => NOTHING),
      {
        rootTimeoutSeconds: MONTH_SECONDS,
        timeoutSeconds: MONTH_SECONDS,
        maxAgeSeconds: MONTH_SECONDS,
        maxSegmentBytes: Number.MAX_SAFE_INTEGER,
      },
    );
  }

  async take({ seconds, spans }: TimedBatch): Promise<void> {
    this.#seconds = seconds;
    await this.#buffer.process(spans, { now: seconds });
  }

  /** The segments there are, by number. */
  async segments(numbers: SegmentNumbers): Promise<Map<number, FirstPiece>> {
    const found = new Map<number, FirstPiece>();
    for (;;) {
      const segments = await this.#buffer.flush({ now: this.#seconds, drain: true, limit: 10_000 });
      if (segments.length === 0) return found;
      for (const segment of segments) {
        const { spanCount, rootSeen } = segment;
        found.set(numbers.of(segment), { spanCount, rootSeen });
      }
      await this.#buffer.done(segments);
    }
  }
}

/** Bytes of any content, by their number: each view of memory costs more than all else that is kept of a span. */
export class Lengths {
  readonly #views = new Map<number, Uint8Array>();

  of({ length }: Uint8Array): Uint8Array {
    let view = this.#views.get(length);
    if (view === undefined) {
      view = ZEROS.subarray(0, length);
      this.#views.set(length, view);
    }
    return view;
  }
}

/** The same store for spans that have something else for a payload. */
function withPayloads(store: SizedStore, payloadOf: (payload: Uint8Array) => Uint8Array): SegmentStore {
  const never = (): never => {
    throw new Error('not called here');
  };
  return {
    add: (additions, policy, at) => {
      const thin = additions.map(({ subsegments, ...trace }) => ({
        ...trace,
        subsegments: subsegments.map((subsegment) => ({
          ...subsegment,
          spans: subsegment.spans.map((span) => ({ ...span, payload: payloadOf(span.payload) })),
        })),
      }));
      return store.add(thin, policy, at);
    },
    claim: (query) => store.claim(query),
    read: (...call) => store.read(...call),
    complete: (...call) => store.complete(...call),
    release: never,
    park: never,
    keepParked: never,
    listParked: never,
    readParked: never,
    retryParked: never,
    deleteParked: never,
  };
}
