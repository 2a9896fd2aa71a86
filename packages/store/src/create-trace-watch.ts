import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { type ConnectionOptions, connectionOptions, openRunner, parseOptions } from './redis/open-runner.ts';
import { RedisTraceWatch } from './redis/redis-trace-watch.ts';
import type { TraceWatch } from './trace-watch.ts';

const { redisTtlSeconds: _, ...watchOptions } = connectionOptions;
const optionsSchema = z.strictObject(watchOptions);

/** Options of {@link createTraceWatch}; every one has a default. `sliceId` is that of the store. */
export interface TraceWatchOptions extends Omit<ConnectionOptions, 'redisTtlSeconds'> {}

/**
 * Which traces of one slice are watched, in the Redis that holds its segments.
 * @param client - As for `createRedisStore`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createTraceWatch(client: Redis | Cluster, options: TraceWatchOptions = {}): TraceWatch {
  const { sliceId, ...limits } = parseOptions('createTraceWatch', optionsSchema, options);
  return new RedisTraceWatch(openRunner(client, limits), sliceId);
}
