import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { type ConnectionOptions, connectionOptions, openRunner, parseOptions } from './redis/open-runner.ts';
import { RedisRollout } from './rollout/redis-rollout.ts';
import type { Rollout } from './rollout.ts';

const { sliceId, deadlineSeconds, attemptSeconds } = connectionOptions;
const optionsSchema = z.strictObject({ sliceId, deadlineSeconds, attemptSeconds });

/** Options of {@link createRollout}; every one has a default. `sliceId` is that of the store. */
export interface RolloutOptions extends Omit<ConnectionOptions, 'redisTtlSeconds'> {}

/**
 * What has to be known before the layout of a running system is changed.
 * @param client - As for `createRedisStore`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createRollout(client: Redis | Cluster, options: RolloutOptions = {}): Rollout {
  const { sliceId: slice, ...limits } = parseOptions('createRollout', optionsSchema, options);
  return new RedisRollout(openRunner(client, limits), slice === undefined ? {} : { sliceId: slice }, Math.random);
}
