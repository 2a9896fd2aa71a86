import { bytes, integer, oneOf, parseText, positiveSeconds, type TextSchema } from '@spanbuf/service';
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
  const value = <T>(option: string, schema: TextSchema<T>, text: string) => read(option, () => parseText(schema, text));
  const seconds = positiveSeconds(MAX_SECONDS);

  const settings = {
    input,
    output: raw.output,
    store: read('--store', () => parseStoreLocation(raw.store)),
    layout: value('--layout', oneOf(LAYOUTS), raw.layout ?? DEFAULT_LAYOUT),
    hasIdleLayout: raw.layout !== undefined && raw.store === 'memory',
    batchSize: value('--batch-size', integer(1, MAX_BATCH_SIZE), raw.batchSize),
    shuffleSeed: raw.shuffle === undefined ? undefined : value('--shuffle', integer(0, MAX_SEED), raw.shuffle),
    limits: {
      rootTimeoutSeconds: value('--root-timeout-seconds', seconds, raw.rootTimeoutSeconds),
      timeoutSeconds: value('--timeout-seconds', seconds, raw.timeoutSeconds),
      maxAgeSeconds: value('--max-age-seconds', seconds, raw.maxAgeSeconds),
      maxSegmentBytes: value('--max-segment-bytes', bytes(), raw.maxSegmentBytes),
      maxMessageBytes: value('--max-message-bytes', bytes(), raw.maxMessageBytes),
    },
  };
  if (input === '') problems.push('FILE must not be empty');
  if (raw.output === '') problems.push('--output must not be empty');
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  // Without a problem, everything has been read.
  return settings as Settings;
}
