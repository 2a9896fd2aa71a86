import { MAX_SHARD } from '@spanbuf/keys';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { InvalidStoreOptionsError } from '../errors.ts';
import { RedisRunner, type RunnerClock } from './redis-runner.ts';

export const DAY_SECONDS = 86_400;

/** Options that whatever works on Redis has in common. */
export const connectionOptions = {
  sliceId: z.int().min(0).max(MAX_SHARD).optional(),
  // Redis expires by whole seconds; longer is safe, shorter is not.
  redisTtlSeconds: z
    .number()
    .positive()
    .max(365 * DAY_SECONDS)
    .default(DAY_SECONDS)
    .transform(Math.ceil),
  deadlineSeconds: z.number().positive().max(DAY_SECONDS).default(30),
  attemptSeconds: z.number().positive().max(DAY_SECONDS).default(5),
};

/** The same, as callers give them. */
export interface ConnectionOptions {
  /** Prefix of this deployment's queues, 0 to 16,777,215: deployments with different slices may share a Redis. */
  sliceId?: number | undefined;
  /**
   * How long a key lives that nobody touches, above 0, up to a year; default 86,400. A net against leaks, not a policy: payloads
   * live at least as long as their segment may wait, whatever is set here.
   */
  redisTtlSeconds?: number | undefined;
  /** How long a command is tried again while Redis is away, fails over or moves slots; default 30. */
  deadlineSeconds?: number | undefined;
  /** How long one attempt may stay unanswered before its connection counts as lost; default 5. */
  attemptSeconds?: number | undefined;
}

/** @throws {@link InvalidStoreOptionsError} that names every option that is wrong. */
export function parseOptions<S extends z.ZodType>(of: string, schema: S, options: unknown): z.output<S> {
  const parsed = schema.safeParse(options);
  if (parsed.success) return parsed.data;
  throw new InvalidStoreOptionsError(`options of ${of}: ${z.prettifyError(parsed.error)}`);
}

/** Of this process. */
export const processClock: RunnerClock = {
  nowMs: () => performance.now(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** @throws {@link InvalidStoreOptionsError} for a key prefix that would be honoured for some commands alone. */
export function openRunner(
  client: Redis | Cluster,
  { deadlineSeconds, attemptSeconds }: { readonly deadlineSeconds: number; readonly attemptSeconds: number },
  clock: RunnerClock = processClock,
): RedisRunner {
  if (client.isCluster && client.options.keyPrefix !== (client as Cluster).options.redisOptions?.keyPrefix) {
    // ioredis would put it before the keys of single commands, and leave it out in pipelines of a node.
    throw new InvalidStoreOptionsError('keyPrefix of a Cluster must be set in redisOptions');
  }
  return new RedisRunner(client, { deadlineMs: deadlineSeconds * 1000, attemptMs: attemptSeconds * 1000, clock });
}
