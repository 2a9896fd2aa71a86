import {
  bufferSettings,
  flowSettings,
  InvalidSettingsError,
  kafkaSettings,
  oneOf,
  parseSettings,
  parseText,
  redisSettings,
  type SettingsOf,
  sharedRules,
  storeSettings,
} from '@spanbuf/service';
import { UsageError } from '../settings.ts';

/** Options of `spanbuf doctor` as they stand on the command line. */
export interface RawDoctorSettings {
  readonly app?: string | undefined;
  readonly json?: boolean | undefined;
}

export const APPS = ['consumer', 'flusher'] as const;
export type AppName = (typeof APPS)[number];

const definitions = {
  ...redisSettings,
  ...kafkaSettings,
  ...storeSettings,
  ...bufferSettings,
  ...flowSettings,
} as const;

/** What the services are told, as far as it can be looked at from outside. */
export type SystemSettings = SettingsOf<typeof definitions>;

export interface DoctorSettings {
  readonly system: SystemSettings;
  /** For whom everything must be right. */
  readonly apps: readonly AppName[];
  readonly isJson: boolean;
}

/** @throws {@link UsageError} with every problem, on one line. */
export function parseDoctorSettings(
  raw: RawDoctorSettings,
  env: Readonly<Record<string, string | undefined>>,
): DoctorSettings {
  const problems: string[] = [];
  let apps: readonly AppName[] = APPS;
  try {
    if (raw.app !== undefined) apps = [parseText(oneOf(APPS), raw.app)];
  } catch (error) {
    problems.push(`--app ${(error as Error).message}`);
  }
  // The rest of a service's environment may be there as well: each service judges its own.
  const ours = Object.fromEntries(Object.values(definitions).map(({ name }) => [name, env[name]]));
  let system: SystemSettings | undefined;
  try {
    system = parseSettings(definitions, ours, { rules: sharedRules });
  } catch (error) {
    if (!(error instanceof InvalidSettingsError)) throw error;
    problems.push(...error.problems);
  }
  if (system === undefined || problems.length > 0) throw new UsageError(problems.join('; '));
  return { system, apps, isJson: raw.json === true };
}
