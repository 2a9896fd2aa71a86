import type { NodeMemory } from './buffer-control.ts';
import type { LayoutName, Place } from './layout.ts';

/**
 * Who works on the buffer of a slice, in which layout, and where the payloads lie that it holds: what has to be known before the
 * layout is changed. Reads alone; any number of calls may be made beside the services.
 * @throws {@link StoreUnavailableError} when Redis does not answer in time, {@link StoreRefusedError} when it does not permit it.
 */
export interface Rollout {
  /**
   * @remarks Cost: three round trips and a few commands a shard; two or more reads of a trace for each segment of the sample.
   */
  readStatus(query?: RolloutQuery): Promise<RolloutStatus>;

  /**
   * Whether all processes may be moved to a layout, one after the other and in any order, so that meanwhile and afterwards each
   * reader finds where its layout reads first whatever is held, and whatever is written. Holds as long as nobody starts in another
   * layout than those that run now and `layout`.
   * @remarks Cost: as `readStatus`, and a look at up to 2,000 segments that may have been begun before it was so.
   */
  check(layout: LayoutName, query?: RolloutQuery): Promise<LayoutCheck>;
}

export interface RolloutQuery {
  /** How many of the held segments to look at, 0 to 10,000; default 1,000. */
  readonly sample?: number | undefined;
  /** For how long flushers wait for a partition without a consumer: `SPANBUF_CLOCK_GRACE_SECONDS`, 30 by default. */
  readonly graceSeconds?: number | undefined;
}

/** A process that has announced itself, and has not been silent for too long. */
export interface RunningProcess {
  readonly id: string;
  readonly app: string;
  readonly version: string;
  readonly layout: LayoutName;
  /** Clock of Redis when it said so first, Unix seconds. */
  readonly sinceSeconds: number;
  readonly isWriter: boolean;
  readonly isReader: boolean;
}

export interface RolloutStatus {
  /** Clock of Redis, Unix seconds. */
  readonly redisSeconds: number;
  /** By app, then since when. */
  readonly processes: readonly RunningProcess[];
  /** Flushers that live and say nothing of themselves: of another version. */
  readonly silentFlushers: readonly string[];
  /** Shards whose clock somebody marks who says nothing of himself. */
  readonly silentShards: readonly number[];
  /** Shards that hold segments, and for whose consumer, which has been silent for so long, flushers still wait. */
  readonly unattended: readonly { readonly shard: number; readonly silentSeconds: number }[];
  /** When each layout was written last, clock of Redis, the latest first; layouts that nobody has written are absent. */
  readonly written: readonly { readonly layout: LayoutName; readonly lastSeconds: number }[];
  readonly held: HeldPayloads;
  /** Masters, without those that do not answer or do not let this user ask. */
  readonly memory: readonly NodeMemory[];
}

/** Where the payloads of held segments lie. A segment that is parked counts as held. */
export interface HeldPayloads {
  /** In the queues, parked ones included. */
  readonly segmentCount: number;
  readonly parkedCount: number;
  /** How many were looked at, drawn at random, parked ones from the beginning. What was gone by then is not among them. */
  readonly lookedAtCount: number;
  /** Of these, by where all of their payloads are. `mixed`: some here, some there. */
  readonly colocated: number;
  readonly both: number;
  readonly distributed: number;
  readonly mixed: number;
  /** Of these, those of whose payloads only the first 2,048 were looked at. */
  readonly cut: number;
}

/** Why a layout cannot be entered yet. */
export interface Obstacle {
  readonly kind: ObstacleKind;
  readonly detail: string;
  /** What to do about it. */
  readonly remedy: string;
  /** Until when at the latest it passes by itself, clock of Redis; `undefined` where it does not, or nobody knows. */
  readonly untilSeconds?: number | undefined;
}

export type ObstacleKind =
  | 'no-process'
  | 'silent-process'
  | 'unfinished-upgrade'
  | 'unread-writes'
  | 'unread-held'
  | 'unproven-held'
  | 'unattended-shard';

export interface LayoutCheck {
  readonly layout: LayoutName;
  /** Whether nothing is in the way. */
  readonly isSafe: boolean;
  readonly obstacles: readonly Obstacle[];
  /** Where payloads are to be found, so that every process that runs, or will, finds them where it looks first. */
  readonly neededPlaces: readonly Place[];
  /** Whether every process is in this layout already. */
  readonly isEntered: boolean;
  /** Whether payloads will be written twice, and are not by any process now: they take twice the memory. */
  readonly doublesPayloads: boolean;
  readonly status: RolloutStatus;
}
