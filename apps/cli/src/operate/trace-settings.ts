import { textSchema } from '@spanbuf/service';
import { projectId, traceId } from './id-schemas.ts';
import { OptionReader } from './option-reader.ts';
import type { RawRedisOptions } from './redis-connection.ts';

export type TraceAction = 'on' | 'off' | 'list';

/** Options of `spanbuf trace` as they stand on the command line. */
export interface RawTraceSettings extends RawRedisOptions {
  readonly for?: string | undefined;
  readonly json?: boolean | undefined;
}

export type TraceSettings =
  | { readonly action: 'list'; readonly isJson: boolean }
  | { readonly action: 'off'; readonly trace: NamedTrace }
  | { readonly action: 'on'; readonly trace: NamedTrace; readonly seconds: number };

interface NamedTrace {
  readonly projectId: string;
  readonly traceId: string;
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3_600 };
const MAX_SECONDS = 86_400;

const duration = textSchema('seconds, or 90s, 10m, 2h, from 1s to 24h', (text) => {
  const { count, unit = '' } = /^(?<count>\d{1,6})(?<unit>[smh]?)$/.exec(text)?.groups ?? {};
  const seconds = Number(count) * (UNIT_SECONDS[unit] as number);
  return seconds >= 1 && seconds <= MAX_SECONDS ? seconds : undefined;
});

/** @throws UsageError with every problem, on one line. */
export function parseTraceSettings(
  action: TraceAction,
  names: readonly string[],
  raw: RawTraceSettings,
): TraceSettings {
  if (action === 'list') return { action, isJson: raw.json === true };
  const [project = '', traceText = ''] = names;
  const reader = new OptionReader();
  const trace = {
    projectId: reader.read('PROJECT', projectId, project),
    traceId: reader.read('TRACE', traceId, traceText),
  };
  const seconds = action === 'on' ? reader.read('--for', duration, raw.for ?? '') : 0;
  reader.end();
  return action === 'on' ? { action, trace, seconds } : { action, trace };
}
