import { randomBytes } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { RedisAuditor } from './audit/redis-auditor.ts';
import type { Auditor } from './auditor.ts';
import {
  type ConnectionOptions,
  connectionOptions,
  DAY_SECONDS,
  openRunner,
  parseOptions,
} from './redis/open-runner.ts';

/** Longer than a consumer takes from writing a payload to queueing its segment. */
const DEFAULT_AGE_SECONDS = 30;
/** A consumer that is frozen in between and wakes up goes on: what it wrote must still be there. */
const DEFAULT_PAYLOAD_AGE_SECONDS = 3_600;

const optionsSchema = z.strictObject({
  ...connectionOptions,
  minAgeSeconds: z
    .number()
    .min(0)
    .max(30 * DAY_SECONDS)
    .optional(),
  maxLeaseSeconds: z.number().positive().max(DAY_SECONDS).default(DAY_SECONDS),
});

/** Options of {@link createAuditor}; every one has a default. `sliceId` and `redisTtlSeconds` are those of the store. */
export interface AuditorOptions extends ConnectionOptions {
  /**
   * How long something must have been wrong to count, 0 to 30 days; default 30, and 3,600 for payloads that nobody refers
   * to. Shorter only where no consumer runs.
   */
  minAgeSeconds?: number | undefined;
  /** The longest lease that any flusher takes, above 0, up to a day, which is the default. */
  maxLeaseSeconds?: number | undefined;
}

/**
 * Checks what the stores of a deployment have in Redis, and mends it on request.
 * @param client - As for `createRedisStore`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createAuditor(client: Redis | Cluster, options: AuditorOptions = {}): Auditor {
  const { deadlineSeconds, attemptSeconds, minAgeSeconds, ...settings } = parseOptions(
    'createAuditor',
    optionsSchema,
    options,
  );
  return new RedisAuditor(openRunner(client, { deadlineSeconds, attemptSeconds }), {
    ...settings,
    sliceId: settings.sliceId,
    minAgeSeconds: minAgeSeconds ?? DEFAULT_AGE_SECONDS,
    minPayloadAgeSeconds: minAgeSeconds ?? DEFAULT_PAYLOAD_AGE_SECONDS,
    nextToken: () => randomBytes(9).toString('base64url'),
  });
}
