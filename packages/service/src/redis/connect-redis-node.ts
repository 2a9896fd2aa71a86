import { Redis } from 'ioredis';
import { printable } from '../printable.ts';
import { reasonOf } from './probe-redis.ts';
import { RedisNotOpenError } from './redis-not-open-error.ts';
import { type RedisIdentity, redisOptions } from './redis-options.ts';
import type { Address, RedisLocation } from './redis-url.ts';

export { readHello } from './probe-redis.ts';

export type RedisNodeIdentity = RedisIdentity;

/**
 * Opens a connection to one node, whatever it is and says: for looking at it. It is not made anew when it is lost.
 * @throws {@link RedisNotOpenError} with one line that says why, within some seconds.
 */
export async function connectRedisNode(
  location: RedisLocation,
  address: Address,
  identity: RedisNodeIdentity,
): Promise<Redis> {
  const options = { ...redisOptions(location, identity), ...address };
  const client = new Redis({ ...options, enableReadyCheck: false, retryStrategy: () => null });
  // What made the connection fail; the call itself only learns that it is closed.
  let reason: Error | undefined;
  client.on('error', (error: Error) => {
    reason ??= error;
  });
  try {
    await client.connect();
    // ioredis goes on, in database 0, when it may not select another.
    if (reason !== undefined) throw reason;
    return client;
  } catch (error) {
    client.disconnect();
    const cause = reasonOf(reason ?? (error as Error), location);
    throw new RedisNotOpenError(printable(cause.message), true, { cause });
  }
}
