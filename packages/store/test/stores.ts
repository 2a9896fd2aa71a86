import { randomBytes, randomInt } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import { afterAll, inject } from 'vitest';
import { createRedisStore, LAYOUTS, type RedisStoreOptions, type SegmentStore } from '../src/index.ts';

export type Topology = 'one node' | 'a three-node cluster';
export const TOPOLOGIES: readonly Topology[] = ['one node', 'a three-node cluster'];

/** Every layout on every topology, as rows for `describe.each`. */
export const REDIS_KINDS = LAYOUTS.flatMap((layout) => TOPOLOGIES.map((topology) => ({ layout, topology })));

/** A client of the run's own Redis, closed after the tests of the file. */
export async function connect(topology: Topology): Promise<Redis | Cluster> {
  const client = topology === 'one node' ? new Redis(inject('redisUrl')) : connectCluster(inject('redisClusterUrl'));
  afterAll(() => client.disconnect());
  if (client.status !== 'ready') await new Promise((resolve) => client.once('ready', resolve));
  return client;
}

export function connectCluster(url: string, options: ConstructorParameters<typeof Cluster>[1] = {}): Cluster {
  const seeds = url
    .replace('redis-cluster://', '')
    .split(',')
    .map((seed) => ({ host: seed.split(':')[0] as string, port: Number(seed.split(':')[1]) }));
  return new Cluster(seeds, options);
}

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
