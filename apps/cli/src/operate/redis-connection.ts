import {
  connectRedis,
  InvalidSettingsError,
  parseSettings,
  readRedisConnection,
  redisSettings,
  type SettingsOf,
  sharedRules,
  storeSettings,
} from '@spanbuf/service';
import { type Command, Option } from 'commander';
import type { Cluster, Redis } from 'ioredis';
import { UsageError } from '../settings.ts';

/** How long to wait for a Redis at the start. */
const OPEN_SECONDS = 5;

/** What a command that works on a running system is told about its Redis. */
export interface RawRedisOptions {
  readonly redis?: string | undefined;
  readonly slice?: string | undefined;
}

/** For the help text of such a command. */
export const REDIS_NOTES = `What is not given comes from the environment, as for the services: SPANBUF_REDIS_URL,
SPANBUF_REDIS_USERNAME, SPANBUF_REDIS_PASSWORD, SPANBUF_REDIS_PASSWORD_FILE, SPANBUF_REDIS_TLS_CA_FILE, SPANBUF_SLICE_ID,
SPANBUF_REDIS_TTL_SECONDS, SPANBUF_DEDUPE_WINDOW_SECONDS and SPANBUF_CLOCK_GRACE_SECONDS. Give it what the flushers have.`;

/** Adds `--redis` and `--slice`. */
export function withRedisOptions(command: Command): Command {
  return command
    .addOption(new Option('--redis <URL>', 'Redis of the system: redis://…, rediss://…, redis-cluster://h1:p1,h2:p2'))
    .addOption(new Option('--slice <N>', 'number of the deployment, where several share a Redis'));
}

const definitions = {
  ...redisSettings,
  sliceId: storeSettings.sliceId,
  redisTtlSeconds: storeSettings.redisTtlSeconds,
  dedupeWindowSeconds: storeSettings.dedupeWindowSeconds,
  clockGraceSeconds: storeSettings.clockGraceSeconds,
} as const;

/** The Redis of a running system, with what has to be the same as its services have. */
export interface SystemRedis {
  readonly client: Redis | Cluster;
  readonly sliceId: number | undefined;
  readonly redisTtlSeconds: number;
  readonly dedupeWindowSeconds: number;
  readonly clockGraceSeconds: number;
  close(): void;
}

/**
 * Opens the Redis that the options name, else the environment.
 * @param command - What CLIENT LIST shows, after `spanbuf-`.
 * @throws {@link UsageError} for wrong options or settings; RedisNotOpenError within a few seconds.
 */
export async function openSystemRedis(
  raw: RawRedisOptions,
  env: Readonly<Record<string, string | undefined>>,
  command: string,
): Promise<SystemRedis> {
  const { settings, connection } = readSettings(raw, env);
  const client = await connectRedis(connection.location, {
    timeoutSeconds: OPEN_SECONDS,
    failsAtOnce: true,
    clientName: `spanbuf-${command}`,
    tlsCa: connection.tlsCa,
  });
  const { sliceId, redisTtlSeconds, dedupeWindowSeconds, clockGraceSeconds } = settings;
  const close = (): void => client.disconnect();
  return { client, sliceId, redisTtlSeconds, dedupeWindowSeconds, clockGraceSeconds, close };
}

function readSettings(raw: RawRedisOptions, env: Readonly<Record<string, string | undefined>>) {
  const options = [
    { name: redisSettings.redisUrl.name, option: '--redis', text: raw.redis },
    { name: storeSettings.sliceId.name, option: '--slice', text: raw.slice },
  ];
  const given = options.filter(({ text }) => text !== undefined);
  for (const { option, text } of given) if (text === '') throw new UsageError(`${option} must not be empty`);
  // The rest of a service's environment may be there as well, and is not ours to judge.
  const ours = {
    ...Object.fromEntries(Object.values(definitions).map(({ name }) => [name, env[name]])),
    ...Object.fromEntries(given.map(({ name, text }) => [name, text])),
  };
  try {
    const settings: SettingsOf<typeof definitions> = parseSettings(definitions, ours, { rules: sharedRules });
    return { settings, connection: readRedisConnection(settings) };
  } catch (error) {
    if (!(error instanceof InvalidSettingsError)) throw error;
    const inWords = (problem: string): string =>
      given
        .reduce((words, { name, option }) => words.replace(name, option), problem)
        .replace(/^(SPANBUF_REDIS_URL) is missing/, 'neither --redis nor $1 is given');
    throw new UsageError(error.problems.map(inWords).join('; '));
  }
}
