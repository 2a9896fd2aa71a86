/** Vitest's global setup: the servers that all tests of a run share. */
import type { TestProject } from 'vitest/node';
import { KafkaMissingError, type KafkaServers, startKafka } from './kafka-servers.ts';
import { KcatError, kcatVersion } from './kcat.ts';
import { startRedis, startRedisCluster } from './redis-servers.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** `redis://host:port` of one node. Other tests use it too: make keys of your own, and no FLUSHALL. */
    redisUrl: string;
    /** `redis-cluster://h1:p1,h2:p2,h3:p3`, three masters. Shared as well. */
    redisClusterUrl: string;
    /** `host:port` of one broker, or '' where there is none. Other tests use it too: make topics and groups of your own. */
    kafkaBrokers: string;
  }
}

/** Kafka is not started for them alone: they know nothing of it. Any other folder may have tests that need it. */
const WITHOUT_KAFKA = [
  'packages/keys',
  'packages/store',
  'packages/buffer',
  'packages/segments',
  'packages/service',
  'simulation',
  'docs',
];

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const kafkaIsNeeded = project.vitest.projects.some(({ name }) => !WITHOUT_KAFKA.includes(name));
  // When one does not start, the run ends, and with it the others.
  const [node, cluster, kafka] = await Promise.all([
    startRedis(),
    startRedisCluster(),
    kafkaIsNeeded ? startKafkaIfPossible() : undefined,
  ]);
  project.provide('redisUrl', node.url);
  project.provide('redisClusterUrl', cluster.url);
  project.provide('kafkaBrokers', kafka?.bootstrap ?? '');
  return async () => {
    await Promise.all([node.stop(), cluster.stop(), kafka?.stop()]);
  };
}

/** Undefined where Kafka cannot be had, and a line that says so: the tests that need it are skipped then, but not in CI. */
async function startKafkaIfPossible(): Promise<KafkaServers | undefined> {
  try {
    await kcatVersion();
    return await startKafka();
  } catch (error) {
    const missing = error instanceof KafkaMissingError || error instanceof KcatError;
    if (!missing || process.env['CI']) throw error;
    process.stderr.write(`All tests that need Kafka are left out. ${error.message}\n`);
    return undefined;
  }
}
