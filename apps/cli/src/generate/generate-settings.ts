import { UsageError } from '../settings.ts';
import type { LoadOptions } from './load.ts';

/** Options of `spanbuf generate` as they stand on the command line. */
export interface RawGenerateSettings {
  readonly spans?: string | undefined;
  readonly rate?: string | undefined;
  readonly seed: string;
  readonly start?: string | undefined;
  readonly projects: string;
  readonly invalidShare: string;
  readonly lateShare: string;
  readonly output?: string | undefined;
  readonly kafka?: string | undefined;
  readonly topic?: string | undefined;
  readonly partitions?: string | undefined;
  readonly compression?: string | undefined;
  readonly key?: string | undefined;
}

export interface GenerateSettings {
  readonly load: LoadOptions;
  readonly target: FileTarget | KafkaTarget;
}

export interface FileTarget {
  readonly kind: 'file';
  /** `-` is stdout. */
  readonly path: string;
}

export interface KafkaTarget {
  readonly kind: 'kafka';
  /** `host:port`, comma separated. */
  readonly brokers: string;
  readonly topic: string;
  /** Of the topic, should it have to be created; undefined: it has to be there. */
  readonly partitionCount: number | undefined;
  readonly compression: Compression;
  /** Whether the spans of a trace go to one partition. */
  readonly isKeyed: boolean;
  /** Whether a message waits until its time has come. */
  readonly isPaced: boolean;
  /** Whether messages carry the time of sending, and not that of the load. */
  readonly isStampedAtSending: boolean;
}

export const COMPRESSIONS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
export type Compression = (typeof COMPRESSIONS)[number];
const KEYS = ['trace', 'none'] as const;

export const DEFAULT_RATE = 10_000;
export const DEFAULT_TOPIC = 'ingest-spans';
const MAX_RATE = 1_000_000;
const MAX_PARTITIONS = 10_000;
const MAX_PROJECTS = 1_000_000;
/** Year 2242, as far as message times are taken to be times. */
const MAX_START_SECONDS = 2 ** 33;

/**
 * @param nowSeconds - Unix time, where the load begins unless told otherwise.
 * @throws {@link UsageError} with every problem, on one line.
 */
export function parseGenerateSettings(raw: RawGenerateSettings, nowSeconds: number): GenerateSettings {
  const problems: string[] = [];
  const number = (option: string, text: string, limits: NumberLimits): number => {
    const value = Number(text);
    const isNumber = (limits.isWhole ? /^\d+$/ : /^\d+(\.\d+)?$/).test(text);
    if (isNumber && value >= limits.least && value <= limits.most) return value;
    const what = limits.isWhole ? 'an integer' : 'a number';
    problems.push(`${option} must be ${what} from ${limits.least} to ${limits.most}, got ${quote(text)}`);
    return Number.NaN;
  };
  const oneOf = <T extends string>(option: string, text: string, values: readonly T[]): T => {
    const value = values.find((each) => each === text);
    if (value === undefined) problems.push(`${option} must be one of ${values.join(', ')}, got ${quote(text)}`);
    return value as T;
  };
  const text = (option: string, value: string): string => {
    if (value.trim() === '') problems.push(`${option} must not be empty`);
    return value;
  };

  const load: LoadOptions = {
    seed: number('--seed', raw.seed, { isWhole: true, least: 0, most: Number.MAX_SAFE_INTEGER }),
    startSeconds:
      raw.start === undefined ? nowSeconds : number('--start', raw.start, { least: 0, most: MAX_START_SECONDS }),
    messagesPerSecond:
      raw.rate === undefined ? DEFAULT_RATE : number('--rate', raw.rate, { least: 0.001, most: MAX_RATE }),
    messageCount:
      raw.spans === undefined
        ? Number.POSITIVE_INFINITY
        : number('--spans', raw.spans, { isWhole: true, least: 1, most: 1e12 }),
    invalidShare: number('--invalid-share', raw.invalidShare, { least: 0, most: 1 }),
    lateShare: number('--late-share', raw.lateShare, { least: 0, most: 1 }),
    projectCount: number('--projects', raw.projects, { isWhole: true, least: 1, most: MAX_PROJECTS }),
    isForLines: raw.kafka === undefined,
  };
  const target: FileTarget | KafkaTarget =
    raw.kafka === undefined
      ? { kind: 'file', path: text('--output', raw.output ?? '-') }
      : {
          kind: 'kafka',
          brokers: text('--kafka', raw.kafka),
          topic: text('--topic', raw.topic ?? DEFAULT_TOPIC),
          partitionCount:
            raw.partitions === undefined
              ? undefined
              : number('--partitions', raw.partitions, { isWhole: true, least: 1, most: MAX_PARTITIONS }),
          compression: oneOf('--compression', raw.compression ?? 'zstd', COMPRESSIONS),
          isKeyed: oneOf('--key', raw.key ?? 'trace', KEYS) === 'trace',
          isPaced: raw.rate !== undefined,
          // At full speed the times of the load would run ahead of the clock, or lag behind it.
          isStampedAtSending: raw.rate === undefined && raw.start === undefined,
        };
  problems.push(...contradictions(raw));
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  return { load, target };
}

interface NumberLimits {
  readonly isWhole?: boolean;
  readonly least: number;
  readonly most: number;
}

function contradictions(raw: RawGenerateSettings): string[] {
  const problems: string[] = [];
  if (raw.kafka !== undefined && raw.output !== undefined) problems.push('give --output or --kafka, not both');
  if (raw.kafka === undefined) {
    for (const option of ['topic', 'partitions', 'compression', 'key'] as const)
      if (raw[option] !== undefined) problems.push(`--${option} is for --kafka`);
    if (raw.spans === undefined) problems.push('--spans is needed: a file has an end');
  } else if (raw.spans === undefined && raw.rate === undefined) {
    problems.push('--spans or --rate is needed: without end and as fast as possible is too much');
  }
  return problems;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
