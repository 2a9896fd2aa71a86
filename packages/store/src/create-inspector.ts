import { hashSlot } from '@spanbuf/keys';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { RedisInspector } from './audit/redis-inspector.ts';
import type { Inspector } from './inspector.ts';
import { type ConnectionOptions, connectionOptions, openRunner, parseOptions } from './redis/open-runner.ts';

const optionsSchema = z.strictObject({
  sliceId: connectionOptions.sliceId,
  deadlineSeconds: connectionOptions.deadlineSeconds,
  attemptSeconds: connectionOptions.attemptSeconds,
  clockGraceSeconds: z.number().positive().max(3_600).default(30),
});

/** Options of {@link createInspector}; every one has a default. `sliceId` is that of the store. */
export interface InspectorOptions extends Omit<ConnectionOptions, 'redisTtlSeconds'> {
  /** How long flushers wait for partitions that are behind or silent, above 0, up to an hour; default 30. As they have it. */
  clockGraceSeconds?: number | undefined;
}

/**
 * Looks at what the stores of a deployment have in Redis, and writes nothing.
 * @param client - As for `createRedisStore`.
 * @throws {@link InvalidStoreOptionsError} that names every option that is wrong.
 */
export function createInspector(client: Redis | Cluster, options: InspectorOptions = {}): Inspector {
  const { deadlineSeconds, attemptSeconds, sliceId, clockGraceSeconds } = parseOptions(
    'createInspector',
    optionsSchema,
    options,
  );
  return new RedisInspector(openRunner(client, { deadlineSeconds, attemptSeconds }), {
    sliceId,
    clockGraceSeconds,
    nodeOf: (key) => nodeOf(client, key),
    random: Math.random,
  });
}

function nodeOf(client: Redis | Cluster, key: string): string | undefined {
  if (client.isCluster) return (client as Cluster).slots[hashSlot(`${client.options.keyPrefix ?? ''}${key}`)]?.[0];
  const { host, port } = (client as Redis).options;
  return `${host}:${port}`;
}
