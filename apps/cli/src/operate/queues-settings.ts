import { seconds } from '@spanbuf/service';
import { OptionReader } from './option-reader.ts';
import type { RawRedisOptions } from './redis-connection.ts';

/** Options of `spanbuf queues` as they stand on the command line. */
export interface RawQueuesSettings extends RawRedisOptions {
  readonly watch?: boolean | undefined;
  readonly interval?: string | undefined;
  readonly json?: boolean | undefined;
}

export interface QueuesSettings {
  readonly isWatching: boolean;
  readonly intervalSeconds: number;
  readonly isJson: boolean;
}

const DEFAULT_INTERVAL = '2';

/** Not so often that looking becomes a load. */
export const intervalSeconds = seconds(0.5, 3_600);

/** @throws UsageError with every problem, on one line. */
export function parseQueuesSettings(raw: RawQueuesSettings): QueuesSettings {
  const reader = new OptionReader();
  const settings = {
    isWatching: raw.watch === true,
    intervalSeconds: reader.read('--interval', intervalSeconds, raw.interval ?? DEFAULT_INTERVAL),
    isJson: raw.json === true,
  };
  if (raw.interval !== undefined && raw.watch !== true) reader.refuse('--interval is of use with --watch alone');
  reader.end();
  return settings;
}
