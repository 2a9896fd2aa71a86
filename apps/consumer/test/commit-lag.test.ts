import { describe, expect, it } from 'vitest';
import { CommitLag } from '../src/commit-lag.ts';

describe('CommitLag', () => {
  it('is the message time between the oldest that is not committed and what was applied last', () => {
    const lag = new CommitLag();
    expect(lag.secondsBehind(0n, 7)).toBe(0);
    lag.applied(10n, 100, 7);
    lag.applied(20n, 110, 7);
    lag.applied(30n, 160, 7);
    expect(lag.secondsBehind(0n, 7)).toBe(60);
    expect(lag.secondsBehind(10n, 7)).toBe(50);
    expect(lag.secondsBehind(25n, 7)).toBe(0);
    expect(lag.secondsBehind(30n, 7)).toBe(0);
    lag.applied(40n, 200, 7);
    expect(lag.secondsBehind(30n, 7)).toBe(0);
    lag.applied(50n, 190, 7);
    expect(lag.secondsBehind(30n, 7)).toBe(0);
  });

  it('goes on where nothing comes any more, until all is committed', () => {
    const lag = new CommitLag();
    lag.applied(10n, 100, 7);
    lag.applied(20n, 110, 8);
    lag.applied(20n, 110, 500);
    expect(lag.secondsBehind(0n, 608)).toBe(610);
    expect(lag.secondsBehind(15n, 608)).toBe(600);
    expect(lag.secondsBehind(20n, 608)).toBe(0);
    lag.applied(30n, 112, 608);
    expect(lag.secondsBehind(20n, 609)).toBe(1);
  });
});
