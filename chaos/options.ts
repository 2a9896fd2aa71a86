import { parseArgs } from 'node:util';
import type { CommitMode } from './chaos-system.ts';
import { FAULT_NAMES, type FaultName } from './schedule.ts';

export interface ChaosArguments {
  readonly minutes: number;
  readonly mode: CommitMode;
  readonly seed: number;
  readonly faults: readonly FaultName[];
  readonly spansPerSecond: number;
  /** Where the report goes. */
  readonly folder: string;
}

/** The command line is wrong; the message says how. */
export class ChaosUsageError extends Error {
  override readonly name = 'ChaosUsageError';
}

export const USAGE = `npm run chaos [-- options]

Runs all of spanbuf on this machine under load, and brings faults upon it: Redis Cluster with replicas, a Kafka broker, two
consumers, two flushers, as processes, with proxies between them. Then everything heals, and every span is looked for.

  --minutes N    of load (default 20)
  --mode M       buffered or flushed: SPANBUF_COMMIT of the apps (default buffered)
  --seed S       decides which faults, when, whom and for how long, and the load (default 1)
  --faults A,B   only these: ${wrapped(FAULT_NAMES)}
  --rate N       spans a second (default 1500)
  --report DIR   for report.md, report.json and logs (default build/chaos)
  --help         print this

Exit codes: 0 nothing was lost but what a fault destroyed in Redis (in flushed mode: nothing at all); 1 it was, or something
failed; 2 wrong usage.`;

/** @param rootFolder - Of the repository. @throws {@link ChaosUsageError} @returns undefined when help is asked for. */
export function parseOptions(args: readonly string[], rootFolder: string): ChaosArguments | undefined {
  const text = { type: 'string' } as const;
  const number = (option: string, value: string, least: number, most: number): number => {
    const parsed = Number(value);
    if (/^\d+(\.\d+)?$/.test(value) && parsed >= least && parsed <= most) return parsed;
    throw new ChaosUsageError(`--${option} must be a number from ${least} to ${most}, got ${JSON.stringify(value)}`);
  };
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        minutes: { ...text, default: '20' },
        mode: { ...text, default: 'buffered' },
        seed: { ...text, default: '1' },
        faults: { ...text, default: FAULT_NAMES.join() },
        rate: { ...text, default: '1500' },
        report: { ...text, default: `${rootFolder}/build/chaos` },
        help: { type: 'boolean' },
      },
    });
    if (values.help) return undefined;
    if (values.mode !== 'buffered' && values.mode !== 'flushed')
      throw new ChaosUsageError(`--mode must be buffered or flushed, got ${JSON.stringify(values.mode)}`);
    const seed = number('seed', values.seed, 0, 2 ** 32 - 1);
    if (!Number.isInteger(seed)) throw new ChaosUsageError(`--seed must be an integer, got ${values.seed}`);
    return {
      minutes: number('minutes', values.minutes, 0.1, 24 * 60),
      mode: values.mode,
      seed,
      faults: values.faults.split(',').map(faultNamed),
      spansPerSecond: number('rate', values.rate, 1, 100_000),
      folder: values.report,
    };
  } catch (error) {
    if (error instanceof ChaosUsageError) throw error;
    // parseArgs says what it does not know.
    throw new ChaosUsageError((error as Error).message.split('\n')[0], { cause: error });
  }
}

function faultNamed(text: string): FaultName {
  const name = FAULT_NAMES.find((each) => each === text);
  if (name === undefined) throw new ChaosUsageError(`--faults names ${JSON.stringify(text)}, which is none`);
  return name;
}

function wrapped(names: readonly string[]): string {
  const lines = [''];
  for (const name of names) {
    if (`${lines.at(-1)}${name}`.length > 90) lines.push('');
    lines[lines.length - 1] += `${name}, `;
  }
  return lines.join(`\n${' '.repeat(17)}`).replace(/, $/, '');
}
