import { Writable } from 'node:stream';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { TraceLog } from '../src/index.ts';

const ONE = { projectId: '7', traceId: 'a'.repeat(32) };
const OTHER = { projectId: '7', traceId: 'b'.repeat(32) };

function open(level = 'error') {
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write: (chunk, _, done) => {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  return { lines, log: new TraceLog(pino({ level, base: null, timestamp: false }, stream)) };
}

describe('TraceLog', () => {
  it('logs the steps of watched traces in their order, whatever the level of the log is', () => {
    const { lines, log } = open();
    log.follow([{ ...ONE, leftSeconds: 59.7 }]);
    log.note(ONE, { step: 'received', offset: '3' });
    log.note(OTHER, { step: 'received' });
    log.note({ ...ONE, projectId: '8' }, { step: 'received' });
    log.note(ONE, { step: 'linked' });
    const msg = 'step of a watched trace';
    expect(lines).toEqual([
      { level: 20, ...ONE, step: 'watched', leftSeconds: 60, msg },
      { level: 20, ...ONE, step: 'received', offset: '3', msg },
      { level: 20, ...ONE, step: 'linked', msg },
    ]);
  });

  it('says when a trace is watched no longer, and nothing of it after that', () => {
    const { lines, log } = open();
    log.follow([
      { ...ONE, leftSeconds: 60 },
      { ...OTHER, leftSeconds: 60 },
    ]);
    log.follow([{ ...OTHER, leftSeconds: 58 }]);
    expect(log.traces).toEqual([OTHER]);
    log.note(ONE, { step: 'received' });
    log.follow([]);
    expect(log.isOn).toBe(false);
    expect(lines.map(({ step, traceId }) => [step, traceId])).toEqual([
      ['watched', ONE.traceId],
      ['watched', OTHER.traceId],
      ['unwatched', ONE.traceId],
      ['unwatched', OTHER.traceId],
    ]);
  });

  it('is off while no trace is watched', () => {
    const { lines, log } = open('trace');
    log.follow([]);
    log.note(ONE, { step: 'received' });
    expect([log.isOn, log.isWatched(ONE), lines]).toEqual([false, false, []]);
  });
});
