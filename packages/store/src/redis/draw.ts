import { pagesOf } from './grouping.ts';
import type { RedisCommand } from './redis-runner.ts';

/** Drawn by one command: some 0.7 ms. */
const DRAWN_AT_ONCE = 512;

/** Draws so many members of a sorted set by lot. @param isWhole - Whether these are all that it has. */
export function drawCommands(key: string, share: number, isWhole: boolean): RedisCommand[] {
  const draw = (count: number): RedisCommand => ({ key, name: 'zrandmember', args: [key, count] });
  // All of a set costs Redis less than a tenth of what as many costs that are drawn from it.
  if (isWhole) return share > 0 ? [draw(share)] : [];
  return pagesOf(Array.from({ length: share }), DRAWN_AT_ONCE).map(({ length }) => draw(length));
}

/**
 * How many of a sample fall to each set: all of each where there is room for that, else in proportion to their sizes, as every
 * k-th of all members put in a row.
 * @param start - At least 0, less than 1: where in the first step the counting begins.
 */
export function shareOut(counts: readonly number[], most: number, start: number): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total <= most) return [...counts];
  const step = total / most;
  let passed = 0;
  return counts.map((count) => {
    const before = Math.ceil(passed / step - start);
    passed += count;
    return Math.ceil(passed / step - start) - before;
  });
}
