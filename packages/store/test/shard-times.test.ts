import { describe, expect, it } from 'vitest';
import type { BufferState } from '../src/buffer-control.ts';
import { shardTimes } from '../src/shard-times.ts';

const T = 1_700_000_000;
const GRACE_SECONDS = 30;

interface Marked {
  /** Message time, relative to the wall. */
  message: number;
  behind?: number;
  /** Seconds since the mark was made. */
  ago?: number;
}

/** Times of shards 0, 1, …, relative to the wall. */
function timesOf(...marks: readonly (Marked | undefined)[]): number[] {
  return timesWith([], marks);
}

/** The same, beside shards that have nothing in their queues. */
function timesWith(others: readonly Marked[], marks: readonly (Marked | undefined)[]): number[] {
  const clockOf = ({ message, behind = 0, ago = 0 }: Marked) => ({
    messageSeconds: T + message,
    behindSeconds: behind,
    markedSeconds: T - ago,
  });
  const all = [...marks, ...others].map((mark, shard) => [shard, mark && clockOf(mark)] as const);
  const state: BufferState = {
    redisSeconds: T,
    liveFlushers: 1,
    memory: [],
    clocks: new Map(all.flatMap(([shard, clock]) => (clock === undefined ? [] : [[shard, clock] as const]))),
    shards: marks.map((mark, shard) => ({
      shard,
      dueCount: 1,
      inFlightCount: 0,
      parkedCount: 0,
      oldestDueSeconds: undefined,
      clock: mark && clockOf(mark),
    })),
  };
  return [...shardTimes(state, GRACE_SECONDS).values()].map((seconds) => seconds - T);
}

describe('shardTimes', () => {
  it('goes by the clock of Redis where nothing was ever marked', () => {
    expect(timesOf(undefined)).toEqual([0]);
  });

  it('takes a mark as it is, though the wall clock goes on', () => {
    expect(timesOf({ message: -1_800, behind: 1_800, ago: 1 })).toEqual([-1_800]);
    expect(timesOf({ message: -29, ago: 29 })).toEqual([-29]);
  });

  it('goes on with the wall once a mark is older than the grace, without a leap', () => {
    expect(timesOf({ message: -30, ago: 30 })).toEqual([-30]);
    expect(timesOf({ message: -31, ago: 31 })).toEqual([-30]);
    expect(timesOf({ message: -3_600, ago: 3_600 })).toEqual([-30]);
  });

  it('waits for a shard that is further behind, the grace at most', () => {
    expect(timesOf({ message: 0 }, { message: -10, behind: 10 })).toEqual([-10, -10]);
    expect(timesOf({ message: 0 }, { message: -1_800, behind: 1_800 })).toEqual([-30, -1_800]);
  });

  it('waits for one that has nothing in its queue as well', () => {
    expect(timesWith([{ message: -10, behind: 10 }], [{ message: 0 }])).toEqual([-10]);
  });

  it('does not wait for a shard that has nothing left to read, whatever its message time', () => {
    expect(timesOf({ message: 0 }, { message: -86_400, behind: 0 })).toEqual([0, -86_400]);
  });

  it('does not wait for a shard that was left behind long ago', () => {
    expect(timesOf({ message: 0 }, { message: -100, behind: 60, ago: 40 })).toEqual([0, -90]);
  });
});
