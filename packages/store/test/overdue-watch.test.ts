import { describe, expect, it } from 'vitest';
import type { BufferState } from '../src/buffer-control.ts';
import { OverdueWatch } from '../src/overdue-watch.ts';

const T = 1_700_000_000;

/** One observation of shard 0: wall and message time and the oldest due time, all relative to T. */
function observe(watch: OverdueWatch, wall: number, message: number, due: number | undefined): number | undefined {
  const shard = { shard: 0, dueCount: 1, inFlightCount: 0, parkedCount: 0, clock: undefined };
  const oldestDueSeconds = due === undefined ? undefined : T + due;
  const state: BufferState = {
    redisSeconds: T + wall,
    liveFlushers: 1,
    memory: [],
    clocks: new Map(),
    shards: [{ ...shard, oldestDueSeconds }],
  };
  return watch.observe(state, new Map([[0, T + message]])).get(0);
}

describe('OverdueWatch', () => {
  it('counts from the moment at which message time passed what is due', () => {
    const watch = new OverdueWatch();
    expect(observe(watch, 0, -100, -90)).toBe(0);
    expect(observe(watch, 1, -90, -90)).toBe(0);
    expect(observe(watch, 6, -85, -90)).toBe(5);
    expect(observe(watch, 61, -30, -90)).toBe(60);
  });

  it('does not take the leaps of message time in a backlog for waiting', () => {
    const watch = new OverdueWatch();
    for (let second = 0; second < 100; second++) {
      const leap = second * 600;
      expect(observe(watch, second, leap, leap - 300)).toBeLessThanOrEqual(1);
    }
  });

  it('counts while message time stands still', () => {
    const watch = new OverdueWatch();
    observe(watch, 0, 0, -10);
    expect(observe(watch, 50, 0, -10)).toBe(50);
  });

  it('does not count what was due before message time went back, and is not any more', () => {
    const watch = new OverdueWatch();
    observe(watch, 0, 0, undefined);
    for (let second = 1; second < 60; second++) expect(observe(watch, second, second - 3_600, second - 3_590)).toBe(0);
    expect(observe(watch, 60, -3_530, -3_540)).toBeLessThanOrEqual(10);
  });

  it('begins anew once what was due is gone', () => {
    const watch = new OverdueWatch();
    observe(watch, 0, 0, -10);
    observe(watch, 50, 50, -10);
    expect(observe(watch, 51, 51, 51)).toBe(0);
    expect(observe(watch, 52, 52, undefined)).toBe(0);
    expect(observe(watch, 60, 60, 55)).toBe(0);
    expect(observe(watch, 70, 70, 55)).toBe(10);
  });
});
