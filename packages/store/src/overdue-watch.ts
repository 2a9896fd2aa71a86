import type { BufferState } from './buffer-control.ts';

/** Message time of a shard at a moment of the wall clock. */
interface Reading {
  readonly wallSeconds: number;
  readonly messageSeconds: number;
}

/** An hour of readings, where one is taken each second. What is overdue for longer counts as that. */
const MAX_READINGS = 3_600;

/**
 * How long the oldest entry of each shard has been due, by the wall clock. Message time does not tell: while a backlog is
 * worked off, minutes of it pass in a second. So the moments are remembered at which message time passed what is due.
 */
export class OverdueWatch {
  readonly #readings = new Map<number, Reading[]>();

  /**
   * Call it every second or so.
   * @param times - Of `shardTimes`.
   * @returns Seconds by shard; 0 where nothing is due.
   */
  observe(state: BufferState, times: ReadonlyMap<number, number>): ReadonlyMap<number, number> {
    const wallSeconds = state.redisSeconds;
    const overdue = new Map<number, number>();
    for (const { shard, oldestDueSeconds = Number.POSITIVE_INFINITY } of state.shards) {
      const messageSeconds = times.get(shard) as number;
      const readings = this.#readings.get(shard) ?? [];
      // Where message time goes back, what it had passed before is not due any more.
      while (messageSeconds < (readings.at(-1)?.messageSeconds ?? messageSeconds)) readings.pop();
      if (messageSeconds !== readings.at(-1)?.messageSeconds) readings.push({ wallSeconds, messageSeconds });
      const passed = readings.findIndex((reading) => reading.messageSeconds >= oldestDueSeconds);
      overdue.set(shard, passed === -1 ? 0 : wallSeconds - (readings[passed] as Reading).wallSeconds);
      // Those before are of use no more, unless something comes back with an earlier due time, which is rare.
      readings.splice(0, Math.max(passed === -1 ? readings.length - 1 : passed, readings.length - MAX_READINGS));
      this.#readings.set(shard, readings);
    }
    for (const shard of this.#readings.keys()) if (!overdue.has(shard)) this.#readings.delete(shard);
    return overdue;
  }
}
