import { randomBytes } from 'node:crypto';
import { MAX_SHARD } from '@spanbuf/keys';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { InvalidStoreOptionsError } from './errors.ts';
import { LAYOUTS, layoutNamed } from './layout.ts';
import { RedisRunner } from './redis/redis-runner.ts';
import { RedisStore } from './redis/redis-store.ts';
import type { SegmentStore } from './segment-store.ts';

const DAY_SECONDS = 86_400;

const optionsSchema = z.strictObject({
  layout: z.enum(LAYOUTS).default('distributed'),
  sliceId: z.int().min(0).max(MAX_SHARD).optional(),
  // Redis expires by whole seconds; longer is safe, shorter is not.
  redisTtlSeconds: z
    .number()
    .positive()
    .max(365 * DAY_SECONDS)
    .default(DAY_SECONDS)
    .transform(Math.ceil),
  dedupeWindowSeconds: z
    .number()
    .min(0)
    .max(30 * DAY_SECONDS)
    .default(120)
    .transform(Math.ceil),
  leaseSeconds: z.number().positive().max(DAY_SECONDS).default(60),
  compression: z.enum(['none', 'zstd']).default('none'),
  deadlineSeconds: z.number().positive().max(DAY_SECONDS).default(30),
  attemptSeconds: z.number().positive().max(DAY_SECONDS).default(5),
});

/** Options of {@link createRedisStore}; every one has a default. */
export interface RedisStoreOptions {
  /** Where payloads are written, and read first: see docs/architecture.md. Default `distributed`. */
  layout?: (typeof LAYOUTS)[number] | undefined;
  /** Prefix of this deployment's queues, 0 to 16,777,215: deployments with different slices may share a Redis. */
  sliceId?: number | undefined;
  /**
   * How long a key lives that nobody touches, above 0, up to a year; default 86,400. A net against leaks, not a policy: payloads
   * live at least as long as their segment may wait, whatever is set here.
   */
  redisTtlSeconds?: number | undefined;
  /** How long a trace without spans stays known, so that late spans and replays are recognised. 0 to 30 days; default 120. */
  dedupeWindowSeconds?: number | undefined;
  /** How long a flusher has a segment before another may take it, above 0; default 60. By the clock of Redis. */
  leaseSeconds?: number | undefined;
  /**
   * How payloads are stored; default `none`. `zstd` stores ordinary spans in a fifth of the bytes, for about twice the CPU
   * of the client; payloads below 2 KiB stay as they are. Both are always readable.
   */
  compression?: 'none' | 'zstd' | undefined;
  /** How long a command is tried again while Redis is away, fails over or moves slots; default 30. */
  deadlineSeconds?: number | undefined;
  /** How long one attempt may stay unanswered before its connection counts as lost; default 5. */
  attemptSeconds?: number | undefined;
}

/**
 * Segments in Redis 7 or newer: one node or a cluster. The client stays the caller's: it is not closed here. Its errors are
 * listened to, and a connection that answers nothing for `attemptSeconds` is made anew.
 * @param client - ioredis. A `keyPrefix` without braces is honoured; of a cluster, one in `redisOptions`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createRedisStore(client: Redis | Cluster, options: RedisStoreOptions = {}): SegmentStore {
  const parsed = optionsSchema.safeParse(options);
  if (!parsed.success)
    throw new InvalidStoreOptionsError(`options of createRedisStore: ${z.prettifyError(parsed.error)}`);
  if (client.isCluster && client.options.keyPrefix !== (client as Cluster).options.redisOptions?.keyPrefix) {
    // ioredis would put it before the keys of single commands, and leave it out in pipelines of a node.
    throw new InvalidStoreOptionsError('keyPrefix of a Cluster must be set in redisOptions');
  }
  const { layout, sliceId, deadlineSeconds, attemptSeconds, ...settings } = parsed.data;
  const runner = new RedisRunner(client, { deadlineMs: deadlineSeconds * 1000, attemptMs: attemptSeconds * 1000 });
  return new RedisStore(runner, {
    ...settings,
    sliceId,
    layout: layoutNamed(layout),
    nextWriteId: writeIds(randomBytes(6).toString('base64url')),
    nextList: () => Math.floor(Math.random() * 2 ** 31),
  });
}

/** Ids that no other store has: 48 random bits for the store, then a count. */
function writeIds(storeId: string): () => string {
  let count = 0;
  return () => `${storeId}${(count++).toString(36)}`;
}
