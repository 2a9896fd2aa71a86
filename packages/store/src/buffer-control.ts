import type { LayoutName } from './layout.ts';

/**
 * What consumers and flushers tell each other through Redis, beside the segments themselves. All of it belongs to one slice,
 * and every key has a time to live. Every call may be repeated.
 * @throws {@link StoreUnavailableError} when Redis does not answer in time. Retriable.
 */
export interface BufferControl {
  /** Notes how far the consumer has come with shards. One script call, which stamps each with the clock of Redis. */
  markClocks(marks: ReadonlyMap<number, ClockMark>): Promise<void>;

  /**
   * Says that a flusher lives; forgotten `presenceSeconds` after the last call, by the clock of Redis.
   * @param flusherId - Not that of any other process.
   */
  announceFlusher(flusherId: string, presenceSeconds: number): Promise<void>;

  /** Says that a flusher is about to end. */
  withdrawFlusher(flusherId: string): Promise<void>;

  /**
   * Says what a process that works on the buffer does, for whoever wants to know before something is changed: see {@link Rollout}.
   * Forgotten `presenceSeconds` after the last call, by the clock of Redis. To be said before it writes anything for the first time.
   */
  announceProcess(process: ProcessFacts, presenceSeconds: number): Promise<void>;

  /** Says that a process is about to end, and writes nothing any more. */
  withdrawProcess(processId: string): Promise<void>;

  /**
   * How much waits where. Other calls go on meanwhile, so the figures of different shards are of slightly different moments.
   * @param query - `shards`: of which; by default of all that have something in their queue.
   * @remarks Cost: two round trips, one script call a shard, INFO of every master; a third round trip where shards are found
   * to be empty, which then are no longer listed.
   */
  readState(query?: { readonly shards?: readonly number[] }): Promise<BufferState>;
}

/** What a process that works on a buffer says of itself. */
export interface ProcessFacts {
  /** Not that of any other process, ever. */
  readonly id: string;
  /** Name of the program. */
  readonly app: string;
  readonly version: string;
  readonly layout: LayoutName;
  /** Of one that puts spans into the buffer: its `maxAgeSeconds`, and the shards whose clocks it marks. */
  readonly writes?: { readonly maxAgeSeconds: number; readonly shards: readonly number[] } | undefined;
  /** Of one that takes segments out: for how long it leases them. */
  readonly reads?: { readonly leaseSeconds: number } | undefined;
}

/** How far a consumer has come with a shard. */
export interface ClockMark {
  /** Message time up to which everything is stored, Unix seconds. */
  readonly messageSeconds: number;
  /** How far that is behind the wall clock while more waits to be read, from 0; 0 when nothing does. */
  readonly behindSeconds: number;
}

export interface BufferState {
  /** Clock of Redis, Unix seconds; that with which `markedSeconds` was taken. */
  readonly redisSeconds: number;
  readonly liveFlushers: number;
  /** All marks there are, by shard, of shards without a queue too. */
  readonly clocks: ReadonlyMap<number, ShardClock>;
  /** Those that were asked for, or all that have something in their queue; by number. */
  readonly shards: readonly ShardState[];
  /** Masters, without those that do not answer or do not let this user ask. */
  readonly memory: readonly NodeMemory[];
}

/** A mark, as it is in Redis. */
export interface ShardClock extends ClockMark {
  /** Clock of Redis when it was marked, Unix seconds. */
  readonly markedSeconds: number;
}

export interface ShardState {
  readonly shard: number;
  /** `undefined`: never marked. */
  readonly clock: ShardClock | undefined;
  /** Entries that wait, due or not. */
  readonly dueCount: number;
  /** Entries that flushers have. */
  readonly inFlightCount: number;
  readonly parkedCount: number;
  /** The earliest due time of those that wait, message time in Unix seconds; `undefined` when none does. */
  readonly oldestDueSeconds: number | undefined;
}

export interface NodeMemory {
  /** `host:port` */
  readonly node: string;
  readonly usedBytes: number;
  /** `maxmemory` of the node; 0: no limit. */
  readonly maxBytes: number;
}
