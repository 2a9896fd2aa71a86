import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import type { LossWatch } from './loss-watch.ts';
import {
  type ConnectionOptions,
  connectionOptions,
  openRunner,
  parseOptions,
  processClock,
} from './redis/open-runner.ts';
import { RedisLossWatch } from './redis/redis-loss-watch.ts';
import type { RunnerClock } from './redis/redis-runner.ts';

const optionsSchema = z.strictObject(connectionOptions);

/** Options of {@link createLossWatch}; every one has a default. `sliceId` is that of the store. */
export interface LossWatchOptions extends ConnectionOptions {}

/**
 * Watches the Redis of one slice for losses.
 * @param client - As for `createRedisStore`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createLossWatch(client: Redis | Cluster, options: LossWatchOptions = {}): LossWatch {
  return createLossWatchIn(client, options, processClock);
}

/** As {@link createLossWatch}, by a clock that is under control: for tests that replay exactly. */
export function createLossWatchIn(client: Redis | Cluster, options: LossWatchOptions, clock: RunnerClock): LossWatch {
  const { sliceId, redisTtlSeconds, ...limits } = parseOptions('createLossWatch', optionsSchema, options);
  return new RedisLossWatch(openRunner(client, limits, clock), { sliceId, redisTtlSeconds });
}
