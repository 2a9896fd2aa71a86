import { describe, expect, it } from 'vitest';
import { PartitionClock } from '../src/partition-clock.ts';

const HOUR = 3_600;
const T = 1_700_000_000;
const ms = (seconds: number) => seconds * 1_000;

function aClock() {
  return new PartitionClock({ maxBackSeconds: 600 });
}

/** Reads and applies one batch of messages that were sent at these times. */
function take(clock: PartitionClock, sentSeconds: readonly number[], wallSeconds: number): void {
  clock.read(sentSeconds.map(ms), wallSeconds);
  clock.applied(wallSeconds);
}

describe('PartitionClock', () => {
  it('follows the messages, however fast they are read', () => {
    const clock = aClock();
    for (let i = 0; i < 100; i++) take(clock, [T + i], T + HOUR + i / 100);
    expect(clock.messageSeconds).toBeGreaterThan(T + 90);
    expect(clock.messageSeconds).toBeLessThanOrEqual(T + 99);
    expect(clock.behindSeconds(T + HOUR)).toBeGreaterThan(HOUR - 100);
  });

  it('is as close to the newest message after a large batch as after a small one', () => {
    const clock = aClock();
    take(
      clock,
      Array.from({ length: 200 }, (_, i) => T + i),
      T + HOUR,
    );
    const afterLarge = T + 199 - (clock.messageSeconds as number);
    for (let i = 200; i < 220; i++) {
      take(clock, [T + i], T + HOUR);
      expect(T + i - (clock.messageSeconds as number)).toBe(afterLarge);
    }
    expect(afterLarge).toBeLessThan(5);
  });

  it('does not move before a batch is applied', () => {
    const clock = aClock();
    take(clock, [T], T);
    clock.read([T + 50, T + 50, T + 50].map(ms), T + 50);
    expect(clock.messageSeconds).toBe(T);
    clock.applied(T + 50);
    expect(clock.messageSeconds).toBe(T + 50);
  });

  it('is not moved by single messages from 1970 or 2099', () => {
    const clock = aClock();
    for (let i = 0; i < 20; i++) take(clock, [T + i, T + i, T + i], T + i);
    const before = clock.messageSeconds as number;
    take(clock, [0], T + 20);
    take(clock, [4_070_908_800], T + 21);
    expect(Math.abs((clock.messageSeconds as number) - before)).toBeLessThan(5);
  });

  it('is not moved by a message from 1970, or without a time, at the very beginning either', () => {
    const seeded = aClock();
    seeded.seed(T, T);
    take(seeded, [1], T + 1);
    take(seeded, [T - HOUR], T + 2);
    expect(seeded.messageSeconds).toBe(T);
    const fresh = aClock();
    take(fresh, [-0.001], T);
    expect(fresh.messageSeconds).toBe(T);
  });

  it('never runs more than a minute ahead of the wall', () => {
    const clock = aClock();
    take(clock, [4_070_908_800], T);
    expect(clock.messageSeconds).toBe(T + 60);
  });

  it('goes on with the wall while there is nothing left to read, from where it was', () => {
    const clock = aClock();
    take(clock, [T - HOUR], T);
    clock.caughtUp(T + 7);
    clock.caughtUp(T + 9);
    expect(clock.messageSeconds).toBe(T - HOUR + 9);
    expect(clock.behindSeconds(T + 9)).toBe(0);
  });

  it('stands still while messages wait that are not applied', () => {
    const clock = aClock();
    take(clock, [T], T);
    clock.caughtUp(T + 5);
    clock.fellBehind();
    expect(clock.messageSeconds).toBe(T + 5);
    expect(clock.behindSeconds(T + 65)).toBe(60);
  });

  it('goes back when the input begins anew, and not for messages that are a little late', () => {
    const clock = aClock();
    const many = (seconds: number) => Array.from({ length: 100 }, () => seconds);
    take(clock, many(T), T);
    take(clock, many(T - 500), T + 10);
    expect(clock.messageSeconds).toBe(T);
    take(clock, [T - HOUR], T + 15);
    expect(clock.messageSeconds).toBe(T);
    take(clock, many(T - HOUR), T + 20);
    expect(clock.messageSeconds).toBe(T - HOUR);
  });

  it('begins where the reader before it was, unless it has read something itself', () => {
    const clock = aClock();
    clock.seed(T - 30, T);
    clock.caughtUp(T + 2);
    expect(clock.messageSeconds).toBe(T - 28);
    clock.seed(T - HOUR, T);
    expect(clock.messageSeconds).toBe(T - 28);
  });

  it('goes by the wall where nothing is known at all', () => {
    const clock = aClock();
    clock.caughtUp(T);
    expect(clock.messageSeconds).toBe(T);
  });
});
