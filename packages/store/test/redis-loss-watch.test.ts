import { formatEpochKey } from '@spanbuf/keys';
import { openCommandGate } from '@spanbuf/tooling/command-gate';
import { connect, connectCluster, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import { startRedis, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import {
  createLossWatch,
  createRedisStore,
  type SealedGeneration,
  StaleEpochError,
  type TraceAddition,
} from '../src/index.ts';
import { on } from './servers.ts';
import { aSlice, aTrace } from './stores.ts';

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000_000 };
const T0 = 1_700_000_000;

function addition(trace: { projectId: string; traceId: string }, digit = 'a', offset = 0n): TraceAddition {
  const spanId = digit.repeat(16);
  const topId = 'a'.repeat(16);
  const span = { spanId, parentId: topId, partition: 0, offset, payload: Buffer.from('{}') };
  return { ...trace, subsegments: [{ topId, hasRoot: spanId === topId, spans: [span] }] };
}

describe.each(TOPOLOGIES)('LossWatch on %s', async (topology) => {
  const client = await connect(topology);

  it('begins with an epoch, and keeps to it while nothing is lost', async () => {
    const sliceId = aSlice();
    const watch = createLossWatch(client, { sliceId });
    expect(await watch.readEpoch()).toBeUndefined();
    const { epoch, sign } = await watch.check(0);
    expect(epoch).toBeGreaterThan(0);
    expect(sign).toBeUndefined();
    expect(await watch.readEpoch()).toBe(epoch);
    for (let i = 0; i < 2; i++) expect(await watch.check(epoch)).toEqual({ epoch, sign: undefined });
    expect(await createLossWatch(client, { sliceId: sliceId - 1 }).readEpoch()).toBeUndefined();
    expect(await client.ttl(formatEpochKey({ sliceId }))).toBeGreaterThan(80_000);
  });

  it('begins another epoch at once after a loss, also for one who knows of none', async () => {
    const sliceId = aSlice();
    const { epoch } = await createLossWatch(client, { sliceId }).check(0);
    await client.del(formatEpochKey({ sliceId }));
    expect((await createLossWatch(client, { sliceId }).check(0)).epoch).toBeGreaterThan(epoch);
  });

  it('lets the others follow the one who saw a loss first', async () => {
    const sliceId = aSlice();
    const [one, other] = [createLossWatch(client, { sliceId }), createLossWatch(client, { sliceId })];
    const { epoch } = await one.check(0);
    await client.del(formatEpochKey({ sliceId }));
    const verdict = await one.check(epoch);
    expect(verdict).toEqual({ epoch: expect.any(Number), sign: 'the epoch is gone' });
    expect(verdict.epoch).toBeGreaterThan(epoch);
    expect(await other.check(epoch)).toEqual({ epoch: verdict.epoch, sign: undefined });
    expect(await other.check(0)).toEqual({ epoch: verdict.epoch, sign: undefined });
    expect(await one.check(verdict.epoch)).toEqual({ epoch: verdict.epoch, sign: undefined });
  });

  it('takes the word of a flusher that missed something, once and in that epoch', async () => {
    const watch = createLossWatch(client, { sliceId: aSlice() });
    const { epoch } = await watch.check(0);
    await watch.suspect(epoch - 1, 'of old');
    expect(await watch.check(epoch)).toEqual({ epoch, sign: undefined });
    await watch.suspect(epoch, 'a payload is missing');
    const verdict = await watch.check(epoch);
    expect(verdict).toEqual({ epoch: expect.any(Number), sign: 'a payload is missing' });
    expect(await watch.check(verdict.epoch)).toEqual({ epoch: verdict.epoch, sign: undefined });
  });

  it('begins a trace anew that is of an epoch before, and leaves alone one of a later epoch', async () => {
    const trace = aTrace();
    const sliceId = aSlice();
    const open = (epoch: number) => createRedisStore(client, { sliceId, epoch });
    await open(5).add([addition(trace), addition(trace, 'b', 1n)], POLICY, { now: T0 });
    // What is read again is not taken for a replay.
    expect(await open(6).add([addition(trace)], POLICY, { now: T0 })).toEqual({ added: 1, replayed: 0 });
    await expect(open(5).add([addition(trace, 'c', 2n)], POLICY, { now: T0 })).rejects.toThrow(StaleEpochError);
    // Who does not know of the epoch yet, or of any, produces nothing of it, and deletes nothing.
    for (const epoch of [5, undefined]) {
      const behind = createRedisStore(client, { sliceId, epoch, leaseSeconds: 0.05 });
      expect(await behind.claim({ now: T0 + 10, limit: 10 })).toEqual([]);
    }
    const claimed: SealedGeneration[] = [];
    await expect
      .poll(async () => claimed.push(...(await open(6).claim({ now: T0 + 10, limit: 10 }))), { interval: 20 })
      .toBe(1);
    expect(claimed).toMatchObject([{ spanCount: 1, isOfEpoch: true }]);
  });

  it('forgets what is of an epoch before when it is due', async () => {
    const sliceId = aSlice();
    const open = (epoch: number) => createRedisStore(client, { sliceId, epoch });
    await open(5).add([addition(aTrace())], POLICY, { now: T0 });
    expect(await open(6).claim({ now: T0 + 10, limit: 10 })).toEqual([]);
    expect(await open(5).claim({ now: T0 + 10, limit: 10 })).toEqual([]);
  });

  it('keeps what nobody would read again, whoever comes to it in whichever epoch', async () => {
    const sliceId = aSlice();
    const at = (epoch?: number) => createRedisStore(client, { sliceId, epoch });
    const [before, between] = [aTrace(), aTrace()];
    await at().add([addition(before, 'a', 0n)], POLICY, { now: T0 });
    await at(5).add([addition(before, 'b', 1n), addition(between, 'a', 2n)], POLICY, { now: T0 });
    // A consumer that commits at once joins a trace of those who do not.
    await at().add([addition(between, 'b', 3n)], POLICY, { now: T0 });
    await at(6).add([addition(before, 'c', 4n), addition(between, 'c', 5n)], POLICY, { now: T0 });
    const claimed = await at(6).claim({ now: T0 + 10, limit: 10 });
    expect(claimed).toMatchObject([
      { spanCount: 3, isOfEpoch: false },
      { spanCount: 3, isOfEpoch: false },
    ]);
  });

  it('is of one slice: a trace in two of them is stale in neither', async () => {
    const trace = aTrace();
    const [one, other] = [aSlice(), aSlice()];
    await createRedisStore(client, { sliceId: one, epoch: 9 }).add([addition(trace)], POLICY, { now: T0 });
    const store = createRedisStore(client, { sliceId: other, epoch: 3 });
    expect(await store.add([addition(trace, 'b', 1n)], POLICY, { now: T0 })).toMatchObject({ added: 1 });
  });

  it('takes over what was stored before anybody counted epochs', async () => {
    const trace = aTrace();
    const sliceId = aSlice();
    await createRedisStore(client, { sliceId }).add([addition(trace)], POLICY, { now: T0 });
    const store = createRedisStore(client, { sliceId, epoch: 1 });
    await store.add([addition(trace, 'b', 1n)], POLICY, { now: T0 });
    const claimed = await store.claim({ now: T0 + 10, limit: 10 });
    expect(claimed.map(({ spanCount }) => spanCount)).toEqual([2]);
  });
});

describe('an epoch that is lost while a new master is noted', () => {
  it('leaves no key behind that lives for ever', async () => {
    const direct = (await connect('one node')) as Redis;
    const sliceId = aSlice();
    const key = formatEpochKey({ sliceId });
    const { epoch } = await createLossWatch(direct, { sliceId }).check(0);
    const masters = Object.keys(await direct.hgetall(key)).filter((field) => field.startsWith('master '));
    await direct.hdel(key, ...masters);
    let losses = 0;
    const gate = await openCommandGate(
      { port: Number(new URL(inject('redisUrl')).port) },
      {
        // `check` reads first, and writes once it has found a master that is not known.
        onCommand: async ({ name }) => {
          if (name === 'EVALSHA' || name === 'HSET') losses += await direct.del(key);
          return 'pass' as const;
        },
      },
    );
    const throughGate = new Redis(gate.port);
    await createLossWatch(throughGate, { sliceId }).check(epoch);
    throughGate.disconnect();
    await gate.close();
    expect(losses).toBe(1);
    expect(await direct.exists(key)).toBe(0);
  });
});

describe('LossWatch notices', () => {
  it('FLUSHALL of a single node', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const client = new Redis(server.port);
    onTestFinished(() => client.disconnect());
    const watch = createLossWatch(client);
    const { epoch } = await watch.check(0);
    await client.flushall();
    const verdict = await watch.check(epoch);
    expect(verdict.sign).toBe('the epoch is gone');
    expect(verdict.epoch).toBeGreaterThan(epoch);
  });

  it('a restart of a node that kept its data', async () => {
    const server = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    onTestFinished(() => server.stop());
    const client = new Redis(server.port);
    onTestFinished(() => client.disconnect());
    client.on('error', () => undefined);
    const watch = createLossWatch(client);
    const { epoch } = await watch.check(0);
    await server.restart();
    // While it does not answer, it is not judged.
    await expect.poll(async () => (await watch.check(epoch)).sign).toMatch(/^master \w+ was restarted or replaced/);
  });

  it('FLUSHALL of any node of a cluster, and a replica that takes over', async () => {
    const servers = await startRedisCluster({ masters: 3, replicas: 1, nodeTimeoutMs: 1_000 });
    onTestFinished(() => servers.stop());
    const client = connectCluster(servers.url);
    onTestFinished(() => client.disconnect());
    const watch = createLossWatch(client);
    let { epoch } = await watch.check(0);
    for (const node of servers.nodes.slice(0, 3)) {
      expect(await watch.isWhole(epoch)).toBe(true);
      await on(node, (admin) => admin.flushall());
      expect(await watch.isWhole(epoch)).toBe(false);
      const verdict = await watch.check(epoch);
      expect(verdict.sign).toBeDefined();
      epoch = verdict.epoch;
      expect(await watch.check(epoch)).toEqual({ epoch, sign: undefined });
    }
    const replica = servers.nodes[3] as (typeof servers.nodes)[0];
    await on(replica, (admin) => admin.call('CLUSTER', ['FAILOVER', 'TAKEOVER']));
    await expect.poll(async () => (await watch.check(epoch)).sign).toMatch(/was restarted or replaced|sentinels/);
  }, 60_000);
});
