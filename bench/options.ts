import { parseArgs } from 'node:util';
import type { BenchCase } from './bench-case.ts';

export interface BenchOptions {
  /** In the order of the cases. */
  readonly names: readonly string[];
  readonly size: number;
  readonly report: boolean;
  readonly check: boolean;
  readonly saveBaseline: boolean;
}

/** The command line is wrong; the message says how. */
export class BenchUsageError extends Error {
  override readonly name = 'BenchUsageError';
}

export const USAGE = (cases: readonly BenchCase[]): string => `npm run bench [-- NAME… options]

Measures the named cases, or all of them, on Redis and Kafka that it starts itself. Each prints what it found, and leaves it
in build/bench/NAME.json.

${cases.map(({ name, title }) => `  ${name.padEnd(16)} ${title}`).join('\n')}

  --size F           a part of the full size, 0 < F <= 1: to see that it works
  --report           write the tables and charts of docs/performance.md from what is in build/bench
  --check            compare the ratios in build/bench with bench/baseline.json
  --save-baseline    make them the baseline
  --help             print this

With --report, --check or --save-baseline only the named cases are measured, none without names.

Exit codes: 0 everything is as expected; 1 something is not, or failed; 2 wrong usage.`;

/** @returns undefined when help is asked for. @throws {@link BenchUsageError} */
export function parseOptions(args: readonly string[], known: readonly string[]): BenchOptions | undefined {
  const flag = { type: 'boolean', default: false } as const;
  let parsed: ReturnType<typeof parse>;
  const parse = () =>
    parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        size: { type: 'string', default: '1' },
        report: flag,
        check: flag,
        'save-baseline': flag,
        help: flag,
      },
    });
  try {
    parsed = parse();
  } catch (error) {
    throw new BenchUsageError((error as Error).message.split('\n')[0], { cause: error });
  }
  const { values, positionals } = parsed;
  if (values.help) return undefined;
  const unknown = positionals.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new BenchUsageError(`unknown: ${unknown.join(', ')}; there are: ${known.join(', ')}`);
  const size = Number(values.size);
  if (!(size > 0 && size <= 1)) throw new BenchUsageError(`--size must be above 0, at most 1, got ${values.size}`);
  const { report, check, 'save-baseline': saveBaseline } = values;
  const all = positionals.length === 0 && !report && !check && !saveBaseline;
  const names = known.filter((name) => all || positionals.includes(name));
  return { names, size, report, check, saveBaseline };
}
