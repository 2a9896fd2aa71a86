import { integer } from '@spanbuf/service';
import { OptionReader } from './option-reader.ts';
import { intervalSeconds } from './queues-settings.ts';
import type { RawRedisOptions } from './redis-connection.ts';

/** Options of `spanbuf top` as they stand on the command line. */
export interface RawTopSettings extends RawRedisOptions {
  readonly once?: boolean | undefined;
  readonly interval?: string | undefined;
  readonly sample?: string | undefined;
}

export interface TopSettings {
  readonly isOnce: boolean;
  readonly intervalSeconds: number;
  readonly sampleSize: number;
}

const DEFAULT_INTERVAL = '2';
const DEFAULT_SAMPLE = '1000';
const MAX_SAMPLE = 10_000;

/** @throws UsageError with every problem, on one line. */
export function parseTopSettings(raw: RawTopSettings): TopSettings {
  const reader = new OptionReader();
  const settings = {
    isOnce: raw.once === true,
    intervalSeconds: reader.read('--interval', intervalSeconds, raw.interval ?? DEFAULT_INTERVAL),
    sampleSize: reader.read('--sample', integer(1, MAX_SAMPLE), raw.sample ?? DEFAULT_SAMPLE),
  };
  reader.end();
  return settings;
}
