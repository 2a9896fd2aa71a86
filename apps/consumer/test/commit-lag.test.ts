import { describe, expect, it } from 'vitest';
import { CommitLag } from '../src/commit-lag.ts';

describe('CommitLag', () => {
  it('is the message time between the oldest that is not committed and what was applied last', () => {
    const lag = new CommitLag();
    expect(lag.secondsBehind(0n)).toBe(0);
    lag.applied(10n, 100);
    lag.applied(20n, 110);
    lag.applied(20n, 150);
    lag.applied(30n, 160);
    expect(lag.secondsBehind(0n)).toBe(60);
    expect(lag.secondsBehind(10n)).toBe(50);
    expect(lag.secondsBehind(25n)).toBe(0);
    expect(lag.secondsBehind(30n)).toBe(0);
    lag.applied(40n, 200);
    expect(lag.secondsBehind(30n)).toBe(0);
    lag.applied(50n, 190);
    expect(lag.secondsBehind(30n)).toBe(0);
  });
});
