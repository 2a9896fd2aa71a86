/**
 * The ratios of a run that was believed, and the comparison with them. Machines are noisy, so a ratio may be worse by a
 * generous factor; what it finds is that something has become slower for good, not that it has become a little slower.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { CaseResult, Ratio } from './result.ts';
import { median } from './statistics.ts';
import { textTable } from './text-table.ts';

/** A ratio may be so many times worse. */
export const TOLERANCE = 1.4;

const FILE = new URL('../baseline.json', import.meta.url);

/** Case -> name of a ratio -> its median. */
export type Baseline = Readonly<Record<string, Readonly<Record<string, number>>>>;

export interface Comparison {
  readonly case: string;
  readonly ratio: string;
  readonly baseline: number;
  readonly value: number;
  /** How many times worse; below 1 when it is better. */
  readonly worseBy: number;
  readonly holds: boolean;
}

export interface Check {
  readonly compared: readonly Comparison[];
  /** Cases, and ratios of cases, that the baseline does not know, or that were measured at another size. */
  readonly skipped: readonly string[];
}

export function compare(results: readonly CaseResult[], baseline: Baseline): Check {
  const compared: Comparison[] = [];
  const skipped: string[] = [];
  for (const result of results) {
    const known = baseline[result.case];
    if (known === undefined) skipped.push(`${result.case}: not in the baseline`);
    else if (result.size !== 1) skipped.push(`${result.case}: measured at size ${result.size}`);
    else {
      for (const ratio of result.ratios) {
        const before = known[ratio.name];
        if (before === undefined) skipped.push(`${result.case}: ${ratio.name}: not in the baseline`);
        else compared.push(comparisonOf(result.case, ratio, before));
      }
    }
  }
  return { compared, skipped };
}

function comparisonOf(name: string, { name: ratio, values, better }: Ratio, baseline: number): Comparison {
  const value = median(values);
  const worseBy = better === 'higher' ? baseline / value : value / baseline;
  return { case: name, ratio, baseline, value, worseBy, holds: worseBy <= TOLERANCE };
}

/** Keeps what the baseline says of cases that were not measured. */
export function baselineOf(results: readonly CaseResult[], before: Baseline): Baseline {
  const measured = results
    .filter(({ size, ratios }) => size === 1 && ratios.length > 0)
    .map((result) => [
      result.case,
      Object.fromEntries(result.ratios.map(({ name, values }) => [name, Number(median(values).toFixed(3))])),
    ]);
  const all: Baseline = { ...before, ...Object.fromEntries(measured) };
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function writeBaseline(results: readonly CaseResult[]): void {
  writeFileSync(FILE, `${JSON.stringify(baselineOf(results, readBaseline()), undefined, 2)}\n`);
}

/** Prints the comparison. @returns whether nothing is too much worse, and something was compared. */
export function checkBaseline(results: readonly CaseResult[]): boolean {
  const { compared, skipped } = compare(results, readBaseline());
  console.log(`\nratios against the baseline; one that is more than ${TOLERANCE} times worse fails`);
  const rows = compared.map(({ case: name, ratio, baseline, value, worseBy, holds }) => [
    `${name}: ${ratio}`,
    baseline.toFixed(2),
    value.toFixed(2),
    worseBy.toFixed(2),
    holds ? 'ok' : 'WORSE',
  ]);
  console.log(textTable(['', 'baseline', 'now', 'times worse', ''], rows));
  for (const text of skipped) console.log(`not compared: ${text}`);
  if (compared.length === 0) console.log('nothing was compared: run some cases first');
  return compared.length > 0 && compared.every(({ holds }) => holds);
}

function readBaseline(): Baseline {
  return JSON.parse(readFileSync(FILE, 'utf8')) as Baseline;
}
