/** Parts of what `spanbuf inspect`, `queues` and `top` show that take no Redis. */
import { PassThrough } from 'node:stream';
import { type PartitionTotals, type StoredSpan, StoreUnavailableError } from '@spanbuf/store';
import { describe, expect, it } from 'vitest';
import { showLive } from '../src/operate/live-screen.ts';
import { RateWindow } from '../src/operate/message-rates.ts';
import type { LiveHost } from '../src/operate/operate-host.ts';
import { orOutage } from '../src/operate/outage-frame.ts';
import { bytesText, durationText, timeText } from '../src/operate/quantities.ts';
import { formatSpanTree, missingParentsOf } from '../src/operate/span-tree.ts';
import { formatTop, type TopFrame } from '../src/operate/top-text.ts';

const id = (digit: string): string => digit.repeat(16);
const [A, B, C, D] = ['a', 'b', 'c', 'd'].map(id) as [string, string, string, string];

function aSpan(spanId: string, parentId: string, payload: object | string = {}, offset = 0n): StoredSpan {
  const bytes = Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload));
  return { spanId, parentId, partition: 0, offset, payload: bytes };
}

describe('the tree of spans', () => {
  it('follows the parents that payloads name, whatever order the spans are in', () => {
    const spans = [
      aSpan(C, A, { name: 'c', parent_span_id: B.toUpperCase() }, 1n),
      aSpan(B, A, { name: 'b', parent_span_id: A }, 2n),
      aSpan(A, A, { name: 'a', parent_span_id: D }, 3n),
    ];
    expect(formatSpanTree(spans, 10)).toEqual([`${A}  a`, `  ${B}  b`, `    ${C}  c`]);
    expect(missingParentsOf(spans)).toEqual([]);
  });

  it('shows a missing parent once, below the root where that is known, and what is known of it', () => {
    const spans = [
      aSpan(A, A, { name: 'a' }),
      aSpan(B, A, { name: 'b', parent_span_id: D }, 1n),
      aSpan(C, A, { name: 'c', parent_span_id: D }, 2n),
    ];
    expect(formatSpanTree(spans, 10, (spanId) => `known of ${spanId[0]}`)).toEqual([
      `${A}  a`,
      `  ${D}  is missing: known of d`,
      `    ${B}  b`,
      `    ${C}  c`,
    ]);
    expect(missingParentsOf(spans)).toEqual([D]);
  });

  it('shows spans whose parents go round in a circle, doubles, and what is no JSON', () => {
    const spans = [
      aSpan(B, C, {}, 1n),
      aSpan(C, B, 'nonsense', 2n),
      aSpan(B, C, { name: 'again' }, 3n),
      aSpan(D, D, 'null', 4n),
    ];
    expect(formatSpanTree(spans, 10)).toEqual([
      `${D}  (not JSON)`,
      `${B}  (no name)`,
      `  ${C}  (not JSON)`,
      `    ${B}  again`,
    ]);
  });

  it('begins with the root of the segment, where that is missing too', () => {
    const spans = [
      aSpan(B, A, { name: 'b', parent_span_id: D }, 1n),
      aSpan(C, A, { name: 'c', parent_span_id: B }, 2n),
    ];
    expect(formatSpanTree(spans, 10)).toEqual([
      `${A}  is missing`,
      `  ${D}  is missing`,
      `    ${B}  b`,
      `      ${C}  c`,
    ]);
    expect(missingParentsOf(spans)).toEqual([A, D]);
  });

  it('is bounded, and says how much is left', () => {
    const spans = Array.from({ length: 5_000 }, (_, i) => {
      const [spanId, parentId] = [i, i - 1].map((at) => (at + 1).toString(16).padStart(16, '0')) as [string, string];
      return aSpan(spanId, parentId, { name: `${i}` }, BigInt(i));
    });
    const lines = formatSpanTree(spans, 100);
    expect(lines).toHaveLength(101);
    // One line is that of the parent of the first one.
    expect(lines.at(-1)).toBe('… and 4901 more: --json shows all');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(120);
  });
});

describe('rates', () => {
  const books = (partition: number, taken: number, counts: Record<string, number>, base = 0): PartitionTotals => ({
    partition,
    source: 'topic',
    baseOffset: BigInt(base),
    takenOffset: BigInt(taken),
    counts: new Map(Object.entries(counts)),
    openCount: 0,
    againCount: 0,
  });

  it('are of the last ten seconds, by how messages ended', () => {
    const window = new RateWindow();
    expect(window.add(0, [books(0, 100, { idle: 5 })])).toBeUndefined();
    expect(window.add(2_000, [books(0, 300, { idle: 25, invalid: 2 })])).toEqual({
      seconds: 2,
      readPerSecond: 100,
      producedPerSecond: 10,
      produced: [['idle', 10]],
      others: [['invalid', 1]],
      againPerSecond: 0,
    });
    window.add(11_000, [books(0, 300, { idle: 25 })]);
    expect(window.add(12_000, [books(0, 1_300, { idle: 25 })])).toMatchObject({ seconds: 10, readPerSecond: 100 });
  });

  it('leave out books that were begun anew or come up meanwhile', () => {
    const window = new RateWindow();
    window.add(0, [books(0, 1_000, { idle: 900 })]);
    const rates = window.add(1_000, [books(0, 500, { idle: 1 }, 400), books(1, 70, { idle: 70 }), books(2, 5, {})]);
    expect(rates).toMatchObject({ readPerSecond: 0, produced: [], others: [] });
    expect(window.add(2_000, [books(0, 600, { idle: 3 }, 400)])).toMatchObject({ readPerSecond: 0 });
  });
});

describe('quantities', () => {
  it('have two digits or more, and a unit', () => {
    expect([0, 1_023, 1_024, 1_536 * 1_024, 5 * 2 ** 30].map(bytesText)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 MiB',
      '5.0 GiB',
    ]);
    expect([0.04, 119.9, 600, 7_200, 172_800, -3].map(durationText)).toEqual([
      '0.0 s',
      '119.9 s',
      '10 min',
      '2.0 h',
      '2.0 d',
      '-3.0 s',
    ]);
    expect([0, 1_700_000_000.9, 1e300, Number.NaN].map(timeText)).toEqual([
      '1970-01-01T00:00:00Z',
      '2023-11-14T22:13:20Z',
      '1e+300',
      'NaN',
    ]);
  });
});

describe('a frame of top', () => {
  const load = {
    usedBytes: 2 ** 30,
    maxBytes: 2 ** 31,
    peakBytes: 2 ** 30,
    evictedKeys: 0,
    commandsPerSecond: 12_345,
    inputBytesPerSecond: 0,
    outputBytesPerSecond: 0,
    clientCount: 5,
  };
  const figures = (shard: number, overdueSeconds: number) => ({
    shard,
    clock: undefined,
    messageSeconds: 0,
    queuedCount: 10,
    dueCount: 1,
    oldestDueSeconds: 0,
    overdueSeconds,
    inFlightCount: 0,
    endedLeaseCount: 0,
    nextLeaseEndSeconds: undefined,
    parkedCount: 0,
    triedCount: 0,
    lanes: [],
  });
  const frame: TopFrame = {
    queues: { redisSeconds: 0, liveFlushers: 0, shards: [figures(0, 1), figures(1, 3), figures(2, 2)] },
    nodes: [
      { node: 'h:1', load },
      { node: 'h:2', load: undefined },
    ],
    sample: {
      entryCount: 30_000,
      isWhole: false,
      sampledCount: 1_000,
      spanCount: 2_000,
      payloadBytes: 2 ** 21,
      projects: [{ projectId: '7', entryCount: 900, spanCount: 1_800, payloadBytes: 2 ** 20 }],
      traces: [],
    },
    rates: undefined,
    hasBooks: true,
    openCount: 5,
  };

  it('tells what went out from what ended otherwise', () => {
    const rates = {
      seconds: 10,
      readPerSecond: 1_234.5,
      producedPerSecond: 1_000,
      produced: [['root-idle', 995] as const, ['idle', 5] as const],
      others: [['invalid', 0.25] as const],
      againPerSecond: 3,
    };
    expect(formatTop({ ...frame, rates }, 2)[1]).toBe(
      'messages  in 1,235/s, out 1,000/s (root-idle 995, idle 5.0); invalid 0.3, again 3.0; over 10.0 s',
    );
  });

  it('shows the shards with most trouble, estimates as such, and nodes that do not answer', () => {
    const lines = formatTop(frame, 2);
    const shards = lines.slice(lines.findIndex((line) => line.includes('SHARD')) + 1);
    expect(shards.slice(0, 3).map((line) => line.trim().split(/ +/)[0])).toEqual(['1', '2', '…']);
    expect(lines).toContainEqual(expect.stringMatching(/^h:1 +1\.0 GiB +2\.0 GiB +50 % .* 12,345 /));
    expect(lines).toContainEqual(expect.stringMatching(/^h:2 +no answer$/));
    expect(lines).toContainEqual(expect.stringMatching(/PROJECT \(by lot: 1,000 of 30,000 queued segments\)$/));
    expect(lines).toContainEqual(expect.stringMatching(/^ *~27,000 +~54,000 +~30\.0 MiB +50 % +7$/));
  });
});

describe('a live screen', () => {
  class Terminal extends PassThrough {
    readonly isTTY = true;
    columns = 20;
    rows = 3;
    isRaw = false;
    setRawMode(isRaw: boolean): this {
      this.isRaw = isRaw;
      return this;
    }
  }

  function aHost() {
    const [stdin, stdout, stop] = [new Terminal(), new Terminal(), new AbortController()];
    let shown = '';
    stdout.on('data', (chunk) => {
      shown += chunk;
    });
    const host = { env: {}, stdin, stdout, signal: stop.signal, monotonicMs: () => 0 } as unknown as LiveHost;
    return { host, stdin, stop, shown: () => shown };
  }

  it('shows frame after frame, cut to what there is room for, and gives the terminal back when q is pressed', async () => {
    const { host, stdin, shown } = aHost();
    let frames = 0;
    const end = showLive(host, 0.001, async () => {
      frames++;
      if (frames === 3) stdin.write('q');
      return [`frame ${frames}`, 'a line that is longer than that', 'three', 'four'];
    });
    expect(stdin.isRaw).toBe(true);
    await end;
    expect(stdin.isRaw).toBe(false);
    expect(frames).toBeGreaterThanOrEqual(3);
    expect(shown().startsWith('\x1b[?1049h\x1b[?25l')).toBe(true);
    expect(shown().endsWith('\x1b[?25h\x1b[?1049l')).toBe(true);
    expect(shown()).toContain('\x1b[Hframe 2\x1b[K\r\na line that is long…\x1b[K\r\nthree\x1b[K\x1b[J');
    expect(shown()).not.toContain('four');
  });

  it.each(['signal', 'error'])('gives the terminal back after a %s', async (how) => {
    const { host, stdin, stop, shown } = aHost();
    const end = showLive(host, 60, async () => {
      if (how === 'error') throw new Error('a bug');
      setImmediate(() => stop.abort());
      return ['frame'];
    });
    if (how === 'error') await expect(end).rejects.toThrow('a bug');
    else await end;
    expect(shown().endsWith('\x1b[?1049l')).toBe(true);
    expect(stdin.isRaw).toBe(false);
  });

  it('shows that Redis is away, and does not hide any other error', async () => {
    const away = () => Promise.reject(new StoreUnavailableError('no answer\nat all'));
    expect(await orOutage(away)).toEqual(['Redis does not answer, and is asked again:', '  no answer\\u{a}at all']);
    await expect(orOutage(() => Promise.reject(new TypeError('bug')))).rejects.toThrow(TypeError);
  });
});
