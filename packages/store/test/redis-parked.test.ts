import { formatQueueKey, formatShardsKey, formatTraceKey } from '@spanbuf/keys';
import { openCommandGate } from '@spanbuf/tooling/command-gate';
import { connect } from '@spanbuf/tooling/redis-clients';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, vi } from 'vitest';
import {
  createBufferControl,
  createLedger,
  LAYOUTS,
  type RedisStoreOptions,
  type SealedGeneration,
  type SegmentStore,
  type TraceAddition,
} from '../src/index.ts';
import { dueIn } from './queues.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

/** What parking leaves in Redis, at every moment. The contract says what it means. */

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000 };
const T0 = 1_700_000_000;
const DAY_SECONDS = 86_400;
const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];

const client = (await connect('one node')) as Redis;

function addition(trace: ReturnType<typeof aTrace>, spanId: string, parentId: string, bytes = 2): TraceAddition {
  const span = { spanId, parentId, partition: 0, payload: Buffer.alloc(bytes, 'x') };
  return { ...trace, subsegments: [{ topId: parentId, hasRoot: spanId === parentId, spans: [span] }] };
}

function open(options: RedisStoreOptions = {}) {
  const sliceId = aSlice();
  const trace = aTrace();
  const store = openStore(client, { sliceId, ...options });
  return {
    store,
    sliceId,
    trace,
    traceKey: formatTraceKey(trace),
    parkedKey: formatQueueKey({ shard: 0, sliceId, part: 'parked' }),
    add: (spanId: string, parentId: string, bytes?: number, now = T0) =>
      store.add([addition(trace, spanId, parentId, bytes)], POLICY, { now }),
    claim: (now: number) => store.claim({ now, limit: 100 }),
    payloadKeys: async () => (await client.keys(`span-buf:s:*${trace.traceId}*`)).sort(),
  };
}

const parkAll = (store: SegmentStore, generations: readonly SealedGeneration[]) =>
  store.park(generations.map((generation) => ({ generation, reason: 'refused' })));

async function shortestDays(keys: readonly string[]): Promise<number> {
  const ttls = await Promise.all(keys.map((key) => client.ttl(key)));
  return Math.min(...ttls) / DAY_SECONDS;
}

describe.each(LAYOUTS)('what is parked, %s', (layout) => {
  it('lives for a month, whatever comes and goes in its trace', async () => {
    const { store, sliceId, trace, traceKey, parkedKey, add, claim, payloadKeys } = open({
      layout,
      dedupeWindowSeconds: 0,
    });
    await add(A, A);
    await add(B, A);
    const payloads = await payloadKeys();
    await parkAll(store, await claim(T0 + 10));
    const keys = [traceKey, parkedKey, formatShardsKey({ sliceId }), ...payloads];
    expect(payloads.length).toBeGreaterThan(1);
    expect(await shortestDays(keys)).toBeGreaterThan(29.9);

    await add(C, B, 2, T0 + 20);
    expect(await shortestDays(keys)).toBeGreaterThan(29.9);
    await store.complete(await claim(T0 + 30));
    expect(await payloadKeys()).toEqual(payloads);
    expect(await shortestDays(keys)).toBeGreaterThan(29.9);

    await store.retryParked(await store.listParked({ limit: 10 }));
    expect(await shortestDays([traceKey, ...payloads])).toBeGreaterThan(29.9);
    const again = await claim(T0 + 30);
    expect((await store.read(again)).flat()).toHaveLength(2);
    await store.complete(again);
    expect(await client.keys(`*${sliceId}-*`)).toEqual([]);
    expect(await client.keys(`*${trace.traceId}*`)).toEqual([]);
  });

  it('lives as long as the store keeps anything, when that is longer', async () => {
    const { store, traceKey, parkedKey, add, claim, payloadKeys } = open({ layout, redisTtlSeconds: 50 * DAY_SECONDS });
    await add(A, A);
    await parkAll(store, await claim(T0 + 10));
    expect(await shortestDays([traceKey, parkedKey, ...(await payloadKeys())])).toBeGreaterThan(49.9);
  });

  it('does not expire as long as somebody keeps it', async () => {
    const { store, sliceId, traceKey, parkedKey, add, claim, payloadKeys } = open({ layout });
    await add(A, A);
    await add(B, A);
    await parkAll(store, await claim(T0 + 10));
    const all = [traceKey, parkedKey, formatShardsKey({ sliceId }), ...(await payloadKeys())];
    // As if a month were nearly over.
    await Promise.all(all.map((key) => client.expire(key, 60)));
    let kept = 0;
    for await (const count of store.keepParked()) kept += count;
    expect(kept).toBe(1);
    expect(await shortestDays(all)).toBeGreaterThan(29.9);
  });

  it('is let go of when nothing of it is left, and nobody is told that it was deleted', async () => {
    const { store, traceKey, parkedKey, add, claim } = open({ layout });
    await add(A, A);
    await parkAll(store, await claim(T0 + 10));
    // As a reader does that begins another epoch.
    await client.unlink(traceKey);
    const lost = await store.listParked({ limit: 10 });
    expect(lost).toHaveLength(1);
    for await (const count of store.keepParked()) expect(count).toBe(0);
    expect(await store.listParked({ limit: 10 })).toEqual([]);
    expect(await store.deleteParked(lost)).toEqual([]);
    expect(await claim(T0 + 10)).toEqual([]);
    expect(await client.exists(parkedKey)).toBe(0);
  });

  it('is gone without a trace when it has been deleted, wherever deleting was cut off', async () => {
    for (let cut = 0, isDone = false; !isDone; cut++) {
      const { store, sliceId, trace, parkedKey, add, claim } = open({ layout, dedupeWindowSeconds: 0 });
      await add(A, A);
      await add(B, A);
      await parkAll(store, await claim(T0 + 10));
      const parked = await store.listParked({ limit: 10 });
      const gate = await openCommandGate(
        { port: Number(new URL(inject('redisUrl')).port) },
        { onCommand: ({ index }) => (index === cut ? 'cut-after' : 'pass'), refuseAfterCut: true },
      );
      const throughGate = new Redis(gate.port, { retryStrategy: () => null });
      throughGate.on('error', () => undefined);
      const options = { sliceId, layout, dedupeWindowSeconds: 0, leaseSeconds: 0.2 };
      const stopped = openStore(throughGate, { ...options, deadlineSeconds: 0.3 });
      isDone = await stopped.deleteParked(parked).then(
        () => true,
        () => false,
      );
      throughGate.disconnect();
      await gate.close();
      await store.deleteParked(parked);
      // What was leased to the one that died comes again, whole or as an entry that stands for nothing.
      const inFlight = formatQueueKey({ shard: 0, sliceId, part: 'in-flight' });
      await vi.waitFor(async () => {
        const again = await claim(T0 + 10);
        for (const generation of again) expect((await store.read([generation]))[0]).toHaveLength(2);
        await store.complete(again);
        expect(await client.exists(inFlight, parkedKey)).toBe(0);
      });
      const left = await client.keys(`span-buf:ssr:*${trace.traceId}*`);
      expect([...left, ...(await client.keys(`*{${sliceId}-*`))]).toEqual([]);
    }
  });

  it('has a long life before it is parked, wherever parking is cut off', async () => {
    for (let cut = 0, isDone = false; !isDone; cut++) {
      const { store, sliceId, traceKey, parkedKey, trace, add, claim, payloadKeys } = open({ layout });
      await add(A, A);
      await add(B, A);
      const payloads = await payloadKeys();
      const claimed = await claim(T0 + 10);
      let seen = 0;
      const check = async () => {
        if ((await client.hlen(parkedKey)) > 0) {
          seen++;
          expect(await shortestDays([traceKey, parkedKey, formatShardsKey({ sliceId }), ...payloads])).toBeGreaterThan(
            29.9,
          );
        }
        const keys = await client.keys(`*${sliceId}*`);
        expect(await shortestDays([...keys, traceKey, ...payloads])).toBeGreaterThan(0);
      };
      const gate = await openCommandGate(
        { port: Number(new URL(inject('redisUrl')).port) },
        { onCommand: ({ index }) => (index === cut ? 'cut-after' : 'pass'), afterCommand: check, refuseAfterCut: true },
      );
      const throughGate = new Redis(gate.port, { retryStrategy: () => null });
      throughGate.on('error', () => undefined);
      const stopped = openStore(throughGate, { sliceId, layout, deadlineSeconds: 0.3 });
      isDone = await parkAll(stopped, claimed).then(
        () => true,
        () => false,
      );
      throughGate.disconnect();
      await gate.close();
      if (isDone) expect(seen).toBe(1);
      // Who comes back does the rest, and again what was done.
      await parkAll(store, claimed);
      await parkAll(store, claimed);
      expect(await store.listParked({ limit: 10 })).toMatchObject([{ ...trace, spanCount: 2 }]);
    }
  });
});

describe('tries that come to nothing', () => {
  it('are counted for as long as the generation waits, and leave nothing behind', async () => {
    const { store, sliceId, add, claim } = open({ leaseSeconds: 0.1, dedupeWindowSeconds: 0 });
    const triesKey = formatQueueKey({ shard: 0, sliceId, part: 'tries' });
    await add(A, A);
    const [first] = (await claim(T0 + 10)) as [SealedGeneration];
    expect(await store.park([{ generation: first, reason: 'refused' }], { tries: 2 })).toEqual([false]);
    expect(await client.hlen(triesKey)).toBe(1);
    expect(await client.ttl(triesKey)).toBeGreaterThan(0);
    const again = await vi.waitFor(async () => {
      const generations = await claim(T0 + 10);
      expect(generations).toHaveLength(1);
      return generations;
    });
    await store.complete(again);
    expect(await client.keys(`*{${sliceId}-*`)).toEqual([]);
  });

  it('are none of somebody whose lease is over', async () => {
    const { store, sliceId, add, claim } = open({ leaseSeconds: 0.1 });
    await add(A, A);
    const [late] = (await claim(T0 + 10)) as [SealedGeneration];
    await vi.waitFor(async () => expect(await claim(T0 + 10)).toHaveLength(1));
    expect(await store.park([{ generation: late, reason: 'refused' }], { tries: 2 })).toEqual([false]);
    expect(await client.exists(formatQueueKey({ shard: 0, sliceId, part: 'tries' }))).toBe(0);
  });
});

describe('a parked generation', () => {
  it('has its offsets in the books as open, and as deleted once it is', async () => {
    const { store, sliceId, trace, claim } = open();
    const ledger = createLedger(client, { sliceId });
    await ledger.open([{ partition: 0, source: '', offset: 5n }]);
    await ledger.take([{ partition: 0, source: '', offset: 8n }]);
    const spans = [5n, 7n].map((offset) => ({
      spanId: A,
      parentId: A,
      partition: 0,
      offset,
      payload: Buffer.from('x'),
    }));
    await store.add([{ ...trace, subsegments: [{ topId: A, hasRoot: true, spans }] }], POLICY, { now: T0 });
    await parkAll(store, await claim(T0 + 10));
    expect(await ledger.read([0])).toMatchObject([{ openCount: 3, counts: new Map() }]);
    await store.deleteParked(await store.listParked({ limit: 10 }));
    const [books] = await ledger.read([0]);
    expect(books).toMatchObject({ openCount: 1, firstOpenOffset: 6n, counts: new Map([['deleted', 2]]) });
  });

  it('of an epoch before is not deleted in the books: its spans are read again', async () => {
    const { sliceId, trace } = open();
    const [before, after] = [1, 2].map((epoch) => openStore(client, { sliceId, epoch })) as [
      SegmentStore,
      SegmentStore,
    ];
    const ledger = createLedger(client, { sliceId });
    await ledger.open([{ partition: 0, source: '', offset: 5n }]);
    const spans = [{ spanId: A, parentId: A, partition: 0, offset: 5n, payload: Buffer.from('x') }];
    const held = { ...trace, subsegments: [{ topId: A, hasRoot: true, spans }] };
    await before.add([held], POLICY, { now: T0 });
    await parkAll(before, await before.claim({ now: T0 + 10, limit: 1 }));
    await after.deleteParked(await after.listParked({ limit: 10 }));
    expect(await after.listParked({ limit: 10 })).toEqual([]);
    expect((await ledger.read([0]))[0]?.counts).toEqual(new Map());
    expect(await after.add([held], POLICY, { now: T0 })).toEqual({ added: 1, replayed: 0 });
  });

  it('is not queued again by a writer that does not know whether it ever was', async () => {
    const { store, traceKey, trace, sliceId, add, claim } = open();
    await add(A, A, 1_000);
    const [sealed] = (await claim(T0)) as [SealedGeneration];
    expect(sealed.reason).toBe('max-bytes');
    const [entry] = await client.zrange(formatQueueKey({ shard: 0, sliceId, part: 'in-flight' }), '0', '-1');
    await parkAll(store, [sealed]);
    // As if the process that sealed it had died before it could strike it off this list.
    const [, handle, list] = /:([0-9a-f]{16})\.(\d+)$/.exec(entry as string) as unknown as [string, string, string];
    const place = Buffer.from(`3a${handle}${'00'.repeat(8)}`, 'hex');
    place.writeUInt32LE(Number(list), 9);
    await client.hset(traceKey, 'o', place);
    await store.add([addition(trace, B, A)], POLICY, { now: T0 });
    expect((await dueIn(client, { shard: 0, sliceId })).map((queued) => queued.entry)).not.toContain(entry);
    expect(await client.hexists(traceKey, 'o')).toBe(0);
    expect((await claim(T0 + 60)).map(({ generation }) => generation)).toEqual([2]);
    expect(await store.listParked({ limit: 10 })).toHaveLength(1);
  });

  it('keeps its shard known, and is counted there, while nothing else is in it', async () => {
    const { store, sliceId, add, claim } = open();
    const control = createBufferControl(client, { sliceId });
    await add(A, A);
    await parkAll(store, await claim(T0 + 10));
    expect(await claim(T0 + 1_000_000)).toEqual([]);
    const none = { dueCount: 0, inFlightCount: 0, oldestDueSeconds: undefined };
    expect((await control.readState()).shards).toMatchObject([{ shard: 0, parkedCount: 1, ...none }]);
    // Put back, it does not look as if it had been due since the beginning of time.
    await store.retryParked(await store.listParked({ limit: 10 }));
    expect((await control.readState()).shards).toMatchObject([{ shard: 0, parkedCount: 0, ...none, dueCount: 1 }]);
    await store.complete(await claim(T0 + 10));
    expect((await control.readState()).shards).toEqual([]);
  });

  it('that is gone when it is put back is taken out, and nothing else is touched', async () => {
    const { store, sliceId, traceKey, add, claim } = open();
    await add(A, A);
    await parkAll(store, await claim(T0 + 10));
    await client.del(traceKey);
    await add(A, A);
    const parked = await store.listParked({ limit: 10 });
    await store.retryParked(parked);
    const anew = await claim(T0 + 10);
    expect(anew).toMatchObject([{ generation: 1, spanCount: 1 }]);
    await store.complete(anew);
    expect(await client.keys(`*{${sliceId}-*`)).toEqual([]);
  });

  it('does not make a trace live on that another flusher has completed', async () => {
    const { store, traceKey, add, claim } = open({ leaseSeconds: 0.1, dedupeWindowSeconds: 100 });
    await add(A, A);
    const [late] = (await claim(T0 + 10)) as [SealedGeneration];
    await expect.poll(async () => (await claim(T0 + 10)).length).toBe(1);
    await store.complete([late]);
    await parkAll(store, [late]);
    expect(await client.ttl(traceKey)).toBeLessThanOrEqual(100);
  });
});
