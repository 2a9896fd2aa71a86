import { describe, expect, it } from 'vitest';
import { pause, retry } from '../src/process/retry.ts';

const isPassing = (error: unknown) => (error as Error).message !== 'for good';

/** Fails with these messages, one a call, then succeeds. */
function failing(...messages: string[]) {
  let calls = 0;
  const task = async () => {
    const message = messages[calls++];
    if (message !== undefined) throw new Error(message);
    return 'done';
  };
  return { task, calls: () => calls };
}

describe('retry', () => {
  it('repeats until it succeeds, and tells of each failure', async () => {
    const { task } = failing('one', 'two');
    const told: string[] = [];
    const signal = new AbortController().signal;
    const onRetry = (error: unknown, attempt: number) => told.push(`${attempt} ${(error as Error).message}`);
    expect(await retry(task, { signal, isPassing, onRetry })).toBe('done');
    expect(told).toEqual(['1 one', '2 two']);
  });

  it('throws at once what another attempt cannot mend', async () => {
    const { task, calls } = failing('for good');
    const signal = new AbortController().signal;
    await expect(retry(task, { signal, isPassing })).rejects.toThrow('for good');
    expect(calls()).toBe(1);
  });

  it('ends with the last error when it is told to stop, even in the middle of a pause', async () => {
    const { task, calls } = failing(...Array.from({ length: 100 }, (_, i) => `failure ${i}`));
    const stop = new AbortController();
    const onRetry = (_: unknown, attempt: number) => {
      if (attempt === 2) stop.abort();
    };
    await expect(retry(task, { signal: stop.signal, isPassing, onRetry })).rejects.toThrow('failure 1');
    expect(calls()).toBe(2);
  });

  it('makes one attempt when it is told to stop before', async () => {
    const { task } = failing();
    expect(await retry(task, { signal: AbortSignal.abort(), isPassing })).toBe('done');
  });
});

describe('pause', () => {
  it('ends as soon as the signal aborts, and leaves no listener behind', async () => {
    const stop = new AbortController();
    const paused = pause(3_600_000, stop.signal);
    stop.abort();
    await paused;
    await pause(3_600_000, stop.signal);
  });
});
