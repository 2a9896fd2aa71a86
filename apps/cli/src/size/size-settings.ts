import {
  bytes,
  integer,
  listOf,
  parseText,
  positiveSeconds,
  seconds,
  type TextSchema,
  topicName,
} from '@spanbuf/service';
import { UsageError } from '../settings.ts';
import type { CandidateSettings } from './candidate.ts';

/** Options of `spanbuf size` as they stand on the command line. */
export interface RawSizeSettings {
  readonly topic?: string | undefined;
  readonly kafka?: string | undefined;
  readonly spans: string;
  readonly rootTimeoutSeconds: string;
  readonly timeoutSeconds: string;
  readonly maxAgeSeconds: string;
  readonly maxSegmentBytes: string;
  readonly dedupeWindowSeconds: string;
  readonly batchMs: string;
  readonly json?: boolean | undefined;
}

/** A file, `-` for stdin; or a topic, and brokers where the environment does not name them. */
export type SizeInput =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'topic'; readonly topic: string; readonly brokers: string | undefined };

export interface SizeSettings {
  readonly input: SizeInput;
  readonly mostSpans: number;
  readonly candidates: readonly CandidateSettings[];
  readonly dedupeWindowSeconds: number;
  readonly batchSeconds: number;
  readonly isJson: boolean;
}

export const SIZE_DEFAULTS = {
  spans: '200000',
  rootTimeoutSeconds: '2,5,10,30',
  timeoutSeconds: '60',
  maxAgeSeconds: '600',
  maxSegmentBytes: '1048576,10485760',
  dedupeWindowSeconds: '120',
  batchMs: '50',
} as const;

const MAX_SPANS = 10_000_000;
/** Each takes its share of memory and time. */
const MAX_CANDIDATES = 64;
const MONTH_SECONDS = 30 * 86_400;

/** @throws {@link UsageError} with every problem, on one line. */
export function parseSizeSettings(file: string | undefined, raw: RawSizeSettings): SizeSettings {
  const problems: string[] = [];
  const read = <T>(option: string, schema: TextSchema<T>, text: string): T => {
    try {
      return parseText(schema, text);
    } catch (error) {
      problems.push(`${option} ${(error as Error).message}`);
      return undefined as T;
    }
  };
  const settings = {
    input: inputOf(file, raw, problems),
    mostSpans: read('--spans', integer(1, MAX_SPANS), raw.spans),
    dedupeWindowSeconds: read('--dedupe-window-seconds', seconds(0, MONTH_SECONDS), raw.dedupeWindowSeconds),
    batchSeconds: read('--batch-ms', integer(0, 60_000), raw.batchMs) / 1_000,
    isJson: raw.json === true,
  };
  if (settings.input.kind === 'topic') read('--topic', topicName(), settings.input.topic);
  const lists = {
    rootTimeouts: read('--root-timeout-seconds', listOf(positiveSeconds(MONTH_SECONDS)), raw.rootTimeoutSeconds),
    timeouts: read('--timeout-seconds', listOf(positiveSeconds(MONTH_SECONDS)), raw.timeoutSeconds),
    maxAges: read('--max-age-seconds', listOf(positiveSeconds(MONTH_SECONDS)), raw.maxAgeSeconds),
    maxSegmentBytes: read('--max-segment-bytes', listOf(bytes()), raw.maxSegmentBytes),
  };
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  const candidates = candidatesOf(lists);
  if (candidates.length > MAX_CANDIDATES)
    throw new UsageError(`at most ${MAX_CANDIDATES} combinations can be tried at once, these are ${candidates.length}`);
  const tooOld = candidates.find((one) => Math.max(one.rootTimeoutSeconds, one.timeoutSeconds) > one.maxAgeSeconds);
  if (tooOld !== undefined)
    throw new UsageError(
      `--root-timeout-seconds and --timeout-seconds must not be above --max-age-seconds (${tooOld.maxAgeSeconds})`,
    );
  return { ...settings, candidates };
}

function inputOf(file: string | undefined, { topic, kafka }: RawSizeSettings, problems: string[]): SizeInput {
  if (topic === undefined) {
    if (kafka !== undefined) problems.push('--kafka needs --topic');
    if (file === '') problems.push('FILE must not be empty');
    return { kind: 'file', path: file ?? '-' };
  }
  if (file !== undefined) problems.push('give FILE or --topic, not both');
  return { kind: 'topic', topic, brokers: kafka };
}

function candidatesOf(lists: {
  readonly rootTimeouts: readonly number[];
  readonly timeouts: readonly number[];
  readonly maxAges: readonly number[];
  readonly maxSegmentBytes: readonly number[];
}): CandidateSettings[] {
  const unique = (values: readonly number[]) => [...new Set(values)];
  return unique(lists.maxSegmentBytes).flatMap((maxSegmentBytes) =>
    unique(lists.maxAges).flatMap((maxAgeSeconds) =>
      unique(lists.timeouts).flatMap((timeoutSeconds) =>
        unique(lists.rootTimeouts).map((rootTimeoutSeconds) => {
          return { rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds, maxSegmentBytes };
        }),
      ),
    ),
  );
}
