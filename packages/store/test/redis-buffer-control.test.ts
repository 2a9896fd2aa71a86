import { formatClocksKey, formatFlushersKey, formatProcessesKey, formatQueueKey, formatShardsKey } from '@spanbuf/keys';
import { connect, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import { Cluster, Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { createBufferControl, InvalidStoreOptionsError, type TraceAddition } from '../src/index.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000_000 };
const T0 = 1_700_000_000;
const A = 'a'.repeat(16);
const DAY_SECONDS = 86_400;

/** A whole segment of one span. */
function addition(partition = 0): TraceAddition {
  const span = { spanId: A, parentId: A, partition, payload: Buffer.from('{}') };
  return { ...aTrace(), subsegments: [{ topId: A, hasRoot: true, spans: [span] }] };
}

describe.each(TOPOLOGIES)('BufferControl on %s', async (topology) => {
  const client = await connect(topology);
  const open = () => {
    const sliceId = aSlice();
    return { sliceId, store: openStore(client, { sliceId }), control: createBufferControl(client, { sliceId }) };
  };
  const anyNode = client instanceof Cluster ? client.nodes('master')[0] : client;

  it('knows of nothing where there is nothing', async () => {
    const { redisSeconds, memory, ...rest } = await open().control.readState();
    expect(rest).toEqual({ liveFlushers: 0, clocks: new Map(), shards: [] });
    expect(redisSeconds).toBeCloseTo(Number((await (anyNode as Redis).time())[0]), -2);
    expect(memory).toHaveLength(client.isCluster ? 3 : 1);
    for (const { node, usedBytes, maxBytes } of memory) {
      expect(node).toMatch(/^127\.0\.0\.1:\d+$/);
      expect(usedBytes).toBeGreaterThan(500_000);
      expect(maxBytes).toBe(0);
    }
  });

  it('says how much waits, how much is out, and since when', async () => {
    const { store, control } = open();
    await store.add([addition(3), addition(3), addition(3), addition(1)], POLICY, { now: T0 });
    await store.add([addition(3)], POLICY, { now: T0 - 5 });
    const before = { dueCount: 4, inFlightCount: 0, parkedCount: 0, oldestDueSeconds: T0 + 5, clock: undefined };
    expect((await control.readState()).shards).toEqual([
      { shard: 1, ...before, dueCount: 1, oldestDueSeconds: T0 + 10 },
      { shard: 3, ...before },
    ]);
    const claimed = await store.claim({ now: T0 + 9, limit: 1, shards: [3] });
    const after = { ...before, dueCount: 3, inFlightCount: 1, oldestDueSeconds: T0 + 10 };
    expect((await control.readState({ shards: [3, 8] })).shards).toEqual([
      { shard: 3, ...after },
      { shard: 8, ...before, dueCount: 0, oldestDueSeconds: undefined },
    ]);
    await store.complete([...claimed, ...(await store.claim({ now: T0 + 10, limit: 9 }))]);
    expect((await control.readState()).shards).toEqual([]);
  });

  it('lists shards no longer that flushers have emptied who were told their shards', async () => {
    const { store, control, sliceId } = open();
    await store.add([addition(2), addition(4)], POLICY, { now: T0 });
    const listed = async () => (await (client as Redis).hkeys(formatShardsKey({ sliceId }))).sort();
    await store.claim({ now: T0 + 10, limit: 9, shards: [2] });
    // As when their generations have been completed by another flusher.
    await (client as Redis).del(formatQueueKey({ shard: 2, sliceId, part: 'in-flight' }));
    expect(await store.claim({ now: T0 + 10, limit: 9, shards: [2] })).toEqual([]);
    expect(await listed()).toEqual(['2', '4']);
    expect((await control.readState({ shards: [2] })).shards).toMatchObject([{ dueCount: 0 }]);
    expect(await listed()).toEqual(['2', '4']);
    expect((await control.readState()).shards).toMatchObject([{ shard: 4 }]);
    expect(await listed()).toEqual(['4']);
  });

  it('gives back the last mark of each shard, with the clock of Redis at which it was made', async () => {
    const { control } = open();
    await control.markClocks(new Map());
    await control.markClocks(new Map([0, 1, 2].map((shard) => [shard, { messageSeconds: T0, behindSeconds: 9.25 }])));
    const mark = { messageSeconds: T0 + 0.5, behindSeconds: 0 };
    await control.markClocks(new Map([[1, mark]]));
    const { redisSeconds, shards } = await control.readState({ shards: [1, 0, 7] });
    expect(shards.map(({ shard, clock }) => [shard, clock])).toEqual([
      [0, { messageSeconds: T0, behindSeconds: 9.25, markedSeconds: expect.any(Number) }],
      [1, { ...mark, markedSeconds: expect.any(Number) }],
      [7, undefined],
    ]);
    const [zero, one] = shards.map(({ clock }) => clock?.markedSeconds as number) as [number, number];
    expect(one).toBeGreaterThan(zero);
    expect(redisSeconds).toBeGreaterThan(one);
    // Half a million milliseconds would be a unit mistaken.
    expect(redisSeconds - zero).toBeLessThan(500);
  });

  it('marks thousands of shards', async () => {
    const { control } = open();
    const shards = Array.from({ length: 5_000 }, (_, shard) => shard);
    await control.markClocks(new Map(shards.map((shard) => [shard, { messageSeconds: T0 + shard, behindSeconds: 0 }])));
    const state = await control.readState({ shards: [0, 4_999] });
    expect(state.shards.map(({ clock }) => clock?.messageSeconds)).toEqual([T0, T0 + 4_999]);
  });

  it('counts flushers that have announced themselves, until they withdraw or stay silent', async () => {
    const { control, sliceId } = open();
    const live = async () => (await control.readState()).liveFlushers;
    await control.announceFlusher('one', 1_000);
    await control.announceFlusher('two', 1_000);
    await control.announceFlusher('two', 1_000);
    await control.announceFlusher('short', 0.05);
    await expect.poll(live).toBe(2);
    await control.withdrawFlusher('one');
    await control.withdrawFlusher('one');
    expect(await live()).toBe(1);
    // Whoever announces itself next forgets those that were silent.
    await control.announceFlusher('two', 1_000);
    expect(await (client as Redis).zrange(formatFlushersKey({ sliceId }), '0', '-1')).toEqual(['two']);
  });

  it('leaves no key without a time to live, and none of less than a day', async () => {
    const { control, sliceId } = open();
    const brief = createBufferControl(client, { sliceId, redisTtlSeconds: 1 });
    for (const one of [brief, control]) {
      await one.markClocks(new Map([[0, { messageSeconds: T0, behindSeconds: 0 }]]));
      await one.announceFlusher('one', 60);
      await one.withdrawFlusher('two');
      const process = { id: 'one', app: 'consumer', version: '1', layout: 'distributed' } as const;
      await one.announceProcess({ ...process, writes: { maxAgeSeconds: 600, shards: [0] } }, 60);
      await one.withdrawProcess('two');
      for (const key of [formatClocksKey, formatFlushersKey, formatProcessesKey].map((format) => format({ sliceId })))
        expect(await client.ttl(key)).toBeGreaterThan(DAY_SECONDS - 100);
    }
    await control.announceFlusher('one', 5 * DAY_SECONDS);
    await control.announceFlusher('one', 60);
    expect(await client.ttl(formatFlushersKey({ sliceId }))).toBeGreaterThan(5 * DAY_SECONDS - 100);
  });

  it('belongs to one slice', async () => {
    const [one, other] = [open(), open()];
    await one.control.announceFlusher('one', 60);
    await one.control.markClocks(new Map([[0, { messageSeconds: T0, behindSeconds: 0 }]]));
    await one.store.add([addition()], POLICY, { now: T0 });
    expect(await other.control.readState({ shards: [0] })).toMatchObject({
      liveFlushers: 0,
      shards: [{ dueCount: 0, clock: undefined }],
    });
  });
});

describe('createBufferControl', () => {
  it('names every option that is wrong', () => {
    const client = new Redis({ lazyConnect: true });
    const options = { sliceId: -1, redisTtlSeconds: 0, attemptSeconds: 0, unknown: 1 };
    expect(() => createBufferControl(client, options)).toThrow(InvalidStoreOptionsError);
    for (const name of Object.keys(options)) expect(() => createBufferControl(client, options)).toThrow(name);
  });

  it('works without slices, and where INFO is not permitted', async () => {
    const admin = new Redis(inject('redisUrl'));
    const user = `user-${aSlice()}`;
    await admin.call('ACL', ['SETUSER', user, 'on', '>secret', '~*', '+@all', '-info']);
    const client = new Redis(inject('redisUrl'), { username: user, password: 'secret', enableReadyCheck: false });
    onTestFinished(async () => {
      client.disconnect();
      await admin.call('ACL', ['DELUSER', user]);
      admin.disconnect();
    });
    const control = createBufferControl(client);
    const shard = aSlice();
    await control.markClocks(new Map([[shard, { messageSeconds: T0, behindSeconds: 0 }]]));
    const state = await control.readState({ shards: [shard] });
    expect(state.memory).toEqual([]);
    expect(state.shards[0]?.clock?.messageSeconds).toBe(T0);
    expect(await admin.exists(formatQueueKey({ shard }))).toBe(0);
  });
});
