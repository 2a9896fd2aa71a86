import { randomBytes, randomInt } from 'node:crypto';
import { TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import type { Cluster, Redis } from 'ioredis';
import { createRedisStore, LAYOUTS, type RedisStoreOptions, type SegmentStore } from '../src/index.ts';

/** Every layout on every topology, as rows for `describe.each`. */
export const REDIS_KINDS = LAYOUTS.flatMap((layout) => TOPOLOGIES.map((topology) => ({ layout, topology })));

/** An empty store: its queues are in a slice of their own. */
export function openStore(client: Redis | Cluster, options: RedisStoreOptions = {}): SegmentStore {
  return createRedisStore(client, { sliceId: aSlice(), ...options });
}

export function aSlice(): number {
  return randomInt(1, 2 ** 24);
}

export function aTrace(): { projectId: string; traceId: string } {
  return { projectId: randomBytes(4).toString('hex'), traceId: randomBytes(16).toString('hex') };
}
