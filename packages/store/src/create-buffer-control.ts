import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import type { BufferControl } from './buffer-control.ts';
import { type ConnectionOptions, connectionOptions, openRunner, parseOptions } from './redis/open-runner.ts';
import { RedisBufferControl } from './redis/redis-buffer-control.ts';

const optionsSchema = z.strictObject(connectionOptions);

/** Options of {@link createBufferControl}; every one has a default. `sliceId` is that of the store. */
export interface BufferControlOptions extends ConnectionOptions {}

/**
 * What consumers and flushers of one slice tell each other, in the Redis that holds their segments.
 * @param client - As for `createRedisStore`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createBufferControl(client: Redis | Cluster, options: BufferControlOptions = {}): BufferControl {
  const { sliceId, redisTtlSeconds, ...limits } = parseOptions('createBufferControl', optionsSchema, options);
  return new RedisBufferControl(openRunner(client, limits), { sliceId, redisTtlSeconds });
}
