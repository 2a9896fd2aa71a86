/** Writes docs/performance.md, its charts, and the results behind both. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fillBlocks } from './markdown.ts';
import type { CaseResult } from './result.ts';
import { readResults, writeResult } from './result-files.ts';
import { svgChart } from './svg-chart.ts';

export const DOCS = join(import.meta.dirname, '..', '..', 'docs');

const pageOf = (docs: string) => join(docs, 'performance.md');
const chartsOf = (docs: string) => join(docs, 'performance');
const resultsOf = (docs: string) => join(docs, 'performance', 'results');

/** Keeps results for the page; those of a smaller size are none. */
export function takeOver(results: readonly CaseResult[], docs = DOCS): void {
  for (const result of results) {
    if (result.size === 1) writeResult(result, resultsOf(docs));
    else console.log(`not reported: ${result.case} was measured at size ${result.size}`);
  }
}

/** From the results that are kept, and nothing else. */
export function writePage(docs = DOCS): void {
  const results = readResults(resultsOf(docs));
  const page = readFileSync(pageOf(docs), 'utf8');
  mkdirSync(chartsOf(docs), { recursive: true });
  for (const name of readdirSync(chartsOf(docs))) if (name.endsWith('.svg')) rmSync(join(chartsOf(docs), name));
  for (const chart of results.flatMap(({ charts }) => charts)) {
    writeFileSync(join(chartsOf(docs), `${chart.id}.svg`), svgChart(chart));
  }
  writeFileSync(pageOf(docs), fillBlocks(page, results));
}
