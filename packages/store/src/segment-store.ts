import type { SpanbufError, TraceRef } from '@spanbuf/keys';

/** One span as a store keeps it. */
export interface StoredSpan {
  /** 16 hex digits. */
  readonly spanId: string;
  /** Effective parent, 16 hex digits: equal to `spanId` where the span is the root of its segment. */
  readonly parentId: string;
  /** Kafka partition, an integer from 0: the shard that queues a segment that starts with this span. */
  readonly partition: number;
  /**
   * Kafka offset, from 0 to 2^63 - 1. A span at or below the highest offset that its trace has taken from the same
   * `source` and `partition` is a replay. A span without one is never a replay.
   */
  readonly offset?: bigint;
  /**
   * The log in which `offset` counts, for instance the id of a topic, at most 256 characters; default `''`. A topic that
   * was deleted and created again needs another source, or its first messages would look like replays, and messages built of
   * them like those built of the ones before.
   */
  readonly source?: string;
  /** As received. */
  readonly payload: Uint8Array;
  /** What the buffer has noted about the payload, two integers from 0. Opaque: given back as it came. */
  readonly places?: readonly [number, number];
}

/** Spans of one batch known to share a root, all of one source and partition. */
export interface Subsegment {
  /** Where the chains of effective parents end, as far as the batch shows. 16 hex digits. */
  readonly topId: string;
  /** Whether the span `topId` is among `spans` and is a root, so that the chains end there for good. */
  readonly hasRoot: boolean;
  /** In the order of their offsets. Never empty. */
  readonly spans: readonly StoredSpan[];
}

/** Most spans of one {@link TraceAddition}: bounds what one script does. */
export const MAX_SPANS_PER_ADDITION = 80;

/**
 * Most subsegments of one {@link TraceAddition}. A subsegment costs a script several times as much as a span: 20 of one span
 * each take 1.3 ms of Redis at most in a trace of 100,000 spans (`npm run bench -- longest-command`).
 */
export const MAX_SUBSEGMENTS_PER_ADDITION = 20;

/**
 * Spans of one trace that are applied together or not at all: 1 to {@link MAX_SPANS_PER_ADDITION}. Of each source and
 * partition, every offset in an addition is higher than those of the additions of the same trace before it.
 */
export interface TraceAddition extends TraceRef {
  /** 1 to {@link MAX_SUBSEGMENTS_PER_ADDITION}. */
  readonly subsegments: readonly Subsegment[];
}

/** When segments become due and how large they get. Seconds and bytes; all above 0. */
export interface SegmentPolicy {
  /** Quiet time after which a segment whose root was seen is due. */
  readonly rootTimeoutSeconds: number;
  /** Quiet time after which a segment whose root was not seen is due. */
  readonly timeoutSeconds: number;
  /** Longest time from a generation's first span until it is due; three times that in wall time, as a backstop. */
  readonly maxAgeSeconds: number;
  /** Payload bytes at which a generation is sealed. Only a generation of a single subsegment may exceed it. */
  readonly maxSegmentBytes: number;
}

export interface AddResult {
  /** Spans that were not there before. */
  readonly added: number;
  /** Spans left out because their position had been taken already. */
  readonly replayed: number;
}

/** Why a generation was sealed. */
export type SealReason = 'root-idle' | 'idle' | 'max-age' | 'max-bytes' | 'drain';

export interface ClaimQuery {
  /** Message time, Unix seconds: what is due at that moment or before is claimed. */
  readonly now: number;
  /** Which shards; by default every shard that has a queue. */
  readonly shards?: readonly number[];
  /** Most generations to return, from 1. Split evenly between the shards as far as they have any. */
  readonly limit: number;
  /** Stop claiming once the payloads of what is claimed add up to this many bytes. At least one is returned. */
  readonly maxBytes?: number;
  /** Seal what is not due yet, too. */
  readonly drain?: boolean;
}

/** What one flush takes out of a segment. Immutable: spans that come later belong to the next generation. */
export interface SealedGeneration extends TraceRef {
  /** Root id of the segment, 16 hex digits. The root span itself may never have arrived. */
  readonly segmentId: string;
  /** From 1, rising for the same segment. */
  readonly generation: number;
  readonly shard: number;
  readonly spanCount: number;
  /** Sum of the payloads as received. */
  readonly payloadBytes: number;
  readonly reason: SealReason;
  /** Whether the root span arrived, in this generation or in an earlier one. */
  readonly rootSeen: boolean;
  /** Message time of its first and of its last span, Unix seconds. */
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** Whether all of it is read from the input again, in another epoch, should the store lose any of it. */
  readonly isOfEpoch: boolean;
  /** How the adapter finds it again. Opaque: pass the object back as it came. */
  readonly claim: object;
}

/** A generation that was set aside, because it cannot be produced as it is. */
export interface ParkedGeneration extends TraceRef {
  readonly segmentId: string;
  readonly generation: number;
  readonly shard: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
  /** As it was given, cut to {@link MAX_REASON_CHARACTERS}. */
  readonly reason: string;
  /** When it was parked, by the clock of the store, Unix seconds. */
  readonly parkedSeconds: number;
  /** How the adapter finds it again. Opaque: pass the object back as it came. */
  readonly ref: object;
}

/** UTF-16 units of a reason that are kept. */
export const MAX_REASON_CHARACTERS = 500;

/** What there is of a parked generation. Where Redis lost payloads, less than its `spanCount`. */
export interface ParkedContents {
  readonly spans: readonly StoredSpan[];
  /** An error for each payload that is there and that this version cannot read. */
  readonly unreadable: readonly SpanbufError[];
}

export interface ParkedQuery {
  /** Which shards; by default every shard that has a queue. */
  readonly shards?: readonly number[];
  readonly projectId?: string;
  readonly traceId?: string;
  /** Most generations to return, from 1. */
  readonly limit: number;
}

/**
 * Where segments live until they are flushed. `segmentStoreContract` of `@spanbuf/store/testing` is its meaning in code.
 *
 * Every call may be repeated after an error: nothing is lost, and what was done already is not done twice.
 * @throws {@link StoreUnavailableError} when Redis does not answer in time. Retriable.
 */
export interface SegmentStore {
  /**
   * Stores spans and schedules their segments. Additions of the same trace are applied in their order. When it resolves,
   * everything is stored and queued; when it rejects, any part of it may be, and adding the same spans again completes
   * it (spans with an offset then count as replayed, not twice).
   * @param at - `now` is message time, Unix seconds.
   */
  add(additions: readonly TraceAddition[], policy: SegmentPolicy, at: { readonly now: number }): Promise<AddResult>;

  /** Takes due segments, seals them and leases them to the caller. Nobody else gets them until the lease runs out. */
  claim(query: ClaimQuery): Promise<SealedGeneration[]>;

  /**
   * The spans of sealed generations, in an order that says nothing. `undefined` where another flusher has completed the
   * generation meanwhile, and where a payload is there that this version cannot read. Fewer spans than `spanCount` where
   * Redis lost payloads.
   * @param onUnreadable - Told of generations of the latter kind. They should not be completed: another version may be able.
   */
  read(
    generations: readonly SealedGeneration[],
    onUnreadable?: (generation: SealedGeneration, error: SpanbufError) => void,
  ): Promise<(StoredSpan[] | undefined)[]>;

  /**
   * Forgets sealed generations: they have been produced. Safe to repeat, also for one that others completed.
   * @param spans - What was produced of each, as {@link read} gave it: their offsets get receipts in books that are open, see
   * `Ledger`. Without it they get none.
   */
  complete(generations: readonly SealedGeneration[], spans?: readonly (readonly StoredSpan[])[]): Promise<void>;

  /** Gives sealed generations back at once. Without effect on one whose lease has passed to somebody else. */
  release(generations: readonly SealedGeneration[]): Promise<void>;

  /**
   * Sets sealed generations aside: nobody gets them until they are put back. Without effect on one whose lease has passed to
   * somebody else. Nothing of them expires for 30 days, or as long as the store keeps anything, if that is longer; and then
   * again from each {@link keepParked} on.
   * @param options - `tries`, from 1, default 1: at which lease that ends here one is set aside. Before, it stays leased, and
   * comes again when its lease runs out.
   * @returns For each whether it is set aside now.
   * @remarks Cost: one command a payload.
   */
  park(
    parked: readonly { readonly generation: SealedGeneration; readonly reason: string }[],
    options?: { readonly tries?: number },
  ): Promise<boolean[]>;

  /**
   * Lets everything that is parked live on, as if it had just been parked. Yields how many generations it has seen to, after
   * each few. Cost as of {@link park}.
   */
  keepParked(): AsyncIterable<number>;

  /** Which generations are parked, in an order that says nothing. Looks at all there are of the shards, until it has enough. */
  listParked(query: ParkedQuery): Promise<ParkedGeneration[]>;

  /** What there is of parked generations; `undefined` where one is not there any more. All of it is in memory at once. */
  readParked(parked: readonly ParkedGeneration[]): Promise<(ParkedContents | undefined)[]>;

  /**
   * Puts parked generations back, to be claimed at once, as they were sealed. Without effect on one that is not parked any
   * more. Cost as of {@link park}.
   */
  retryParked(parked: readonly ParkedGeneration[]): Promise<void>;

  /**
   * Forgets parked generations for good: nobody ever gets their spans. Without effect on one that is not parked any more. Of
   * what a call that is cut off leaves undone, some may come again, as if it had been put back. The offsets of their spans, as far
   * as these can be read, get receipts in books that are open: see `Ledger`.
   * @returns Those that it has forgotten.
   * @remarks Cost: one command a payload.
   */
  deleteParked(parked: readonly ParkedGeneration[]): Promise<ParkedGeneration[]>;
}
