import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { CASES } from '../cases.ts';
import { ASSUMPTIONS, costsOf, needsOf } from '../report/extrapolation.ts';
import { fillBlocks } from '../report/markdown.ts';
import { markdownTable } from '../report/markdown-table.ts';
import { readResults } from '../report/result-files.ts';
import { svgChart } from '../report/svg-chart.ts';
import { DOCS, takeOver, writePage } from '../report/write-page.ts';
import { aResult } from './a-result.ts';

const block = (name: string, text = '') => `<!-- generated: ${name} -->\n${text}<!-- end of generated -->`;

it('writes page, charts and results, and the same again when nothing was measured', () => {
  const docs = mkdtempSync(join(tmpdir(), 'spanbuf-docs-'));
  onTestFinished(() => rmSync(docs, { recursive: true }));
  mkdirSync(join(docs, 'performance'));
  writeFileSync(join(docs, 'performance', 'gone.svg'), 'of a chart that is no more');
  writeFileSync(join(docs, 'performance.md'), `# Speed\n\n${block('case typical', 'old\n')}\n\nWritten by hand.\n`);
  takeOver([aResult(), aResult({ case: 'small', size: 0.1 })], docs);
  writePage(docs);
  const page = readFileSync(join(docs, 'performance.md'), 'utf8');
  expect(page).toContain('![A < B](performance/a-chart.svg)');
  expect(page).toContain('| process | 4.2 |');
  expect(page).toContain('Written by hand.');
  expect(page).not.toContain('old');
  expect(existsSync(join(docs, 'performance', 'a-chart.svg'))).toBe(true);
  expect(existsSync(join(docs, 'performance', 'gone.svg'))).toBe(false);
  expect(readResults(join(docs, 'performance', 'results')).map((result) => result.case)).toEqual(['typical']);
  writePage(docs);
  expect(readFileSync(join(docs, 'performance.md'), 'utf8')).toBe(page);
});

it('says of what was not measured that it was not', () => {
  expect(fillBlocks(block('case flat'), [aResult()])).toContain('Not measured yet');
  expect(fillBlocks(block('extrapolation'), [aResult()])).toContain('Needs the cases');
});

it('refuses a block that nobody can fill, and a page without any', () => {
  expect(() => fillBlocks(block('nonsense'), [])).toThrow('nonsense');
  expect(() => fillBlocks('# nothing', [])).toThrow('no block');
});

it('shows on the page that is there what its results say, and every case', () => {
  const page = readFileSync(join(DOCS, 'performance.md'), 'utf8');
  expect(fillBlocks(page, readResults(join(DOCS, 'performance', 'results')))).toBe(page);
  for (const { name } of CASES) expect(page).toContain(`<!-- generated: case ${name} -->`);
});

it('draws every bar to scale, with its range, and the limit', () => {
  const svg = svgChart({
    id: 'x',
    title: 'a < b & c',
    unit: 'us',
    bars: [
      { label: 'half', value: 1 },
      { label: 'whole', value: 2, least: 1.5, most: 2 },
    ],
    limit: { value: 1.2, label: 'at most' },
  });
  const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width));
  expect(widths).toHaveLength(2);
  expect((widths[1] as number) / (widths[0] as number)).toBeCloseTo(2, 2);
  expect(svg).toContain('a &lt; b &amp; c');
  expect(svg).toContain('2.00 (1.50-2.00)');
  expect(svg).toContain('at most');
});

it('puts figures to the right, and keeps cells in their columns', () => {
  const table = markdownTable({ title: '', header: ['', 'us', 'what'], rows: [['a|b', '1.20 (1.00-2.00) PASS', 'x']] });
  expect(table).toBe('|  | us | what |\n|---|---:|---|\n| a\\|b | 1.20 (1.00-2.00) PASS | x |');
});

it('extrapolates in proportion to what a span costs', () => {
  const costs = {
    consumerMicros: 30,
    flusherMicros: 24,
    kafkaMicros: 6,
    redisMicros: 12,
    redisInBytes: 1_100,
    redisOutBytes: 1_150,
    heldBytes: 1_200,
    keptBytes: 60,
    inputBytes: 150,
    outputBytes: 120,
    partitionSpansPerSecond: 40_000,
  };
  const needs = needsOf(costs);
  expect(needs.consumers).toBe(50);
  expect(needs.flushers).toBe(40);
  // 14 s of 1,200 bytes and 120 s of 60 bytes for each of a million spans.
  expect(needs.redisMemoryBytes).toBe(24e9);
  expect(needs).toMatchObject({ redisMasters: 20, redisLimit: 'CPU', partitions: 100 });
  expect(needs.redisGbitPerSecond).toBeCloseTo(18);
  expect(needsOf({ ...costs, heldBytes: 60_000 }).redisLimit).toBe('memory');
  expect(needsOf({ ...costs, consumerMicros: 60 }).consumers).toBe(100);
  expect(ASSUMPTIONS.spansPerSecond).toBe(1_000_000);
});

it('takes costs only from a complete set of results', () => {
  expect(costsOf([aResult()])).toBeUndefined();
});
