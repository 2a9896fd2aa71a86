import { integer } from '@spanbuf/service';
import { projectId, traceId } from './id-schemas.ts';
import { OptionReader } from './option-reader.ts';
import type { RawRedisOptions } from './redis-connection.ts';

/** Options of `spanbuf inspect` as they stand on the command line. */
export interface RawInspectSettings extends RawRedisOptions {
  readonly payloads?: string | undefined;
  readonly json?: boolean | undefined;
}

export interface InspectSettings {
  readonly trace: { readonly projectId: string; readonly traceId: string };
  readonly mostPayloads: number;
  readonly isJson: boolean;
}

const DEFAULT_PAYLOADS = '1000';
const MAX_PAYLOADS = 1_000_000;

/** @throws UsageError with every problem, on one line. */
export function parseInspectSettings(project: string, trace: string, raw: RawInspectSettings): InspectSettings {
  const reader = new OptionReader();
  const settings = {
    trace: { projectId: reader.read('PROJECT', projectId, project), traceId: reader.read('TRACE', traceId, trace) },
    mostPayloads: reader.read('--payloads', integer(1, MAX_PAYLOADS), raw.payloads ?? DEFAULT_PAYLOADS),
    isJson: raw.json === true,
  };
  reader.end();
  return settings;
}
