import { integer, parseText, type TextSchema } from '@spanbuf/service';
import type { ParkedQuery } from '@spanbuf/store';
import { UsageError } from '../settings.ts';
import { projectId, traceId } from './id-schemas.ts';
import { type ParkedName, parseParkedName } from './parked-name.ts';
import type { RawRedisOptions } from './redis-connection.ts';

export type ParkedAction = 'list' | 'show' | 'retry' | 'delete';

/** Options of `spanbuf parked` as they stand on the command line. */
export interface RawParkedSettings extends RawRedisOptions {
  readonly shard?: string | undefined;
  readonly project?: string | undefined;
  readonly trace?: string | undefined;
  readonly limit?: string | undefined;
  readonly all?: boolean | undefined;
  readonly yes?: boolean | undefined;
  readonly json?: boolean | undefined;
}

export interface ParkedSettings {
  readonly action: ParkedAction;
  /** Which segments; empty: those that `query` finds. */
  readonly names: readonly ParkedName[];
  readonly query: ParkedQuery;
  readonly isConfirmed: boolean;
  readonly isJson: boolean;
}

const MAX_SHARD = 2 ** 24 - 1;
const MAX_LIMIT = 1_000_000;
/** What is looked at is few; what is put back or deleted is all that was asked for. */
const LIMITS: Readonly<Record<ParkedAction, number>> = {
  list: 100,
  show: 10,
  retry: Number.MAX_SAFE_INTEGER,
  delete: Number.MAX_SAFE_INTEGER,
};

/** @throws {@link UsageError} with every problem, on one line. */
export function parseParkedSettings(
  action: ParkedAction,
  names: readonly string[],
  raw: RawParkedSettings,
): ParkedSettings {
  const problems: string[] = [];
  const read = <T>(parse: () => T): T | undefined => {
    try {
      return parse();
    } catch (error) {
      problems.push((error as Error).message);
      return undefined;
    }
  };
  const value = <T>(option: string, schema: TextSchema<T>, text: string | undefined): T | undefined => {
    if (text === undefined) return undefined;
    return read(() => {
      try {
        return parseText(schema, text);
      } catch (error) {
        throw new Error(`${option} ${(error as Error).message}`);
      }
    });
  };
  const shard = value('--shard', integer(0, MAX_SHARD), raw.shard);
  const project = value('--project', projectId, raw.project);
  const trace = value('--trace', traceId, raw.trace);
  const limit = value('--limit', integer(1, MAX_LIMIT), raw.limit) ?? LIMITS[action];
  const parsedNames = names.flatMap((name) => read(() => parseParkedName(name)) ?? []);
  const selecting = ['shard', 'project', 'trace', 'limit'] as const;
  const isSelected = selecting.some((option) => raw[option] !== undefined) || raw.all === true;
  if (names.length > 0 && isSelected) problems.push('name segments, or select them by options, not both');
  const changes = action === 'retry' || action === 'delete';
  if (changes && names.length === 0 && !isSelected)
    problems.push(`name what to ${action}, select it by --shard, --project or --trace, or give --all`);
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  return {
    action,
    names: parsedNames,
    query: {
      ...(shard !== undefined && { shards: [shard] }),
      ...(project !== undefined && { projectId: project }),
      ...(trace !== undefined && { traceId: trace }),
      limit,
    },
    isConfirmed: raw.yes === true,
    isJson: raw.json === true,
  };
}
