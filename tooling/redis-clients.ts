/** Clients of the run's own Redis servers, which tooling/vitest-servers.ts has started. */
import { Cluster, Redis } from 'ioredis';
import { afterAll, inject } from 'vitest';

export const TOPOLOGIES = ['one node', 'a three-node cluster'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/** A client that is ready, closed after the tests of the file. */
export async function connect(topology: Topology): Promise<Redis | Cluster> {
  const client = topology === 'one node' ? new Redis(inject('redisUrl')) : connectCluster(inject('redisClusterUrl'));
  afterAll(() => client.disconnect());
  if (client.status !== 'ready') await new Promise((resolve) => client.once('ready', resolve));
  return client;
}

export function connectCluster(url: string, options: ConstructorParameters<typeof Cluster>[1] = {}): Cluster {
  const seeds = url.replace('redis-cluster://', '').split(',');
  return new Cluster(
    seeds.map((seed) => ({ host: seed.split(':')[0] as string, port: Number(seed.split(':')[1]) })),
    options,
  );
}
