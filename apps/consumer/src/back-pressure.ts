import { type BufferState, OverdueWatch, shardTimes } from '@spanbuf/store';

/** When to stop reading, and when to go on. The limits to go on are lower, so that it does not go to and fro. */
export interface PressureLimits {
  /** Share of `maxmemory` on the fullest Redis node, 0 to 1. */
  readonly pauseMemoryShare: number;
  readonly resumeMemoryShare: number;
  /** How long the oldest due segment has been due, by the wall clock. */
  readonly pauseOverdueSeconds: number;
  readonly resumeOverdueSeconds: number;
  /** How long there has been no flusher. */
  readonly pauseWithoutFlusherSeconds: number;
  /** As the flushers have it: see `shardTimes`. */
  readonly clockGraceSeconds: number;
}

export const PRESSURE_CAUSES = ['redis-memory', 'overdue-segments', 'no-flusher'] as const;
export type PressureCause = (typeof PRESSURE_CAUSES)[number];

/** A line for the log for each cause there is. */
export type Pressure = ReadonlyMap<PressureCause, string>;

/**
 * What is on its way when reading pauses: the time between two looks, and what has been fetched already. A node that grows fast
 * has to be judged by where it will be then.
 */
const REACTION_SECONDS = 3;

/** Decides whether to read on. Remembers what it is paused for and since when there is no flusher. */
export class BackPressure {
  readonly #limits: PressureLimits;
  #causes: ReadonlySet<PressureCause> = new Set();
  readonly #overdue = new OverdueWatch();
  /** Fullest node at the last look. */
  #before: { readonly share: number; readonly wallSeconds: number } | undefined;
  #flusherSeenSeconds: number;

  /** @param wallSeconds - Now. A flusher that was never seen counts as gone from then on. */
  constructor(limits: PressureLimits, wallSeconds: number) {
    this.#limits = limits;
    this.#flusherSeenSeconds = wallSeconds;
  }

  judge(state: BufferState, wallSeconds: number): Pressure {
    const limits = this.#limits;
    if (state.liveFlushers > 0) this.#flusherSeenSeconds = wallSeconds;
    const limit = (cause: PressureCause, pauseAt: number, resumeAt: number) =>
      this.#causes.has(cause) ? resumeAt : pauseAt;
    const pressure = new Map<PressureCause, string>();

    const fullest = fullestNode(state);
    const memoryLimit = limit('redis-memory', limits.pauseMemoryShare, limits.resumeMemoryShare);
    const growth = this.#growthPerSecond(fullest?.share ?? 0, wallSeconds);
    if (fullest !== undefined && fullest.share + growth * REACTION_SECONDS >= memoryLimit) {
      const rising = growth > 0 ? `, rising by ${percent(growth)} a second` : '';
      const share = `${percent(fullest.share)} of maxmemory${rising}, limit ${percent(memoryLimit)}`;
      pressure.set('redis-memory', `Redis node ${fullest.node} is at ${share}`);
    }

    const overdue = this.#overdue.observe(state, shardTimes(state, limits.clockGraceSeconds));
    const overdueSeconds = Math.max(0, ...overdue.values());
    const overdueLimit = limit('overdue-segments', limits.pauseOverdueSeconds, limits.resumeOverdueSeconds);
    if (overdueSeconds >= overdueLimit) {
      pressure.set(
        'overdue-segments',
        `the oldest due segment waits for ${Math.round(overdueSeconds)} s, limit ${overdueLimit} s: flushers are behind`,
      );
    }

    const goneSeconds = wallSeconds - this.#flusherSeenSeconds;
    if (goneSeconds >= limits.pauseWithoutFlusherSeconds) {
      pressure.set('no-flusher', `no flusher has been seen for ${Math.round(goneSeconds)} s: is one running?`);
    }

    this.#causes = new Set(pressure.keys());
    return pressure;
  }

  #growthPerSecond(share: number, wallSeconds: number): number {
    const before = this.#before;
    this.#before = { share, wallSeconds };
    const seconds = wallSeconds - (before?.wallSeconds ?? wallSeconds);
    return before === undefined || seconds <= 0 ? 0 : Math.max(0, (share - before.share) / seconds);
  }
}

/** Undefined where no node has a limit, or none says. */
export function fullestNode({ memory }: BufferState): { node: string; share: number } | undefined {
  const limited = memory.filter(({ maxBytes }) => maxBytes > 0);
  const shares = limited.map(({ node, usedBytes, maxBytes }) => ({ node, share: usedBytes / maxBytes }));
  return shares.toSorted((a, b) => b.share - a.share)[0];
}

/**
 * Bytes of spans that Redis has room for until the next look: half of what is left on its fullest node, as they need some more
 * there than they have themselves, and all of them may go to that node. Infinity where no node has a limit.
 */
export function roomBytes(state: BufferState): number {
  const limited = state.memory.filter(({ maxBytes }) => maxBytes > 0);
  return Math.min(...limited.map(({ usedBytes, maxBytes }) => Math.max(0, maxBytes - usedBytes) / 2));
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
