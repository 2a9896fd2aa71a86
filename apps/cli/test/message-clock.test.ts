import { describe, expect, it } from 'vitest';
import { findMessageTime, MessageClock } from '../src/message-clock.ts';

const T0 = 1_795_382_071;
const at = (seconds: number): Uint8Array => Buffer.from(JSON.stringify({ received: seconds }));

function aClock(): MessageClock {
  return new MessageClock({ maxStepSeconds: 5, maxBackSeconds: 600 });
}

/** Where the clock is after batches of one span each. */
function timeAfter(times: readonly number[]): number {
  const clock = aClock();
  for (const seconds of times) clock.advance([at(seconds)]);
  return clock.nowSeconds;
}

const steady = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => T0 + from + i);

describe('MessageClock', () => {
  it('follows the spans, some batches behind', () => {
    const now = timeAfter(steady(100));
    expect(now).toBeGreaterThan(80);
    expect(now).toBeLessThanOrEqual(99);
  });

  it.each([
    ['1970', 1],
    ['2099', 4_070_908_800],
    ['no time there is', 1e300],
  ])('is not moved by single spans from %s', (_name, hostile) => {
    const times = steady(100).map((seconds, i) => (i % 5 === 0 ? hostile : seconds));
    expect(timeAfter(times)).toBeGreaterThan(75);
    expect(timeAfter(times)).toBeLessThan(115);
  });

  it.each([1, 4_070_908_800])('goes on after a beginning at %d', (hostile) => {
    const now = timeAfter([...Array.from({ length: 30 }, () => hostile), ...steady(100)]);
    expect(now).toBeGreaterThan(75);
    expect(now).toBeLessThan(115);
  });

  it('takes a gap in the input in one small step', () => {
    expect(timeAfter([...steady(50), ...steady(50, 86_400)])).toBeLessThan(110);
  });

  it('goes on where a file begins anew', () => {
    expect(timeAfter([...steady(100, 86_400), ...steady(100)])).toBeGreaterThan(170);
  });

  it('never goes back', () => {
    const clock = aClock();
    let before = 0;
    for (const seconds of [...steady(40), ...steady(40, -300), ...steady(40, -90_000)]) {
      clock.advance([at(seconds)]);
      expect(clock.nowSeconds).toBeGreaterThanOrEqual(before);
      before = clock.nowSeconds;
    }
  });

  it('stands still where no span has a time', () => {
    const clock = aClock();
    clock.advance([Buffer.from('{}'), Buffer.from('{"received":null}')]);
    expect(clock.nowSeconds).toBe(0);
  });
});

describe('findMessageTime', () => {
  it.each([
    [{ received: 3, end_timestamp: 2, start_timestamp: 1 }, 3],
    [{ end_timestamp: 2, start_timestamp: 1 }, 2],
    [{ received: -1, start_timestamp: 1 }, 1],
    [{ attributes: { received: 5 } }, undefined],
  ])('reads %j as %s', (span, seconds) => {
    expect(findMessageTime(Buffer.from(JSON.stringify(span)))).toBe(seconds);
  });
});
