/** What a case says while it runs: printed at once, and kept as a result. */
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { CaseResult, Chart, Expectation, Ratio, Table } from './result.ts';
import { median, spread } from './statistics.ts';
import { textTable } from './text-table.ts';

/** What is wanted of a value. */
export interface Wanted {
  readonly acceptance: number;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface CaseHead {
  readonly name: string;
  readonly title: string;
  readonly floor: string;
}

export class Recording {
  readonly #head: CaseHead;
  readonly #size: number;
  readonly #startedMs = performance.now();
  readonly #workload: string[] = [];
  readonly #ratios: Ratio[] = [];
  readonly #expectations: Expectation[] = [];
  readonly #tables: Table[] = [];
  readonly #charts: Chart[] = [];
  readonly #notes: string[] = [];
  readonly #figures: Record<string, number> = {};

  constructor(head: CaseHead, size: number) {
    this.#head = head;
    this.#size = size;
    console.log(`\n## ${head.name}: ${head.title}\n\nfloor: ${head.floor}`);
    if (size !== 1) console.log(`size: ${size}, so the figures are none to be compared with`);
  }

  workload(text: string): void {
    this.#workload.push(text);
    console.log(`workload: ${text}`);
  }

  /** What it does at the moment. */
  progress(text: string): void {
    if (process.stdout.isTTY) console.log(`… ${text}`);
  }

  note(text: string): void {
    this.#notes.push(text);
    console.log(`${text}\n`);
  }

  table(title: string, header: readonly string[], rows: readonly (readonly string[])[]): void {
    this.#tables.push({ title, header, rows });
    console.log(`\n${title}\n${textTable(header, rows)}\n`);
  }

  /** A ratio, from several runs. @returns It as text, with the verdict where something is wanted of it. */
  ratio({ name, values, better }: Ratio, wanted?: Wanted): string {
    this.#ratios.push({ name, values: values.map(rounded), better });
    return spread(values) + (wanted === undefined ? '' : ` ${this.#judge(name, median(values), wanted)}`);
  }

  /** @returns The value as text, with the verdict. */
  expect(what: string, value: number, wanted: Wanted, digits = 2): string {
    return `${value.toFixed(digits)} ${this.#judge(what, value, wanted)}`;
  }

  #judge(what: string, value: number, { acceptance, atLeast, atMost }: Wanted): 'PASS' | 'FAIL' {
    const holds = value >= (atLeast ?? Number.NEGATIVE_INFINITY) && value <= (atMost ?? Number.POSITIVE_INFINITY);
    const limit = atLeast === undefined ? `<= ${atMost}` : `>= ${atLeast}`;
    this.#expectations.push({ acceptance, what, value: rounded(value), limit, holds });
    return holds ? 'PASS' : 'FAIL';
  }

  chart(chart: Chart): void {
    this.#charts.push(chart);
  }

  figure(name: string, value: number): void {
    this.#figures[name] = rounded(value);
  }

  /** Prints what was expected, and ends the case. */
  finish(redis: string): CaseResult {
    const seconds = Math.round((performance.now() - this.#startedMs) / 1000);
    if (this.#expectations.length > 0) {
      const rows = this.#expectations.map(({ acceptance, what, value, limit, holds }) => [
        what,
        `${acceptance}`,
        value.toFixed(2),
        limit,
        holds ? 'PASS' : 'FAIL',
      ]);
      console.log(textTable(['what', 'item', 'found', 'expected', ''], rows));
    }
    console.log(`${this.#head.name}: ${seconds} s`);
    return {
      case: this.#head.name,
      title: this.#head.title,
      workload: this.#workload,
      floor: this.#head.floor,
      size: this.#size,
      machine: {
        cpu: cpus()[0]?.model ?? 'unknown',
        cores: availableParallelism(),
        memoryGib: Math.round(totalmem() / 2 ** 30),
        node: process.version,
        redis,
      },
      seconds,
      ratios: this.#ratios,
      expectations: this.#expectations,
      tables: this.#tables,
      charts: this.#charts,
      notes: this.#notes,
      figures: this.#figures,
    };
  }
}

/** Six digits that count are more than the machine can repeat. */
function rounded(value: number): number {
  return Number(value.toPrecision(6));
}
