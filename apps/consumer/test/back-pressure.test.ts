import type { BufferState } from '@spanbuf/store';
import { describe, expect, it } from 'vitest';
import { BackPressure, roomBytes } from '../src/back-pressure.ts';

const T = 1_700_000_000;
const LIMITS = {
  pauseMemoryShare: 0.8,
  resumeMemoryShare: 0.6,
  pauseOverdueSeconds: 120,
  resumeOverdueSeconds: 60,
  pauseWithoutFlusherSeconds: 30,
  clockGraceSeconds: 10,
};

interface Fields {
  usedBytes?: number;
  liveFlushers?: number;
  /** Wall time, and the time since which the oldest segment is due, relative to T. */
  wall?: number;
  due?: number;
}

function aState({ usedBytes = 0, liveFlushers = 1, wall = 0, due = 1_000 }: Fields = {}): BufferState {
  const clock = { messageSeconds: T + wall, markedSeconds: T + wall, behindSeconds: 0 };
  return {
    redisSeconds: T + wall,
    liveFlushers,
    clocks: new Map([[0, clock]]),
    shards: [{ shard: 0, clock, dueCount: 1, inFlightCount: 0, parkedCount: 0, oldestDueSeconds: T + due }],
    memory: [
      { node: 'a:1', usedBytes: 1, maxBytes: 100 },
      { node: 'b:2', usedBytes, maxBytes: 100 },
    ],
  };
}

function causesOf(pressure: ReadonlyMap<string, string>): string[] {
  return [...pressure.keys()];
}

describe('BackPressure', () => {
  it('is silent while all is well', () => {
    expect(causesOf(new BackPressure(LIMITS, T).judge(aState(), T))).toEqual([]);
  });

  it('pauses for the fullest node, and goes on well below that', () => {
    const pressure = new BackPressure(LIMITS, T);
    let wall = T;
    const at = (usedBytes: number) => {
      // Slowly enough that the growth by itself says nothing.
      wall += 1_000;
      return causesOf(pressure.judge(aState({ usedBytes }), wall));
    };
    expect(at(79)).toEqual([]);
    expect(at(80)).toEqual(['redis-memory']);
    expect(at(61)).toEqual(['redis-memory']);
    expect(at(59)).toEqual([]);
    expect(at(61)).toEqual([]);
  });

  it('pauses early when a node fills up so fast that it would be too late a moment later', () => {
    const pressure = new BackPressure(LIMITS, T);
    expect(causesOf(pressure.judge(aState({ usedBytes: 40 }), T))).toEqual([]);
    expect(causesOf(pressure.judge(aState({ usedBytes: 50 }), T + 1))).toEqual([]);
    expect(causesOf(pressure.judge(aState({ usedBytes: 65 }), T + 2))).toEqual(['redis-memory']);
  });

  it('names the node, its share and the limit', () => {
    const reason = new BackPressure(LIMITS, T).judge(aState({ usedBytes: 91 }), T).get('redis-memory');
    expect(reason).toBe('Redis node b:2 is at 91 % of maxmemory, limit 80 %');
  });

  it('does not judge the memory of nodes without a limit', () => {
    const state = { ...aState(), memory: [{ node: 'a:1', usedBytes: 10 ** 12, maxBytes: 0 }] };
    expect(causesOf(new BackPressure(LIMITS, T).judge(state, T))).toEqual([]);
  });

  it('pauses while due segments are not flushed, and goes on when the flushers have caught up', () => {
    const pressure = new BackPressure(LIMITS, T);
    const at = (wall: number, due: number) => causesOf(pressure.judge(aState({ wall, due }), T + wall));
    for (let wall = 0; wall < 120; wall++) expect(at(wall, 0)).toEqual([]);
    expect(at(120, 0)).toEqual(['overdue-segments']);
    expect(at(121, 60)).toEqual(['overdue-segments']);
    expect(at(122, 63)).toEqual([]);
  });

  it('pauses when no flusher has been seen for a while, not at once, and goes on when there is one', () => {
    const pressure = new BackPressure(LIMITS, T);
    const at = (liveFlushers: number, seconds: number) =>
      causesOf(pressure.judge(aState({ liveFlushers }), T + seconds));
    expect(at(0, 29)).toEqual([]);
    expect(at(0, 30)).toEqual(['no-flusher']);
    expect(at(1, 31)).toEqual([]);
    expect(at(0, 60)).toEqual([]);
    expect(at(0, 61)).toEqual(['no-flusher']);
  });

  it('tells every cause there is', () => {
    const pressure = new BackPressure(LIMITS, T);
    pressure.judge(aState({ due: 0 }), T);
    const state = aState({ usedBytes: 99, wall: 500, due: 0, liveFlushers: 0 });
    expect(causesOf(pressure.judge(state, T + 500))).toEqual(['redis-memory', 'overdue-segments', 'no-flusher']);
  });
});

describe('roomBytes', () => {
  it('is half of what is left on the fullest node, and none when it is full', () => {
    expect(roomBytes(aState({ usedBytes: 60 }))).toBe(20);
    expect(roomBytes(aState({ usedBytes: 100 }))).toBe(0);
    expect(roomBytes(aState({ usedBytes: 110 }))).toBe(0);
  });

  it('is without end where no node has a limit', () => {
    const memory = [{ node: 'a:1', usedBytes: 5, maxBytes: 0 }];
    expect(roomBytes({ ...aState(), memory })).toBe(Number.POSITIVE_INFINITY);
    expect(roomBytes({ ...aState(), memory: [] })).toBe(Number.POSITIVE_INFINITY);
  });
});
