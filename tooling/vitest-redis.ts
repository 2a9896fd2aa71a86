/** Vitest's global setup: one Redis node and one three-node Redis Cluster, shared by all tests of a run. */
import type { TestProject } from 'vitest/node';
import { startRedis, startRedisCluster } from './redis-servers.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** `redis://host:port` of one node. Other tests use it too: make keys of your own, and no FLUSHALL. */
    redisUrl: string;
    /** `redis-cluster://h1:p1,h2:p2,h3:p3`, three masters. Shared as well. */
    redisClusterUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // When one does not start, the run ends, and with it the other.
  const [node, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
  project.provide('redisUrl', node.url);
  project.provide('redisClusterUrl', cluster.url);
  return async () => {
    await Promise.all([node.stop(), cluster.stop()]);
  };
}
