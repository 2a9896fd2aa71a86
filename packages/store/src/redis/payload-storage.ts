import type { PayloadRef } from '@spanbuf/keys';
import type { RedisCommand } from './redis-runner.ts';

/**
 * Where payloads lie. One implementation per layout; each builds commands and nothing else, so that the payloads of a
 * whole batch, of both layouts while moving from one to the other, go out in one pipeline per node.
 */
export interface PayloadStorage {
  /** Writes one value that nobody has written before and nobody writes again. */
  put(ref: Required<PayloadRef>, blob: Buffer, ttlSeconds: number): RedisCommand;
  /** Answers the value, or null when it is not there. */
  get(ref: Required<PayloadRef>): RedisCommand;
  /** Answers 1, or 0 when it is not there. */
  has(ref: Required<PayloadRef>): RedisCommand;
  remove(ref: Required<PayloadRef>): RedisCommand;
  /** Lets it live for `ttlSeconds` from now, or as long as it would in any case. */
  keep(ref: Required<PayloadRef>, ttlSeconds: number): RedisCommand;
}
