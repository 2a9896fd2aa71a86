import { LAYOUTS, type LayoutName } from '@spanbuf/store';
import type { AssembleLimits } from './assemble.ts';
import { parseStoreLocation, type StoreLocation } from './store-location.ts';

/** Options of `spanbuf assemble` as they stand on the command line. */
export interface RawSettings {
  readonly output: string;
  readonly store: string;
  readonly layout?: string | undefined;
  readonly batchSize: string;
  readonly shuffle?: string | undefined;
  readonly rootTimeoutSeconds: string;
  readonly timeoutSeconds: string;
  readonly maxAgeSeconds: string;
  readonly maxSegmentBytes: string;
  readonly maxMessageBytes: string;
}

export interface Settings {
  /** A path, or `-` for stdin and stdout. */
  readonly input: string;
  readonly output: string;
  readonly store: StoreLocation;
  readonly layout: LayoutName;
  /** Whether a layout was asked for that the store does not have. */
  readonly hasIdleLayout: boolean;
  readonly batchSize: number;
  readonly shuffleSeed: number | undefined;
  readonly limits: AssembleLimits;
}

/** The command line is wrong; every problem is in the message, on one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export const DEFAULT_LAYOUT: LayoutName = 'distributed';
const MAX_BATCH_SIZE = 100_000;
const MAX_SEED = 2 ** 32 - 1;
const MAX_SECONDS = 30 * 86_400;
const MAX_BYTES = 2 ** 30;

/** @throws {@link UsageError} */
export function parseSettings(input: string, raw: RawSettings): Settings {
  const problems: string[] = [];
  const read = <T>(option: string, parse: () => T): T | undefined => {
    try {
      return parse();
    } catch (error) {
      problems.push(`${option} ${(error as Error).message}`);
      return undefined;
    }
  };
  const seconds = (option: string, text: string) => read(option, () => parseSeconds(text));
  const integer = (option: string, text: string, min: number, max: number) =>
    read(option, () => parseInteger(text, min, max));

  const settings = {
    input,
    output: raw.output,
    store: read('--store', () => parseStoreLocation(raw.store)),
    layout: read('--layout', () => parseLayout(raw.layout ?? DEFAULT_LAYOUT)),
    hasIdleLayout: raw.layout !== undefined && raw.store === 'memory',
    batchSize: integer('--batch-size', raw.batchSize, 1, MAX_BATCH_SIZE),
    shuffleSeed: raw.shuffle === undefined ? undefined : integer('--shuffle', raw.shuffle, 0, MAX_SEED),
    limits: {
      rootTimeoutSeconds: seconds('--root-timeout-seconds', raw.rootTimeoutSeconds),
      timeoutSeconds: seconds('--timeout-seconds', raw.timeoutSeconds),
      maxAgeSeconds: seconds('--max-age-seconds', raw.maxAgeSeconds),
      maxSegmentBytes: integer('--max-segment-bytes', raw.maxSegmentBytes, 1, MAX_BYTES),
      maxMessageBytes: integer('--max-message-bytes', raw.maxMessageBytes, 1, MAX_BYTES),
    },
  };
  if (input === '') problems.push('FILE must not be empty');
  if (raw.output === '') problems.push('--output must not be empty');
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  // Without a problem, everything has been read.
  return settings as Settings;
}

function parseLayout(text: string): LayoutName {
  const layout = LAYOUTS.find((name) => name === text);
  if (layout === undefined) throw new Error(`must be one of ${LAYOUTS.join(', ')}, got ${quote(text)}`);
  return layout;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || seconds <= 0 || seconds > MAX_SECONDS)
    throw new Error(`must be a number above 0, up to ${MAX_SECONDS}, got ${quote(text)}`);
  return seconds;
}

function parseInteger(text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw new Error(`must be an integer from ${min} to ${max}, got ${quote(text)}`);
  return value;
}

const QUOTED_CHARACTERS = 40;

function quote(text: string): string {
  return JSON.stringify(text.length > QUOTED_CHARACTERS ? `${text.slice(0, QUOTED_CHARACTERS)}…` : text);
}
