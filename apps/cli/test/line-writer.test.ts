import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { LineWriter } from '../src/line-writer.ts';

describe('LineWriter', () => {
  it('says what it could not write, and why', async () => {
    const disk = new Writable({ write: (_chunk, _encoding, done) => done(new Error('ENOSPC: no space left, write')) });
    const writer = new LineWriter(disk, 'out.ndjson');
    await writer.write(Buffer.from('{}'));
    await expect(writer.flush()).rejects.toThrow('cannot write out.ndjson: no space left');
  });

  it('waits for a slow stream', async () => {
    const waiting: (() => void)[] = [];
    const slow = new Writable({ write: (_chunk, _encoding, done) => void waiting.push(done) });
    const writer = new LineWriter(slow, 'out.ndjson');
    let isDone = false;
    const written = writer.write(Buffer.alloc(1_000_000)).then(() => {
      isDone = true;
    });
    await new Promise(setImmediate);
    expect(isDone).toBe(false);
    waiting[0]?.();
    await written;
    expect(isDone).toBe(true);
  });
});
