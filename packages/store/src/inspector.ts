import type { TraceRef } from '@spanbuf/keys';
import type { ShardClock } from './buffer-control.ts';
import type { PartitionBooks } from './ledger.ts';
import type { SealReason, StoredSpan } from './segment-store.ts';

/**
 * Looks at what is in Redis, beside consumers and flushers that go on, and writes nothing. What it tells is of the moments at
 * which it was read: while spans come in, figures of different keys do not add up to the last one.
 *
 * No command that it sends takes a node more than some 2 ms, none looks at all keys, and all of a call together is bounded as each
 * call says.
 * @throws {@link StoreUnavailableError} when Redis does not answer in time.
 * @throws {@link StoreRefusedError} when Redis does not permit it, or has something that this version does not know.
 */
export interface Inspector {
  /**
   * What is held of one trace: live, sealed, parked.
   * @returns `undefined` where Redis knows nothing of the trace.
   * @remarks Cost: one read of the trace's hash, in pages of 512 fields, at most `mostFields` of them; the figures of the shards
   * that it is in; a look at the length of `mostPayloads` payloads, and a read of those, up to `mostBytes`. All of it once more, a
   * quarter of a second later, where it was in the middle of a change.
   */
  inspectTrace(trace: TraceRef, limits?: Partial<InspectLimits>): Promise<InspectedTrace | undefined>;

  /**
   * How much waits where.
   * @param query - `shards`: of which; by default of all that have something in their queue, or a clock.
   * @remarks Cost: two round trips, and one more for each 8 shards; some 55 commands a shard, each O(1) or O(log n) in its queue.
   */
  readQueues(query?: { readonly shards?: readonly number[] }): Promise<QueueReport>;

  /**
   * Which traces and projects take up most of the queues, by lot.
   * @param report - As {@link readQueues} has just given it.
   * @param mostEntries - Queue entries to look at, 1 to 10,000.
   * @remarks Cost: two round trips; a read of two fields for each entry.
   */
  sampleQueues(report: QueueReport, mostEntries: number): Promise<QueueSample>;

  /** What became of the messages of partitions, from their books; nothing of those that have none. Cost: one read a partition. */
  readTotals(partitions: readonly number[]): Promise<PartitionTotals[]>;

  /** Every master. Cost: one INFO of each. */
  readNodes(): Promise<NodeFigures[]>;
}

export interface InspectLimits {
  /** Fields of the trace's hash, from 1; default 1,000,000. */
  readonly mostFields: number;
  /** Payloads that are looked at, shared out evenly between the segments, from 1; default 1,000. */
  readonly mostPayloads: number;
  /** Bytes of payloads that are read, and in memory at once, from 1; default 64 MiB. At least one payload is read. */
  readonly mostBytes: number;
}

export interface InspectedTrace extends TraceRef {
  /** Redis key of its structure, and which node has it: `host:port`, `undefined` while none has its slot. */
  readonly key: string;
  readonly node: string | undefined;
  readonly fieldCount: number;
  /** Until it is forgotten, should nobody touch it any more. */
  readonly ttlSeconds: number;
  /** Whether {@link segments} are all that it holds: not where it has more than `mostFields`, or changed all the while. */
  readonly isWhole: boolean;
  /** Fields that this version cannot read. */
  readonly unreadableFields: readonly string[];
  /** Clock of Redis, Unix seconds. */
  readonly redisSeconds: number;
  readonly liveFlushers: number;
  /** Of the shards that it is in. */
  readonly shards: readonly QueueFigures[];
  /** By segment, then by generation. */
  readonly segments: readonly InspectedSegment[];
}

/** One generation of a segment, as far as it holds spans. */
export interface InspectedSegment {
  /** Root id, 16 hex digits. The root span itself may never have arrived. */
  readonly segmentId: string;
  /** From 1, rising for the same segment. */
  readonly generation: number;
  readonly shard: number;
  readonly state: 'live' | 'sealed' | 'parked';
  /** Why it was sealed; `undefined` while it is live. */
  readonly sealReason: SealReason | undefined;
  readonly spanCount: number;
  readonly payloadBytes: number;
  /** Whether the root span arrived, in this generation or in an earlier one. */
  readonly rootSeen: boolean;
  /** Message time of its first and of its last span, Unix seconds. */
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** Why it is not flushed yet. */
  readonly wait: Wait;
  /** How often it could not be produced: at the third time it is parked. */
  readonly tries: number;
  /** How many payloads it has; `payloads` are the first of them. */
  readonly payloadCount: number;
  /** Of them, those that the trace does not know any more. */
  readonly missingEntryCount: number;
  readonly payloads: readonly InspectedPayload[];
}

/** Unix seconds; `due` and `message` in message time, all others by the clock of Redis. */
export type Wait =
  /** Its time has not come. At `backstopSeconds` it is taken whatever message time says. */
  | {
      readonly kind: 'not-due';
      readonly dueSeconds: number;
      readonly messageSeconds: number;
      readonly backstopSeconds: number;
    }
  /** By the wall clock its time has come; the clock of its shard stands before it. */
  | {
      readonly kind: 'held-back';
      readonly dueSeconds: number;
      readonly messageSeconds: number;
      readonly backstopSeconds: number;
      readonly cause: HoldCause;
    }
  /** Its time has come; `dueSeconds` is `undefined` where that is so whatever message time says. */
  | { readonly kind: 'due'; readonly dueSeconds: number | undefined; readonly messageSeconds: number }
  /** A flusher has it. In the past: the next claim takes it, whoever had it. */
  | { readonly kind: 'leased'; readonly untilSeconds: number; readonly nowSeconds: number }
  | { readonly kind: 'parked'; readonly reason: string; readonly parkedSeconds: number }
  /** No queue of this slice leads to it. */
  | { readonly kind: 'not-queued' }
  /** Redis has lost data since: it counts for nothing, and is read from the input again. */
  | { readonly kind: 'outdated'; readonly epoch: number; readonly currentEpoch: number };

/**
 * Why the clock of a shard is behind the wall: its consumer works off a backlog; other partitions are further behind, and it
 * waits for them; or its consumer has not been heard of for a moment.
 */
export type HoldCause =
  | { readonly kind: 'backlog'; readonly behindSeconds: number }
  | { readonly kind: 'other-partitions'; readonly waitSeconds: number }
  | { readonly kind: 'silent-consumer'; readonly silentSeconds: number };

/** One payload of a segment, and the places it was written to: two of them in the dual-read layouts. */
export interface InspectedPayload {
  readonly places: readonly PayloadPlace[];
  /** `passed-over`: as enough had been read. */
  readonly state: 'read' | 'passed-over' | 'gone' | 'unreadable';
  /** Of one that was read. */
  readonly spans: readonly StoredSpan[];
}

export interface PayloadPlace {
  readonly layout: 'colocated' | 'distributed';
  readonly key: string;
  /** Field of a colocated payload in the hash under `key`. */
  readonly field: string | undefined;
  /** `host:port`; `undefined` while no node has its slot. */
  readonly node: string | undefined;
  /** As it is stored, packed or not; 0: it is not there. */
  readonly bytes: number;
}

export interface QueueReport {
  /** Clock of Redis, Unix seconds. */
  readonly redisSeconds: number;
  readonly liveFlushers: number;
  /** By number. */
  readonly shards: readonly QueueFigures[];
}

/** The queue of one shard. */
export interface QueueFigures {
  readonly shard: number;
  /** `undefined`: never marked. */
  readonly clock: ShardClock | undefined;
  /** By which flushers take what is due, Unix seconds: see `shardTimes`. */
  readonly messageSeconds: number;
  /** Entries that wait, due or not. */
  readonly queuedCount: number;
  /** Of them, those that flushers may take now. */
  readonly dueCount: number;
  /** The earliest due time of those that wait, Unix seconds of message time; `undefined` when none does. */
  readonly oldestDueSeconds: number | undefined;
  /** How long that one has been due, in message time; 0 when nothing is. */
  readonly overdueSeconds: number;
  /** Entries that flushers have leased. */
  readonly inFlightCount: number;
  /** Of them, those whose lease is over: the next claim takes them again. */
  readonly endedLeaseCount: number;
  /** When the first of the other leases ends, Unix seconds; `undefined` where there are none. */
  readonly nextLeaseEndSeconds: number | undefined;
  readonly parkedCount: number;
  /** Entries that could not be produced once or twice, and are tried again. */
  readonly triedCount: number;
  /** Those that have any entries. A project is in one lane. */
  readonly lanes: readonly LaneFigures[];
}

export interface LaneFigures {
  readonly lane: number;
  readonly queuedCount: number;
  readonly dueCount: number;
  readonly oldestDueSeconds: number | undefined;
}

/** What a lot has drawn of all entries that wait or are in flight. */
export interface QueueSample {
  /** Entries there were. */
  readonly entryCount: number;
  /** Whether all of them were looked at, as there are few enough. */
  readonly isWhole: boolean;
  /** Of those that were looked at, the ones that were still there, and what they hold in all. */
  readonly sampledCount: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
  /** Whose they are, in proportion; most bytes first, as of traces, and 100 at most. */
  readonly projects: readonly SampledShare[];
  /** What was found of each: there may be more of it than was drawn. */
  readonly traces: readonly (SampledShare & { readonly traceId: string })[];
}

/** Sums of what was looked at. */
export interface SampledShare {
  readonly projectId: string;
  readonly entryCount: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
}

/** Of one partition and source, since its books were begun. */
export type PartitionTotals = Omit<PartitionBooks, 'firstOpenOffset'>;

/** A master of Redis; everything but its name is `undefined` where it does not answer, or does not permit INFO. */
export interface NodeFigures {
  /** `host:port` */
  readonly node: string;
  readonly load: NodeLoad | undefined;
}

export interface NodeLoad {
  readonly usedBytes: number;
  /** `maxmemory`; 0: no limit. */
  readonly maxBytes: number;
  readonly peakBytes: number;
  /** Keys that were thrown out to make room: each may be a lost span. Anything but 0 is a fault. */
  readonly evictedKeys: number;
  readonly commandsPerSecond: number;
  readonly inputBytesPerSecond: number;
  readonly outputBytesPerSecond: number;
  readonly clientCount: number;
}
