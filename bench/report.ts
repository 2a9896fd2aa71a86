/** What a run prints, and keeps as JSON: tables, and expectations with what was found. */

export interface Expectation {
  readonly what: string;
  readonly value: number;
  readonly limit: string;
  readonly holds: boolean;
}

export type Cell = string | number;

export class Report {
  readonly expectations: Expectation[] = [];
  /** By case: figures for whoever compares runs. */
  readonly figures: Record<string, unknown> = {};

  heading(text: string): void {
    console.log(`\n## ${text}\n`);
  }

  note(text: string): void {
    console.log(text);
  }

  table(header: readonly string[], rows: readonly (readonly Cell[])[]): void {
    const lines = [header, ...rows].map((row) => row.map(String));
    const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
    const print = (line: readonly string[]) =>
      console.log(
        line
          .map((cell, i) => pad(cell, widths[i] ?? 0, i))
          .join('  ')
          .trimEnd(),
      );
    for (const [i, line] of lines.entries()) {
      print(line);
      if (i === 0) console.log(widths.map((width) => '-'.repeat(width)).join('  '));
    }
    console.log();
  }

  /** @returns The value and whether it is as expected, for a table. */
  atLeast(what: string, value: number, least: number): string {
    return this.#expect(what, value, `>= ${least}`, value >= least);
  }

  atMost(what: string, value: number, most: number): string {
    return this.#expect(what, value, `<= ${most}`, value <= most);
  }

  #expect(what: string, value: number, limit: string, holds: boolean): string {
    this.expectations.push({ what, value, limit, holds });
    return `${value.toFixed(2)} ${holds ? 'PASS' : 'FAIL'} (${limit})`;
  }

  get passed(): boolean {
    return this.expectations.every(({ holds }) => holds);
  }
}

/** Words to the left, figures to the right. */
function pad(cell: string, width: number, column: number): string {
  return column === 0 || /[A-Za-z]{4}/.test(cell) ? cell.padEnd(width) : cell.padStart(width);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] as number;
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** `0.71 (0.65-0.80)`: median, smallest, largest. */
export function spread(values: readonly number[], digits: number): string {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return `${median(values).toFixed(digits)} (${least.toFixed(digits)}-${most.toFixed(digits)})`;
}
