import { parseArgs } from 'node:util';

export interface StackOptions {
  /** Undefined: until it is stopped. */
  readonly spans: number | undefined;
  /** Spans a second; undefined: as fast as Kafka takes them. */
  readonly rate: number | undefined;
  readonly consumers: number;
  readonly flushers: number;
  readonly partitions: number;
  readonly seed: number;
  /** As in `spanbuf generate`. */
  readonly invalidShare: string;
  readonly lateShare: string;
  /** Whether to judge the output once all is out. */
  readonly verify: boolean;
  /** Settings of the apps. */
  readonly consumerEnv: Readonly<Record<string, string>>;
  readonly flusherEnv: Readonly<Record<string, string>>;
}

/** The command line is wrong; the message says how. */
export class StackUsageError extends Error {
  override readonly name = 'StackUsageError';
}

const DEFAULT_RATE = 1_000;

export const USAGE = `npm run stack [-- options]

Runs all of spanbuf on this machine: a three-node Redis Cluster, a Kafka broker, consumers, flushers and a load, on free
loopback ports. Shows what flows, until Ctrl-C. With --spans it ends by itself: once all is out, it judges the output.

  --spans N          send so many and end (default: without end)
  --rate N           spans a second (default: ${DEFAULT_RATE}; with --spans as fast as Kafka takes them)
  --consumers N      default 1
  --flushers N       default 1
  --partitions N     of the input topic (default 4)
  --seed N           of the load (default 1)
  --invalid-share S  of messages that are no spans, 0 to 1 (default 0)
  --late-share S     of segments with a late span, 0 to 1 (default 0.01)
  --no-verify        do not judge the output
  --consumer-env SPANBUF_X=Y, --flusher-env SPANBUF_X=Y
                     a setting of the consumers, or flushers; as often as needed
  --help             print this

Exit codes: 0 everything came out right, or it was stopped; 1 it did not, or something failed; 2 wrong usage.`;

/** @throws {@link StackUsageError} @returns undefined when help is asked for. */
export function parseOptions(args: readonly string[]): StackOptions | undefined {
  const text = { type: 'string' } as const;
  const number = (option: string, value: string | undefined, least: number, most: number): number | undefined => {
    if (value === undefined) return undefined;
    const parsed = Number(value);
    if (/^\d+(\.\d+)?$/.test(value) && parsed >= least && parsed <= most) return parsed;
    throw new StackUsageError(`--${option} must be a number from ${least} to ${most}, got ${JSON.stringify(value)}`);
  };
  const integer = (option: string, value: string, most: number, least = 1): number => {
    const parsed = number(option, value, least, most) as number;
    if (!Number.isInteger(parsed)) throw new StackUsageError(`--${option} must be an integer, got ${value}`);
    return parsed;
  };
  try {
    const { values } = parseArgs({
      args: [...args],
      allowNegative: true,
      options: {
        spans: text,
        rate: text,
        consumers: { ...text, default: '1' },
        flushers: { ...text, default: '1' },
        partitions: { ...text, default: '4' },
        seed: { ...text, default: '1' },
        'invalid-share': { ...text, default: '0' },
        'late-share': { ...text, default: '0.01' },
        'consumer-env': { ...text, multiple: true, default: [] },
        'flusher-env': { ...text, multiple: true, default: [] },
        verify: { type: 'boolean', default: true },
        help: { type: 'boolean' },
      },
    });
    if (values.help) return undefined;
    const spans = values.spans === undefined ? undefined : integer('spans', values.spans, 1e9);
    number('invalid-share', values['invalid-share'], 0, 1);
    number('late-share', values['late-share'], 0, 1);
    return {
      spans,
      rate: number('rate', values.rate, 0.001, 1_000_000) ?? (spans === undefined ? DEFAULT_RATE : undefined),
      consumers: integer('consumers', values.consumers, 50),
      flushers: integer('flushers', values.flushers, 50),
      partitions: integer('partitions', values.partitions, 1_000),
      seed: integer('seed', values.seed, Number.MAX_SAFE_INTEGER, 0),
      invalidShare: values['invalid-share'],
      lateShare: values['late-share'],
      verify: values.verify,
      consumerEnv: environmentOf('consumer-env', values['consumer-env']),
      flusherEnv: environmentOf('flusher-env', values['flusher-env']),
    };
  } catch (error) {
    if (error instanceof StackUsageError) throw error;
    // parseArgs says what it does not know.
    throw new StackUsageError((error as Error).message.split('\n')[0], { cause: error });
  }
}

function environmentOf(option: string, settings: readonly string[]): Record<string, string> {
  const pairs = settings.map((setting) => {
    const equals = setting.indexOf('=');
    if (equals < 1) throw new StackUsageError(`--${option} must be NAME=VALUE, got ${JSON.stringify(setting)}`);
    return [setting.slice(0, equals), setting.slice(equals + 1)];
  });
  return Object.fromEntries(pairs);
}
