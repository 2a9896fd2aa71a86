import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import type { Ledger } from './ledger.ts';
import { connectionOptions, openRunner, parseOptions, processClock } from './redis/open-runner.ts';
import { RedisLedger } from './redis/redis-ledger.ts';
import type { RunnerClock } from './redis/redis-runner.ts';

const { sliceId, deadlineSeconds, attemptSeconds } = connectionOptions;
const optionsSchema = z.strictObject({ sliceId, deadlineSeconds, attemptSeconds });

/** Options of {@link createLedger}; every one has a default. They mean the same as for `createRedisStore`. */
export interface LedgerOptions {
  /** That of the store. */
  sliceId?: number | undefined;
  deadlineSeconds?: number | undefined;
  attemptSeconds?: number | undefined;
}

/**
 * The books of one slice, in the Redis that holds its segments. They live for 30 days after the last entry. `complete` of a
 * store writes receipts into books that are open.
 * @param client - As for `createRedisStore`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createLedger(client: Redis | Cluster, options: LedgerOptions = {}): Ledger {
  return createLedgerIn(client, options, processClock);
}

/** As {@link createLedger}, by a clock that is under control: for tests that replay exactly. */
export function createLedgerIn(client: Redis | Cluster, options: LedgerOptions, clock: RunnerClock): Ledger {
  const { sliceId, ...limits } = parseOptions('createLedger', optionsSchema, options);
  return new RedisLedger(openRunner(client, limits, clock), { sliceId });
}
