/** `waitReplicas` on a cluster whose replicas live, stand still, and come back. */
import { connectCluster } from '@spanbuf/tooling/redis-clients';
import { type RedisClusterServers, type RedisServer, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from 'vitest';
import { createRedisStore, type SegmentPolicy, type StoredSpan, StoreUnavailableError } from '../src/index.ts';
import { aSlice, aTrace } from './stores.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const T0 = 1_700_000_000;
const POLICY: SegmentPolicy = {
  rootTimeoutSeconds: 10,
  timeoutSeconds: 60,
  maxAgeSeconds: 600,
  maxSegmentBytes: 1_000_000,
};
const MASTERS = 3;
const WAIT_SECONDS = 0.5;

let servers: RedisClusterServers;
let client: Cluster;

beforeAll(async () => {
  // Longer than any test: nobody takes over, and nobody is taken for dead.
  servers = await startRedisCluster({ masters: MASTERS, replicas: 1, nodeTimeoutMs: 120_000 });
  client = connectCluster(servers.url);
  client.on('error', () => undefined);
  await new Promise((resolve) => client.once('ready', resolve));
});
afterAll(async () => {
  client?.disconnect();
  await servers?.stop();
});

/** Until the test ends, or it is resumed. */
function freeze(...nodes: readonly RedisServer[]): () => void {
  for (const node of nodes) node.pause();
  const thaw = (): void => {
    for (const node of nodes) node.resume();
  };
  onTestFinished(thaw);
  return thaw;
}

const replicas = (): readonly RedisServer[] => servers.nodes.slice(MASTERS);

function open(waitReplicas: number) {
  const sliceId = aSlice();
  return createRedisStore(client, { sliceId, waitReplicas, waitSeconds: WAIT_SECONDS, deadlineSeconds: 5 });
}

function addition(trace = aTrace(), offset = 0n) {
  const spanId = 'a'.repeat(16);
  const span: StoredSpan = {
    spanId,
    parentId: spanId,
    partition: 0,
    offset,
    source: 'topic',
    payload: Buffer.from('{}'),
  };
  return { ...trace, subsegments: [{ topId: spanId, hasRoot: true, spans: [span] }] };
}

it('resolves when the replicas have what was stored', async () => {
  const trace = aTrace();
  expect(await open(1).add([addition(trace)], POLICY, { now: T0 })).toEqual({ added: 1, replayed: 0 });
  const keys = await Promise.all(
    replicas().map(async (node) => {
      const replica = new Redis(node.connection);
      try {
        return await replica.keys(`*${trace.traceId}*`);
      } finally {
        replica.disconnect();
      }
    }),
  );
  // The trace, and the payload.
  expect(keys.flat()).toHaveLength(2);
});

it('rejects, in time, what may be tried again while a replica stands still, and takes it when the replica is back', async () => {
  const store = open(1);
  const thaw = freeze(...replicas());
  const one = addition();
  const startedMs = performance.now();
  const error = await store.add([one], POLICY, { now: T0 }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StoreUnavailableError);
  expect(error).toMatchObject({ retriable: true, message: expect.stringContaining('0 of 1 replicas') });
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(WAIT_SECONDS * 1_000 - 50);
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  thaw();
  // It had been stored: what was in doubt is a replay, and stays one.
  await expect
    .poll(() => store.add([one], POLICY, { now: T0 }).catch((reason: Error) => reason.message), { timeout: 20_000 })
    .toEqual({ added: 0, replayed: 1 });
  const [generation, ...others] = await store.claim({ now: T0 + 60, limit: 10 });
  expect(others).toEqual([]);
  expect(generation?.spanCount).toBe(1);
});

it('is held up by a single replica as soon as something is written to its master, and by no other one', async () => {
  const store = open(1);
  let next = 0n;
  const add = () =>
    store.add([addition(aTrace(), next++)], POLICY, { now: T0 }).catch((reason: Error) => reason.constructor);
  for (const replica of replicas()) {
    const thaw = freeze(replica);
    // Each trace is in a slot of its own, and so is its payload.
    await expect.poll(add, { timeout: 20_000, interval: 0 }).toBe(StoreUnavailableError);
    thaw();
    await expect.poll(add, { timeout: 20_000 }).toEqual({ added: 1, replayed: 0 });
  }
});

it('does not wait when it is not asked to, and never for more replicas than there are', async () => {
  freeze(...replicas());
  expect(await open(0).add([addition()], POLICY, { now: T0 })).toEqual({ added: 1, replayed: 0 });
  await expect(open(2).add([addition()], POLICY, { now: T0 })).rejects.toThrow(/of 2 replicas/);
});
