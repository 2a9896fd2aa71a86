import { parseText, positiveSeconds, seconds, type TextSchema } from '@spanbuf/service';
import { UsageError } from '../settings.ts';
import type { RawRedisOptions } from './redis-connection.ts';

/** Options of `spanbuf audit` as they stand on the command line. */
export interface RawAuditSettings extends RawRedisOptions {
  readonly repair?: boolean | undefined;
  readonly writeOff?: boolean | undefined;
  readonly minAge?: string | undefined;
  readonly maxLease?: string | undefined;
  readonly json?: boolean | undefined;
}

export interface AuditSettings {
  readonly repair: boolean;
  readonly writeOff: boolean;
  /** `undefined`: as the auditor has it. */
  readonly minAgeSeconds: number | undefined;
  readonly maxLeaseSeconds: number | undefined;
  readonly isJson: boolean;
}

const DAY_SECONDS = 86_400;

/** @throws {@link UsageError} with every problem, on one line. */
export function parseAuditSettings(raw: RawAuditSettings): AuditSettings {
  const problems: string[] = [];
  const value = (option: string, schema: TextSchema<number>, text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    try {
      return parseText(schema, text);
    } catch (error) {
      problems.push(`${option} ${(error as Error).message}`);
      return undefined;
    }
  };
  const settings = {
    repair: raw.repair === true,
    writeOff: raw.writeOff === true,
    minAgeSeconds: value('--min-age', seconds(0, 30 * DAY_SECONDS), raw.minAge),
    maxLeaseSeconds: value('--max-lease', positiveSeconds(DAY_SECONDS), raw.maxLease),
    isJson: raw.json === true,
  };
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  return settings;
}
