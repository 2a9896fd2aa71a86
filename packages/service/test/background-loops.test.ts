import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { BackgroundLoops } from '../src/process/background-loops.ts';

function someLoops() {
  const lines: string[] = [];
  const clock = { ms: 1_000_000 };
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  return { loops: new BackgroundLoops({ log, clockMs: () => clock.ms }), clock, lines };
}

/** A promise and what settles it. */
function aGate() {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe('BackgroundLoops', () => {
  it('repeats a task until it is stopped', async () => {
    const { loops } = someLoops();
    let turns = 0;
    loops.start('count', 0, async () => {
      turns += 1;
    });
    await expect.poll(() => turns).toBeGreaterThan(3);
    await loops.stop();
    const stoppedAt = turns;
    await new Promise(setImmediate);
    expect(turns).toBe(stoppedAt);
  });

  it('goes on after a turn that failed, and logs it', async () => {
    const { loops, lines } = someLoops();
    let turns = 0;
    loops.start('count', 0, async () => {
      turns += 1;
      if (turns === 1) throw new Error('away');
    });
    await expect.poll(() => turns).toBeGreaterThan(1);
    await loops.stop();
    expect(lines.join('')).toContain('away');
  });

  it('waits for the turns that are running when it is stopped', async () => {
    const { loops } = someLoops();
    const started = aGate();
    const end = aGate();
    let isDone = false;
    loops.start('slow', 0, async () => {
      started.open();
      await end.opened;
      isDone = true;
    });
    await started.opened;
    const stopped = loops.stop();
    end.open();
    await stopped;
    expect(isDone).toBe(true);
  });

  it('takes the pause that a turn asks for', async () => {
    const { loops } = someLoops();
    let turns = 0;
    loops.start('eager', 3_600_000, async () => {
      turns += 1;
      return 0;
    });
    await expect.poll(() => turns).toBeGreaterThan(3);
    await loops.stop();
  });

  it('knows how long ago a loop last succeeded', async () => {
    const { loops, clock } = someLoops();
    let fails = false;
    let turns = 0;
    loops.start('x', 0, async () => {
      turns += 1;
      if (fails) throw new Error('away');
    });
    await expect.poll(() => turns).toBeGreaterThan(0);
    expect(loops.secondsSinceSuccess('x')).toBe(0);
    fails = true;
    const failingFrom = turns;
    await expect.poll(() => turns).toBeGreaterThan(failingFrom + 1);
    clock.ms += 20_000;
    expect(loops.secondsSinceSuccess('x')).toBe(20);
    await loops.stop();
  });

  it('names a loop whose turn does not end', async () => {
    const { loops, clock } = someLoops();
    const end = aGate();
    loops.start('hung', 0, () => end.opened);
    clock.ms += 60_000;
    expect(loops.stuckProblems(100)).toEqual([]);
    clock.ms += 60_000;
    expect(loops.stuckProblems(100)).toEqual(['loop hung is stuck for 120 s']);
    loops.progress('hung');
    expect(loops.stuckProblems(100)).toEqual([]);
    end.open();
    await loops.stop();
  });
});
