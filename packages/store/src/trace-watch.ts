import type { TraceRef } from '@spanbuf/keys';

/** Most traces that are watched at once: what a poll reads, and what the logs are to take. */
export const MAX_WATCHED_TRACES = 32;

/** A trace of which consumers and flushers log every step, and for how long still. */
export interface WatchedTrace extends TraceRef {
  /** Until it is no longer watched, above 0. */
  readonly leftSeconds: number;
}

/**
 * Which traces of a slice are watched. The list is in Redis, with a time to live, so that whoever switches it on may go away.
 * Every call may be repeated.
 * @throws {@link StoreUnavailableError} when Redis does not answer in time. Retriable.
 */
export interface TraceWatch {
  /** Those that are watched now, at most {@link MAX_WATCHED_TRACES}. One round trip. */
  read(): Promise<WatchedTrace[]>;

  /**
   * Watches a trace from now on, or for longer or shorter than it is watched already.
   * @param seconds - An integer from 1.
   * @returns false, with nothing changed, when {@link MAX_WATCHED_TRACES} others are watched.
   */
  watch(trace: TraceRef, seconds: number): Promise<boolean>;

  /** Watches a trace no longer. Answers whether it was watched. */
  unwatch(trace: TraceRef): Promise<boolean>;
}

/** What becomes of spans of one trace that are added together, in the order in which it happens. */
export type LinkStep =
  | {
      readonly step: 'grouped';
      /** Each becomes one payload: spans known to share a root, and the id at which their chains of parents end. */
      readonly subsegments: readonly {
        readonly topId: string;
        readonly hasRoot: boolean;
        readonly spanCount: number;
      }[];
    }
  | {
      readonly step: 'linked';
      /**
       * `replay`: all had been taken before. `merged`: they, or what was there, turned out to be one segment. `new`: the
       * segments hold nothing else. `grown`: they went to what was there.
       */
      readonly outcome: 'replay' | 'merged' | 'new' | 'grown';
      readonly addedCount: number;
      readonly replayedCount: number;
      /** Segments that have them now. */
      readonly segments: readonly {
        readonly segmentId: string;
        readonly shard: number;
        readonly spanCount: number;
        /** Message time, Unix seconds, if nothing else comes. */
        readonly dueSeconds: number;
      }[];
      /** Segments that were united with those. */
      readonly mergedCount: number;
    }
  /** Generations that reached their size, and wait for a flusher. */
  | { readonly step: 'sealed'; readonly reason: 'max-bytes'; readonly generationCount: number };

/** Whoever wants to know what happens to watched traces. */
export interface TraceObserver {
  /** Whether there are any. Asked once a batch: while it is false nothing else is. */
  readonly isOn: boolean;
  isWatched(trace: TraceRef): boolean;
  /** Of a trace that is watched. Must not throw. */
  note(trace: TraceRef, step: LinkStep): void;
}
