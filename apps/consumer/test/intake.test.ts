import { describe, expect, it } from 'vitest';
import { Intake } from '../src/intake.ts';

/** Each takes 100 bytes when it may. Answers who has, once everything has happened that can happen by itself. */
async function taking(intake: Intake, names: readonly string[], signal = new AbortController().signal) {
  const taken: string[] = [];
  const ended = Promise.all(
    names.map((name) =>
      intake.take(() => {
        taken.push(name);
        return { bytes: 100 };
      }, signal),
    ),
  );
  await settled();
  return { taken, ended };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('Intake', () => {
  it('lets nothing be taken until it is allowed', async () => {
    const intake = new Intake();
    const { taken } = await taking(intake, ['a']);
    expect(taken).toEqual([]);
    intake.allow(1);
    await settled();
    expect(taken).toEqual(['a']);
  });

  it('lets batches be taken whole while something is left, and the others after the next look', async () => {
    const intake = new Intake();
    const { taken } = await taking(intake, ['a', 'b', 'c', 'd']);
    intake.allow(150);
    await settled();
    expect(taken).toEqual(['a', 'b']);
    intake.allow(0);
    await settled();
    expect(taken).toEqual(['a', 'b']);
    intake.allow(150);
    await settled();
    expect(taken).toEqual(['a', 'b', 'c', 'd']);
  });

  it('has no limit where none is given', async () => {
    const intake = new Intake();
    intake.allow(Number.POSITIVE_INFINITY);
    expect((await taking(intake, ['a', 'b', 'c'])).taken).toEqual(['a', 'b', 'c']);
  });

  it('holds nobody who is to stop, and gives them nothing', async () => {
    const stop = new AbortController();
    const intake = new Intake();
    const { taken, ended } = await taking(intake, ['a'], stop.signal);
    stop.abort();
    expect(await ended).toEqual([undefined]);
    intake.allow(1_000);
    expect(await intake.take(() => ({ bytes: 1 }), stop.signal)).toBeUndefined();
    expect(taken).toEqual([]);
  });
});
