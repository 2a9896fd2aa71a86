import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, inject, it } from 'vitest';
import { aLine, chunksOf, hex, LAYOUTS, type RunOptions, run, segmentsIn, spanIdsIn } from './spans.ts';

const sample = readFileSync(fileURLToPath(new URL('../../../samples/spans.ndjson', import.meta.url)));
const SAMPLE_SPANS = 2_634;
const SAMPLE_SEGMENTS = 253;

const bytesOf = (...lines: (string | Uint8Array)[]): Buffer[] =>
  lines.flatMap((line) => [Buffer.from(line), Buffer.from('\n')]);

describe('the recorded spans', () => {
  const reference = run(chunksOf(sample));

  it('all come out, in the segments of their traces', async () => {
    const { summary, lines } = await reference;
    expect(summary).toMatchObject({ spansIn: SAMPLE_SPANS, spansOut: SAMPLE_SPANS, refused: 0, unaccounted: 0 });
    expect(summary).toMatchObject({ segments: SAMPLE_SEGMENTS, laterGenerations: 0, isClean: true });
    expect(segmentsIn(lines).size).toBe(SAMPLE_SEGMENTS);
  });

  const kinds: [string, () => RunOptions][] = [
    ['memory, one span a batch', () => ({ batchSize: 1 })],
    ['memory, all in one batch', () => ({ batchSize: 100_000 })],
    ...[1, 2, 3].map((shuffleSeed): [string, () => RunOptions] => [
      `memory, shuffled with ${shuffleSeed}`,
      () => ({ shuffleSeed, batchSize: 7 ** shuffleSeed }),
    ]),
    ...LAYOUTS.flatMap((layout): [string, () => RunOptions][] => [
      [`one Redis, ${layout}`, () => ({ layout, store: inject('redisUrl'), batchSize: 500 })],
      [
        `a Redis Cluster, ${layout}`,
        () => ({ layout, store: inject('redisClusterUrl'), batchSize: 300, shuffleSeed: 4 }),
      ],
    ]),
  ];
  it.each(kinds)('come out as the same messages, byte for byte: %s', async (_name, options) => {
    const { lines, summary } = await run(chunksOf(sample), options());
    expect(summary.isClean).toBe(true);
    expect(segmentsIn(lines)).toEqual(segmentsIn((await reference).lines));
    expect([...lines].sort()).toEqual([...(await reference).lines].sort());
  });

  it('come out again, alike, in a second run on the same Redis', async () => {
    const store = inject('redisUrl');
    const [first, second] = [await run(chunksOf(sample), { store }), await run(chunksOf(sample), { store })];
    expect(second.lines.sort()).toEqual(first.lines.sort());
  });
});

describe('lines that are not spans', () => {
  const good = [aLine('1'), aLine('2', '1'), aLine('3', '2')] as const;
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
  const binary = Buffer.from(Array.from({ length: 4_096 }, (_, i) => (i * 7) % 256).filter((byte) => byte !== 0x0a));
  it.each<[string, string | Uint8Array]>([
    ['truncated JSON', aLine('9').slice(0, -5)],
    ['half a line of another', aLine('9').slice(20)],
    ['a number', '1'],
    ['an array', `[${aLine('9')}]`],
    ['null', 'null'],
    ['wrong types', aLine('9', undefined, { span_id: 9, is_segment: 'yes', received: 'now' })],
    ['an id with a colon', aLine('9', undefined, { span_id: '00000000000000:9' })],
    ['an id with a brace', aLine('9', undefined, { trace_id: '}{0d7fb9549c749b86f7e870c89c53b5' })],
    ['an id of 200 characters', aLine('9', undefined, { span_id: 'a'.repeat(200) })],
    ['a project that is a key', aLine('9', undefined, { project_id: '1}:{2' })],
    ['terminal controls', `\u001b[2J\u0007${aLine('9')}`],
    ['200,000 levels', deep],
    ['bytes', binary],
    ['UTF-16', Buffer.from(aLine('9'), 'utf16le')],
    ['50 MB', Buffer.alloc(50_000_000, 'x')],
  ])('are named, and no line beside them is lost: %s', async (_name, bad) => {
    const [first, second, third] = good;
    const { summary, lines, said } = await run(chunksOf(Buffer.concat(bytesOf(first, bad, second, bad, third))), {
      batchSize: 2,
    });
    expect(spanIdsIn(lines)).toEqual([hex('1'), hex('2'), hex('3')]);
    expect(summary).toMatchObject({ spansIn: 5, refused: 2, spansOut: 3, unaccounted: 0, isClean: false });
    expect(said.map((text) => text.slice(0, 20))).toEqual(['line 2: not a span: ', 'line 4: not a span: ']);
    for (const text of said) expect(text).toMatch(/^[ -~…]{1,700}\n$/);
  });

  it('are only counted after the first twenty', async () => {
    const { summary, said } = await run(bytesOf(...Array.from({ length: 1_500 }, () => '{}'), good[0]));
    expect(summary).toMatchObject({ spansIn: 1_501, refused: 1_500, spansOut: 1 });
    expect(said).toHaveLength(20 + 1 + 2);
    expect(said.at(-1)).toBe('1,000 lines refused so far\n');
  });

  it('may be all there is', async () => {
    expect((await run([])).summary).toMatchObject({ spansIn: 0, segments: 0, isClean: true });
    expect((await run([Buffer.from('\n\r\n \n')])).summary).toMatchObject({ spansIn: 0, isClean: true });
    expect((await run([binary])).summary).toMatchObject({ spansIn: 1, refused: 1, segments: 0 });
  });
});

describe('assemble', () => {
  it('keeps two equal lines', async () => {
    expect(spanIdsIn((await run(bytesOf(aLine('1'), aLine('1')))).lines)).toEqual([hex('1'), hex('1')]);
  });

  it('writes a segment that is too large in parts, under one id', async () => {
    const spans = Array.from({ length: 50 }, (_, i) => aLine((i + 2).toString(16), '1', { pad: 'x'.repeat(1_000) }));
    const limits = { maxSegmentBytes: 20_000, maxMessageBytes: 5_000 };
    const { summary, lines } = await run(bytesOf(aLine('1'), ...spans), { limits, batchSize: 5 });
    expect([...segmentsIn(lines)].map(([, ids]) => ids.length)).toEqual([51]);
    expect(summary).toMatchObject({ unaccounted: 0, spansOut: 51 });
    expect(summary.laterGenerations).toBeGreaterThan(0);
    expect(summary.messages).toBeGreaterThan(summary.segments);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(5_000);
  });

  it('writes segments as message time goes on, and late spans under the same id', async () => {
    const received = (seconds: number) => ({ received: 1_795_382_071 + seconds });
    const others = Array.from({ length: 400 }, (_, i) => aLine((i + 100).toString(16), undefined, received(i / 4)));
    const late = aLine('2', '1', received(100));
    const { summary, lines, said } = await run(bytesOf(aLine('1', undefined, received(0)), ...others, late), {
      batchSize: 10,
    });
    expect(said).toEqual([]);
    expect(summary.laterGenerations).toBe(1);
    expect(summary.format(1)).toContain('generations > 1: 1, messages: 402');
    expect([...segmentsIn(lines).values()]).toContainEqual([hex('1'), hex('2')]);
  });

  it('does not tear a segment apart for spans from 1970 and 2099', async () => {
    const lines = Array.from({ length: 300 }, (_, i) => {
      const hostile = i % 7 === 3 ? [1, 4_070_908_800][i % 2] : undefined;
      return aLine((i + 2).toString(16), '1', { received: hostile ?? 1_795_382_071 + i / 100 });
    });
    const { summary } = await run(bytesOf(...lines, aLine('1')), { batchSize: 10 });
    expect(summary).toMatchObject({ segments: 1, spansOut: 301, unaccounted: 0 });
  });
});
