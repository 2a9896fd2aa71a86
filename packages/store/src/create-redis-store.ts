import { randomBytes } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { LAYOUTS, layoutNamed } from './layout.ts';
import {
  type ConnectionOptions,
  connectionOptions,
  DAY_SECONDS,
  openRunner,
  parseOptions,
  processClock,
} from './redis/open-runner.ts';
import type { RunnerClock } from './redis/redis-runner.ts';
import { RedisStore } from './redis/redis-store.ts';
import type { SegmentStore } from './segment-store.ts';
import type { TraceObserver } from './trace-watch.ts';

const optionsSchema = z.strictObject({
  ...connectionOptions,
  layout: z.enum(LAYOUTS).default('distributed'),
  dedupeWindowSeconds: z
    .number()
    .min(0)
    .max(30 * DAY_SECONDS)
    .default(120)
    .transform(Math.ceil),
  leaseSeconds: z.number().positive().max(DAY_SECONDS).default(60),
  compression: z.enum(['none', 'zstd']).default('none'),
  epoch: z.int().min(1).optional(),
  waitReplicas: z.int().min(0).max(100).default(0),
  waitSeconds: z.number().positive().max(60).default(1),
  observer: z.custom<TraceObserver>((value) => typeof value === 'object' && value !== null).optional(),
});

/** Options of {@link createRedisStore}; every one has a default. */
export interface RedisStoreOptions extends ConnectionOptions {
  /** Where payloads are written, and read first: see docs/architecture.md. Default `distributed`. */
  layout?: (typeof LAYOUTS)[number] | undefined;
  /** How long a trace without spans stays known, so that late spans and replays are recognised. 0 to 30 days; default 120. */
  dedupeWindowSeconds?: number | undefined;
  /** How long a flusher has a segment before another may take it, above 0; default 60. By the clock of Redis. */
  leaseSeconds?: number | undefined;
  /**
   * How payloads are stored; default `none`. `zstd` stores ordinary spans in a fifth of the bytes, for about twice the CPU
   * of the client; payloads below 2 KiB stay as they are. Both are always readable.
   */
  compression?: 'none' | 'zstd' | undefined;
  /**
   * What `createLossWatch` says, from 1, where Redis is to be disposable: what is of an epoch before counts as lost, and
   * {@link StaleEpochError} says that this one is over. By default nobody counts.
   */
  epoch?: number | undefined;
  /** `add` resolves once so many replicas of every master have what it wrote, 0 to 100; default 0. */
  waitReplicas?: number | undefined;
  /** How long to wait for them until `add` counts as failed, above 0, at most 60; default 1. */
  waitSeconds?: number | undefined;
  /** Told what `add` does with the spans of watched traces. By default nobody is. */
  observer?: TraceObserver | undefined;
}

/**
 * Segments in Redis 7 or newer: one node or a cluster. The client stays the caller's: it is not closed here. Its errors are
 * listened to, and a connection that answers nothing for `attemptSeconds` is made anew.
 * @param client - ioredis. A `keyPrefix` without braces is honoured; of a cluster, one in `redisOptions`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createRedisStore(client: Redis | Cluster, options: RedisStoreOptions = {}): SegmentStore {
  return createRedisStoreIn(client, options, {
    clock: processClock,
    storeId: randomBytes(6).toString('base64url'),
    nextList: () => Math.floor(Math.random() * 2 ** 31),
  });
}

/** What a store takes from its process besides its client: time and chance. */
export interface StoreSurroundings {
  readonly clock: RunnerClock;
  /** An id that no other store has: letters, digits, `-` and `_`. */
  readonly storeId: string;
  /** Answers an integer from 0 to 2^31 - 1, drawn at random. */
  readonly nextList: () => number;
}

/** As {@link createRedisStore}, in surroundings that are under control: for tests that replay exactly. */
export function createRedisStoreIn(
  client: Redis | Cluster,
  options: RedisStoreOptions,
  { clock, storeId, nextList }: StoreSurroundings,
): SegmentStore {
  const { layout, deadlineSeconds, attemptSeconds, ...settings } = parseOptions(
    'createRedisStore',
    optionsSchema,
    options,
  );
  return new RedisStore(openRunner(client, { deadlineSeconds, attemptSeconds }, clock), {
    ...settings,
    sliceId: settings.sliceId,
    epoch: settings.epoch,
    observer: settings.observer,
    layout: layoutNamed(layout),
    nextWriteId: writeIds(storeId),
    nextList,
  });
}

/** Ids that no other store has: that of the store, then a count. */
function writeIds(storeId: string): () => string {
  let count = 0;
  return () => `${storeId}${(count++).toString(36)}`;
}
