import { parseRedisUrl, REDIS_URL_FORMS, type RedisLocation } from '@spanbuf/service';

/** Where `--store` points to. */
export type StoreLocation = { readonly kind: 'memory' } | RedisLocation;

/**
 * Reads `memory` or a URL of Redis.
 * @throws Error that says what is wrong, without the password.
 */
export function parseStoreLocation(text: string): StoreLocation {
  if (text === 'memory') return { kind: 'memory' };
  if (!/^redis[\w-]*:\/\//i.test(text)) throw new Error(`must be memory, ${REDIS_URL_FORMS}`);
  return parseRedisUrl(text);
}
