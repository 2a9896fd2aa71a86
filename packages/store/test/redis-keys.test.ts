import { formatPayloadKey, formatSegmentKey, hashSlot, parsePayloadKey, parseSegmentKey } from '@spanbuf/keys';
import { connect, connectCluster, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import { Redis } from 'ioredis';
import { describe, expect, inject, it } from 'vitest';
import {
  createRedisStore,
  InvalidStoreOptionsError,
  LAYOUTS,
  type LayoutName,
  type SealedGeneration,
} from '../src/index.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000_000 };
const T0 = 1_700_000_000;
const ROOT = 'a'.repeat(16);
const CHILD = 'b'.repeat(16);

const client = await connect('one node');

function additionOf(trace: { projectId: string; traceId: string }, spanId = ROOT, offset = 0n) {
  const span = { spanId, parentId: ROOT, partition: 0, offset, payload: Buffer.from('{}') };
  return { ...trace, subsegments: [{ topId: ROOT, hasRoot: spanId === ROOT, spans: [span] }] };
}

/** Keys of a project, without queues. */
async function keysOf(projectId: string): Promise<string[]> {
  return (await client.keys('*')).filter((key) => key.includes(`{${projectId}:`)).sort();
}

function isKey(parse: (key: string) => object, key: string): boolean {
  try {
    return parse(key) !== undefined;
  } catch {
    return false;
  }
}

describe('the keys that a layout writes', () => {
  it.each<[LayoutName, { segment: number; payload: number }]>([
    ['colocated', { segment: 1, payload: 0 }],
    ['dual-read-colocated', { segment: 1, payload: 1 }],
    ['dual-read-distributed', { segment: 1, payload: 1 }],
    ['distributed', { segment: 0, payload: 1 }],
  ])('%s: payloads where it says, and one key for the trace', async (layout, expected) => {
    const trace = aTrace();
    await openStore(client, { layout }).add([additionOf(trace)], POLICY, { now: T0 });
    const keys = await keysOf(trace.projectId);
    const payloads = keys.filter((key) => key.startsWith('span-buf:s:'));
    expect(payloads.filter((key) => isKey(parseSegmentKey, key))).toHaveLength(expected.segment);
    expect(payloads.filter((key) => isKey(parsePayloadKey, key))).toHaveLength(expected.payload);
    expect(keys.filter((key) => key.startsWith('span-buf:ssr:'))).toHaveLength(1);
    expect(keys).toHaveLength(expected.segment + expected.payload + 1);
  });

  it.each(LAYOUTS)('%s: what another layout wrote is read, and removed', async (writer) => {
    for (const reader of LAYOUTS) {
      const trace = aTrace();
      const sliceId = aSlice();
      const options = { sliceId, dedupeWindowSeconds: 0 };
      await openStore(client, { layout: writer, ...options }).add([additionOf(trace)], POLICY, { now: T0 });
      await openStore(client, { layout: reader, ...options }).add([additionOf(trace, CHILD, 1n)], POLICY, { now: T0 });
      const store = openStore(client, { layout: reader, ...options });
      const generations = await store.claim({ now: T0 + 10, limit: 10 });
      const [spans] = await store.read(generations);
      expect(spans?.map(({ spanId }) => spanId).sort()).toEqual([ROOT, CHILD]);
      await store.complete(generations);
      expect(await keysOf(trace.projectId)).toEqual([]);
      expect(
        (await client.keys(`*${sliceId}*`)).filter((key) => key.includes(`${sliceId}-`) || key.endsWith(`:${sliceId}`)),
      ).toEqual([]);
    }
  });

  it('a payload that is gone from the one place is read from the other', async () => {
    const trace = aTrace();
    const store = openStore(client, { layout: 'dual-read-distributed' });
    await store.add([additionOf(trace)], POLICY, { now: T0 });
    for (const key of await keysOf(trace.projectId)) if (isKey(parsePayloadKey, key)) await client.del(key);
    const [spans] = await store.read(await store.claim({ now: T0 + 10, limit: 1 }));
    expect(spans).toHaveLength(1);
  });
});

describe('times to live', () => {
  it('are as asked, but never shorter than a segment may wait', async () => {
    for (const [redisTtlSeconds, expected] of [
      [86_400, 86_400],
      [1, 3 * 600 + 60 + 2 * 60],
    ] as const) {
      const trace = aTrace();
      const sliceId = aSlice();
      await openStore(client, { redisTtlSeconds, sliceId }).add([additionOf(trace)], POLICY, { now: T0 });
      const queue = await client.keys(`span-buf:q:{${sliceId}-0}:*`);
      expect(queue.map((key) => key.replace(/\d+$/, '<lane>')).sort()).toEqual([
        `span-buf:q:{${sliceId}-0}:due:<lane>`,
        `span-buf:q:{${sliceId}-0}:held`,
      ]);
      const keys = [...(await keysOf(trace.projectId)), ...queue, `span-buf:shards:${sliceId}`];
      for (const key of keys) expect(Math.abs((await client.ttl(key)) - expected)).toBeLessThan(10);
    }
  });

  it('of a trace is the dedupe window once it holds no spans, and the long one again when a late span arrives', async () => {
    const trace = aTrace();
    const key = `span-buf:ssr:{${trace.projectId}:${trace.traceId}}`;
    const store = openStore(client, { dedupeWindowSeconds: 50 });
    await store.add([additionOf(trace)], POLICY, { now: T0 });
    await store.complete(await store.claim({ now: T0 + 10, limit: 1 }));
    expect(await keysOf(trace.projectId)).toEqual([key]);
    expect(await client.ttl(key)).toBeLessThanOrEqual(50);
    await store.add([additionOf(trace)], POLICY, { now: T0 });
    expect(await client.ttl(key)).toBeLessThanOrEqual(50);
    await store.add([additionOf(trace, CHILD, 1n)], POLICY, { now: T0 });
    expect(await client.ttl(key)).toBeGreaterThan(50);
  });
});

describe('a completed segment of many members', () => {
  it('leaves nothing but redirects and positions', async () => {
    const trace = aTrace();
    const store = openStore(client);
    const id = (i: number) => i.toString(16).padStart(16, '0');
    const add = (i: number, parent: number) => {
      const span = { spanId: id(i), parentId: id(parent), partition: 0, payload: Buffer.from('{}') };
      return { ...trace, subsegments: [{ topId: id(parent), hasRoot: i === parent, spans: [span] }] };
    };
    for (const base of [10_000, 20_000]) {
      await store.add(
        Array.from({ length: 600 }, (_, i) => add(base + i + 1, base)),
        POLICY,
        { now: T0 },
      );
    }
    await store.add([add(10_000, 1), add(20_000, 1), add(1, 1)], POLICY, { now: T0 });
    const generations = await store.claim({ now: T0 + 10, limit: 10 });
    expect(generations.map(({ spanCount }) => spanCount)).toEqual([1_203]);
    await store.complete(generations);
    const [key, ...others] = await keysOf(trace.projectId);
    expect(others).toEqual([]);
    // No generation is left that would keep it from being forgotten.
    expect(await client.ttl(key as string)).toBeLessThanOrEqual(120);
    const fields = (await client.hkeysBuffer(key as string)).map((field) => field.toString('latin1'));
    expect(fields.filter((field) => field.startsWith('#') || (field[0] === ':' && field.length > 9))).toEqual([]);
    // The root, and what once was a segment of its own: all others are in chunks and buckets.
    expect(fields.filter((field) => field[0] === ':')).toHaveLength(3);
  });
});

describe('a large trace', () => {
  const id = (i: number) => i.toString(16).padStart(16, '0');
  const addition = (trace: { projectId: string; traceId: string }, from: number, length: number) => {
    const span = (i: number) => ({ spanId: id(i), parentId: ROOT, partition: 0, payload: Buffer.from('{}') });
    return {
      ...trace,
      subsegments: [{ topId: ROOT, hasRoot: false, spans: Array.from({ length }, (_, i) => span(from + i)) }],
    };
  };

  const inOne = (trace: { projectId: string; traceId: string }, topId: string, spanIds: readonly string[]) => ({
    ...trace,
    subsegments: [
      {
        topId,
        hasRoot: false,
        spans: spanIds.map((spanId) => ({ spanId, parentId: topId, partition: 0, payload: Buffer.from('{}') })),
      },
    ],
  });

  it('knows ids that end alike, however many, and keeps what has them small', async () => {
    const trace = aTrace();
    const store = openStore(client);
    // Of the buckets for 12 bits and for 3 bytes they fill one each.
    const ids = Array.from({ length: 400 }, (_, i) => `${i.toString(16).padStart(10, '0')}abcdef`);
    const parts = Array.from({ length: 5 }, (_, i) => inOne(trace, ROOT, ids.slice(80 * i, 80 * (i + 1))));
    await store.add(parts, POLICY, { now: T0 });
    // A segment of its own for each whose parent is not known.
    const children = ids.map((parent) => inOne(trace, parent, [parent.replace('abcdef', 'fedcba')]));
    await store.add(children, POLICY, { now: T0 });
    expect((await store.claim({ now: T0 + 60, limit: 10 })).map(({ spanCount }) => spanCount)).toEqual([800]);
    const fields = await client.hgetallBuffer(`span-buf:ssr:{${trace.projectId}:${trace.traceId}}`);
    const buckets = Object.entries(fields).filter(([name]) => name.startsWith('~'));
    expect(buckets.length).toBeGreaterThan(2);
    expect(Math.max(...buckets.map(([, value]) => value.length))).toBe(1_024);
  });

  it('takes no bytes across two ids for an id', async () => {
    const trace = aTrace();
    const store = openStore(client);
    const root = '11220abc33440abc';
    const [before, across] = ['deadbeef01020abc', '01020abc11220abc'];
    // As many as find room in chunks, then one for a bucket: its id, and behind it that of the root.
    const filling = Array.from({ length: 16 * 7 }, (_, i) => id(1_000 + i));
    await store.add([inOne(trace, root, filling), inOne(trace, root, [before])], POLICY, { now: T0 });
    await store.add([inOne(trace, CHILD, [across])], POLICY, { now: T0 });
    const counts = (await store.claim({ now: T0 + 60, limit: 10 })).map(({ spanCount }) => spanCount);
    expect(counts.sort((a, b) => a - b)).toEqual([1, 113]);
  });

  it('is unlinked when its dedupe window is over, before it expires', async () => {
    const trace = aTrace();
    const key = `span-buf:ssr:{${trace.projectId}:${trace.traceId}}`;
    const sliceId = aSlice();
    const store = openStore(client, { dedupeWindowSeconds: 1, sliceId });
    const claim = () => store.claim({ now: T0 + 60, limit: 10 });
    await store.add(
      Array.from({ length: 128 }, (_, i) => addition(trace, 1 + i * 80, 80)),
      POLICY,
      { now: T0 },
    );
    await store.complete(await claim());
    expect(await client.ttl(key)).toBeGreaterThan(5);
    // With spans again it stays.
    await store.add([addition(trace, 20_000, 1)], POLICY, { now: T0 });
    await expect
      .poll(async () => (await claim()).length + Number(await client.exists(`span-buf:q:{${sliceId}-0}:forgotten`)))
      .toBe(0);
    expect(await client.exists(key)).toBe(1);
  });

  it('is to be forgotten by one shard, however many have segments of it that end together', async () => {
    const trace = aTrace();
    const sliceId = aSlice();
    const store = openStore(client, { sliceId });
    const shards = [0, 1, 2, 3, 4];
    await store.add(
      [
        ...Array.from({ length: 128 }, (_, i) => addition(trace, 1 + i * 80, 80)),
        ...shards.map((partition) => {
          const span = { spanId: id(30_000 + partition), parentId: id(40_000 + partition), partition };
          return {
            ...trace,
            subsegments: [{ topId: span.parentId, hasRoot: false, spans: [{ ...span, payload: Buffer.from('{}') }] }],
          };
        }),
      ],
      POLICY,
      { now: T0 },
    );
    const generations = await store.claim({ now: T0 + 60, limit: 10 });
    expect(generations).toHaveLength(6);
    await store.complete(generations);
    const lists = await Promise.all(
      shards.map((shard) => client.zrange(`span-buf:q:{${sliceId}-${shard}}:forgotten`, '0', '-1')),
    );
    expect(lists.flat()).toEqual([`span-buf:ssr:{${trace.projectId}:${trace.traceId}}`]);
  });

  it('is gone soon after its window although its key would live on', async () => {
    const trace = aTrace();
    const key = `span-buf:ssr:{${trace.projectId}:${trace.traceId}}`;
    const sliceId = aSlice();
    const store = openStore(client, { dedupeWindowSeconds: 1, sliceId });
    const claim = () => store.claim({ now: T0 + 60, limit: 10 });
    await store.add(
      Array.from({ length: 128 }, (_, i) => addition(trace, 1 + i * 80, 80)),
      POLICY,
      { now: T0 },
    );
    await store.complete(await claim());
    expect(await claim()).toEqual([]);
    expect(await client.ttl(key)).toBeGreaterThan(5);
    await expect
      .poll(async () => {
        await claim();
        return client.exists(key);
      })
      .toBe(0);
    expect((await client.keys(`*${sliceId}*`)).filter((one) => one.includes(`${sliceId}-`))).toEqual([]);
  });
});

describe('createRedisStore', () => {
  it('names every option that is wrong', () => {
    const options = {
      layout: 'scattered' as 'colocated',
      sliceId: -1,
      redisTtlSeconds: 0,
      leaseSeconds: 0,
      unknown: 1,
    };
    expect(() => createRedisStore(client as Redis, options)).toThrow(InvalidStoreOptionsError);
    for (const name of Object.keys(options)) expect(() => createRedisStore(client as Redis, options)).toThrow(name);
  });

  it.each(TOPOLOGIES)('honours a key prefix of the client on %s', async (topology) => {
    // Several: the slot of a key without a hash tag depends on its prefix.
    for (const keyPrefix of Array.from({ length: 5 }, () => `prefix-${aSlice()}:`)) {
      const prefixed =
        topology === 'one node'
          ? new Redis(inject('redisUrl'), { keyPrefix })
          : connectCluster(inject('redisClusterUrl'), { redisOptions: { keyPrefix } });
      const trace = aTrace();
      const store = openStore(prefixed, { dedupeWindowSeconds: 0, deadlineSeconds: 10 });
      await store.add([additionOf(trace)], POLICY, { now: T0 });
      const nodes = prefixed instanceof Redis ? [client as Redis] : prefixed.nodes('master');
      const keys = async () => (await Promise.all(nodes.map((node) => node.keys('*')))).flat();
      expect(
        (await keys()).filter((key) => key.includes(trace.projectId)).every((key) => key.startsWith(keyPrefix)),
      ).toBe(true);
      const generations: SealedGeneration[] = await store.claim({ now: T0 + 10, limit: 1 });
      expect((await store.read(generations)).flat()).toHaveLength(1);
      await store.complete(generations);
      expect((await keys()).filter((key) => key.startsWith(keyPrefix))).toEqual([]);
      prefixed.disconnect();
    }
  });
});

describe('a key prefix that ioredis would use for some commands only', () => {
  it('is refused', () => {
    const cluster = connectCluster(inject('redisClusterUrl'), { keyPrefix: 'prefix:', lazyConnect: true });
    expect(() => createRedisStore(cluster)).toThrow('must be set in redisOptions');
    cluster.disconnect();
  });
});

describe('hash slots', () => {
  it('are those that Redis computes', async () => {
    const cluster = await connect('a three-node cluster');
    const refs = Array.from({ length: 50 }, () => ({ ...aTrace(), spanId: ROOT }));
    for (const key of refs.flatMap((ref) => [
      formatPayloadKey(ref),
      formatSegmentKey(ref),
      `plain ${ref.traceId}`,
      'ü{ö}',
      'a{}b',
    ])) {
      expect(hashSlot(key)).toBe(await cluster.cluster('KEYSLOT', key));
    }
  });
});
