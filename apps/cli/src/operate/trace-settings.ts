import { parseText, type TextSchema, textSchema } from '@spanbuf/service';
import { UsageError } from '../settings.ts';
import { projectId, traceId } from './id-schemas.ts';
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

/** @throws {@link UsageError} with every problem, on one line. */
export function parseTraceSettings(
  action: TraceAction,
  names: readonly string[],
  raw: RawTraceSettings,
): TraceSettings {
  if (action === 'list') return { action, isJson: raw.json === true };
  const problems: string[] = [];
  const read = <T>(what: string, schema: TextSchema<T>, text = ''): T => {
    try {
      return parseText(schema, text);
    } catch (error) {
      problems.push(`${what} ${(error as Error).message}`);
      return undefined as T;
    }
  };
  const trace = { projectId: read('PROJECT', projectId, names[0]), traceId: read('TRACE', traceId, names[1]) };
  const seconds = action === 'on' ? read('--for', duration, raw.for) : 0;
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  return action === 'on' ? { action, trace, seconds } : { action, trace };
}
