import { randomBytes } from 'node:crypto';
import { expect, it, vi } from 'vitest';
import {
  type ClaimQuery,
  MAX_SUBSEGMENTS_PER_ADDITION,
  type ParkedQuery,
  type SealedGeneration,
  type SegmentPolicy,
  type SegmentStore,
  type StoredSpan,
  type Subsegment,
  type TraceAddition,
} from '../segment-store.ts';

/** What a test asks of the store it opens. */
export interface ContractOptions {
  readonly dedupeWindowSeconds?: number;
  readonly leaseSeconds?: number;
}

const POLICY: SegmentPolicy = {
  rootTimeoutSeconds: 10,
  timeoutSeconds: 60,
  maxAgeSeconds: 600,
  maxSegmentBytes: 1_000_000,
};

/** Message time at which the tests begin, Unix seconds. */
const T0 = 1_700_000_000;

/**
 * What every {@link SegmentStore} must do, as vitest tests: call it inside a `describe`.
 * @param open - Gives an empty store with these options, and sees to it that it is closed when the test ends.
 */
export function segmentStoreContract(open: (options: ContractOptions) => SegmentStore | Promise<SegmentStore>): void {
  /** A store with one trace, and calls that leave out what most tests do not care about. */
  const begin = async (options: ContractOptions = {}) => {
    const store = await open(options);
    const trace = aTrace();
    return {
      store,
      trace,
      add: (subsegments: Subsegment[], now = T0, policy: Partial<SegmentPolicy> = {}) =>
        store.add([{ ...trace, subsegments }], { ...POLICY, ...policy }, { now }),
      claim: (now: number, query: Partial<ClaimQuery> = {}) => claimAll(store, now, query),
    };
  };

  it('hands out what it was given, with the facts about it', async () => {
    const { store, trace, add, claim } = await begin();
    const long = aSpan('a2', 'a1', { offset: 9n, payload: 'x'.repeat(5_000), places: [200, 4_000] });
    const spans = [aSpan('a1', 'a1', { offset: 7n }), long];
    expect(await add([subsegment('a1', spans, true)])).toEqual({ added: 2, replayed: 0 });
    await add([subsegment('a1', [aSpan('a3', 'a1', { offset: 10n })])], T0 + 3);

    const [generation, ...others] = await claim(T0 + 13);
    expect(others).toEqual([]);
    expect(generation).toMatchObject({
      ...trace,
      segmentId: id('a1'),
      generation: 1,
      shard: 0,
      spanCount: 3,
      payloadBytes: 5_002,
      reason: 'root-idle',
      rootSeen: true,
      firstSeconds: T0,
      lastSeconds: T0 + 3,
    });
    const found = sorted(await spansOf(store, generation));
    expect(found).toEqual([...spans, aSpan('a3', 'a1', { offset: 10n })].map(comparable));
  });

  it('joins children to a parent that arrives after them', async () => {
    const { add, claim } = await begin();
    await add([subsegment('c', [aSpan('d', 'c')])]);
    await add([subsegment('b', [aSpan('c', 'b')])]);
    await add([subsegment('a', [aSpan('b', 'a')])]);
    await add([subsegment('a', [aSpan('a', 'a')], true)]);
    expect((await claim(T0 + 10)).map(({ segmentId, spanCount }) => [segmentId, spanCount])).toEqual([[id('a'), 4]]);
  });

  it('makes one segment of two that each have many members', async () => {
    const { store, add, claim } = await begin();
    const children = (first: number, parent: string) =>
      Array.from({ length: 700 }, (_, i) => subsegment(parent, [aSpan((first + i).toString(16), parent)]));
    await add(children(0x1000, 'b').slice(0, 500));
    await add(children(0x1000, 'b').slice(500));
    await add(children(0x2000, 'a').slice(0, 500));
    await add(children(0x2000, 'a').slice(500));
    await add([subsegment('a', [aSpan('b', 'a'), aSpan('a', 'a')], true)]);
    const [generation, ...others] = await claim(T0 + 10);
    expect(others).toEqual([]);
    expect(generation?.spanCount).toBe(1_402);
    expect(new Set((await spansOf(store, generation)).map(({ spanId }) => spanId)).size).toBe(1_402);
    await store.complete([generation as SealedGeneration]);
    expect(await claim(T0 + 1_000_000)).toEqual([]);
  });

  it('keeps a chain of 300 spans together that arrives leaf first', async () => {
    const { add, claim } = await begin();
    for (let i = 300; i > 1; i--) await add([subsegment(hex(i - 1), [aSpan(hex(i), hex(i - 1))])]);
    await add([subsegment(hex(1), [aSpan(hex(1), hex(1))], true)]);
    // A late child of the leaf still finds the root.
    await add([subsegment(hex(300), [aSpan('eee', hex(300))])]);
    expect((await claim(T0 + 10)).map(({ segmentId, spanCount }) => [segmentId, spanCount])).toEqual([
      [id(hex(1)), 301],
    ]);
  });

  it('is due a short while after the last span once the root was seen, a long while before', async () => {
    const { add, claim } = await begin();
    await add([subsegment('a', [aSpan('b', 'a')])]);
    expect(await claim(T0 + 59.9)).toEqual([]);
    await add([subsegment('a', [aSpan('c', 'a')])], T0 + 40);
    expect(await claim(T0 + 60)).toEqual([]);
    await add([subsegment('a', [aSpan('a', 'a')], true)], T0 + 45);
    expect(await claim(T0 + 54.9)).toEqual([]);
    expect((await claim(T0 + 55)).map(({ reason }) => reason)).toEqual(['root-idle']);
  });

  it('is due after the long while when the root stays away', async () => {
    const { add, claim } = await begin();
    await add([subsegment('a', [aSpan('b', 'a')])]);
    expect((await claim(T0 + 60)).map(({ reason, rootSeen }) => [reason, rootSeen])).toEqual([['idle', false]]);
  });

  it('is due at its greatest age, however steadily spans arrive', async () => {
    const { add, claim } = await begin();
    for (let second = 0; second < 600; second += 50)
      await add([subsegment('a', [aSpan(hex(second + 1), 'a')])], T0 + second);
    expect(await claim(T0 + 599.9)).toEqual([]);
    expect((await claim(T0 + 600)).map(({ reason }) => reason)).toEqual(['max-age']);
  });

  it('does not come out earlier for a span whose time is behind', async () => {
    const { add, claim } = await begin();
    await add([subsegment('a', [aSpan('b', 'a')])], T0 + 100);
    await add([subsegment('a', [aSpan('c', 'a')])], T0);
    expect(await claim(T0 + 159.9)).toEqual([]);
    expect(await claim(T0 + 160)).toHaveLength(1);
  });

  it('gives up waiting for a message time that stands still', async () => {
    const { add, claim } = await begin();
    await add([subsegment('a', [aSpan('b', 'a')])], T0, { maxAgeSeconds: 0.1 });
    const [generation] = await vi.waitFor(
      async () => {
        const generations = await claim(0);
        expect(generations).toHaveLength(1);
        return generations;
      },
      { timeout: 10_000 },
    );
    expect(generation).toMatchObject({ reason: 'max-age', spanCount: 1 });
  });

  it('seals what is not due when it is drained', async () => {
    const { add, claim } = await begin();
    await add([subsegment('a', [aSpan('b', 'a')])]);
    expect((await claim(T0, { drain: true })).map(({ reason }) => reason)).toEqual(['drain']);
  });

  it('keeps projects apart that share a trace and its ids', async () => {
    const { store } = await begin();
    const one = aTrace();
    const two = { ...one, projectId: `${one.projectId}x` };
    const addition = (trace: typeof one): TraceAddition => ({
      ...trace,
      subsegments: [subsegment('a', [aSpan('b', 'a')])],
    });
    await store.add([addition(one), addition(two)], POLICY, { now: T0 });
    const generations = await claimAll(store, T0 + 60);
    expect(generations.map(({ projectId, spanCount }) => [projectId, spanCount]).sort()).toEqual([
      [one.projectId, 1],
      [two.projectId, 1],
    ]);
  });

  it('keeps segments of one trace apart whose roots differ', async () => {
    const { add, claim } = await begin();
    await add([subsegment('a', [aSpan('a', 'a')], true), subsegment('b', [aSpan('b', 'b'), aSpan('c', 'b')], true)]);
    const generations = await claim(T0 + 10);
    expect(generations.map(({ segmentId, spanCount }) => [segmentId, spanCount]).sort()).toEqual([
      [id('a'), 1],
      [id('b'), 2],
    ]);
  });

  it('queues a segment of several shards in one of them, and in no other', async () => {
    const { add, claim } = await begin();
    await add([subsegment('b', [aSpan('c', 'b', { partition: 3 })])]);
    await add([subsegment('a', [aSpan('a', 'a', { partition: 7 })], true)]);
    await add([subsegment('a', [aSpan('b', 'a', { partition: 7 })])]);
    for (let i = 0; i < 3; i++)
      await add([subsegment('b', [aSpan(hex(0x100 + i), 'b', { partition: 3 + 4 * (i % 2) })])]);
    const three = await claim(T0 + 100, { shards: [3] });
    const seven = await claim(T0 + 100, { shards: [7] });
    expect([...three, ...seven].map(({ spanCount }) => spanCount)).toEqual([6]);
    expect([three[0]?.shard ?? 3, seven[0]?.shard ?? 7]).toEqual([3, 7]);
    expect(await claim(T0 + 100)).toEqual([]);
  });

  it('finds by itself which shards have something', async () => {
    const { store } = await begin();
    const additions = [2, 5, 11].map((partition) => ({
      ...aTrace(),
      subsegments: [subsegment('a', [aSpan('a', 'a', { partition })], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    expect((await claimAll(store, T0 + 10)).map(({ shard }) => shard).sort((a, b) => a - b)).toEqual([2, 5, 11]);
  });

  it('returns no more generations than asked for, and the others later', async () => {
    const { store } = await begin();
    const additions = Array.from({ length: 25 }, (_, i) => ({
      ...aTrace(),
      subsegments: [subsegment('a', [aSpan('a', 'a', { partition: i % 3 })], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    const traces = new Set<string>();
    for (const expected of [10, 10, 5, 0]) {
      const generations = await claimAll(store, T0 + 10, { limit: 10 });
      expect(generations).toHaveLength(expected);
      for (const { traceId } of generations) traces.add(traceId);
    }
    expect(traces.size).toBe(25);
  });

  it('gets to every shard, however few it may return at once', async () => {
    const { store } = await begin();
    const additions = Array.from({ length: 12 }, (_, i) => ({
      ...aTrace(),
      subsegments: [subsegment('a', [aSpan('a', 'a', { partition: i < 9 ? 0 : i })], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    const shards: number[] = [];
    for (let i = 0; i < 12; i++)
      shards.push(...(await claimAll(store, T0 + 10, { limit: 1 })).map(({ shard }) => shard));
    expect(shards).toHaveLength(12);
    expect(new Set(shards.slice(0, 8)).size).toBe(4);
  });

  it('stops at a number of bytes, and gives the others back', async () => {
    const { store } = await begin();
    const additions = Array.from({ length: 9 }, () => ({
      ...aTrace(),
      subsegments: [subsegment('a', [aSpan('a', 'a', { payload: 'x'.repeat(1_000) })], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    expect(await claimAll(store, T0 + 10, { maxBytes: 3_500 })).toHaveLength(3);
    expect(await claimAll(store, T0 + 10, { maxBytes: 10 })).toHaveLength(1);
    expect(await claimAll(store, T0 + 10)).toHaveLength(5);
  });

  it('gives a generation to one of many who ask at once', async () => {
    const { store } = await begin();
    const additions = Array.from({ length: 40 }, () => ({
      ...aTrace(),
      subsegments: [subsegment('a', [aSpan('a', 'a')], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    const claims = await Promise.all(Array.from({ length: 8 }, () => claimAll(store, T0 + 10, { limit: 15 })));
    const traces = claims.flat().map(({ traceId }) => traceId);
    expect(traces).toHaveLength(40);
    expect(new Set(traces).size).toBe(40);
  });

  it('passes a generation on, unchanged, when its lease has run out', async () => {
    const { store, add, claim } = await begin({ leaseSeconds: 0.2 });
    await add([subsegment('a', [aSpan('a', 'a'), aSpan('b', 'a')], true)]);
    const [first] = await claim(T0 + 10);
    expect(await claim(T0 + 10)).toEqual([]);
    await add([subsegment('a', [aSpan('c', 'a')])], T0 + 11);
    const [second] = await vi.waitFor(async () => {
      const generations = await claim(T0 + 11);
      expect(generations).toHaveLength(1);
      return generations;
    });
    expect({ ...second, claim: null }).toEqual({ ...first, claim: null });
    expect(sorted(await spansOf(store, second))).toEqual(sorted(await spansOf(store, first)));
    await store.complete([second as SealedGeneration]);
    expect(await store.read([first as SealedGeneration])).toEqual([undefined]);
    await store.complete([first as SealedGeneration]);
    expect((await claim(T0 + 21)).map(({ generation, spanCount }) => [generation, spanCount])).toEqual([[2, 1]]);
  });

  it('lets a flusher that wakes up late do nothing to a trace that began anew', async () => {
    const { store, add, claim } = await begin({ leaseSeconds: 0.2, dedupeWindowSeconds: 0 });
    // Two lists that were linked, and more members than fit into one page.
    const build = async () => {
      for (let at = 0; at < 600; at += 50) {
        await add(Array.from({ length: 50 }, (_, i) => subsegment('b', [aSpan(hex(0x1000 + at + i), 'b')])));
      }
      await add([subsegment('a', [aSpan('c', 'a')])]);
      await add([subsegment('a', [aSpan('a', 'a'), aSpan('b', 'a')], true)]);
    };
    await build();
    const late = await claim(T0 + 10);
    const taken = await vi.waitFor(async () => {
      const generations = await claim(T0 + 10);
      expect(generations).toHaveLength(1);
      return generations;
    });
    await store.complete(taken);
    await build();
    const anew = await claim(T0 + 10);
    expect(anew).toMatchObject([{ generation: 1, spanCount: 603 }]);
    expect(await store.read(late)).toEqual([undefined]);
    await store.complete(late);
    await store.release(late);
    expect(await spansOf(store, anew[0])).toHaveLength(603);
    const again = await vi.waitFor(async () => {
      const generations = await claim(T0 + 10);
      expect(generations).toHaveLength(1);
      return generations;
    });
    expect(await spansOf(store, again[0])).toHaveLength(603);
  });

  it('takes back what was released, and hands it out again at once', async () => {
    const { store, add, claim } = await begin();
    await add([subsegment('a', [aSpan('a', 'a')], true)]);
    const [first] = await claim(T0 + 10);
    await store.release([first as SealedGeneration]);
    const [second] = await claim(T0 + 10);
    expect({ ...second, claim: null }).toEqual({ ...first, claim: null });
    // The first lease is over: giving it back again takes nothing from whoever has it now.
    await store.release([first as SealedGeneration]);
    expect(await claim(T0 + 10)).toEqual([]);
  });

  it('lets no project wait behind another one that has far more to give', async () => {
    const { store } = await begin();
    const additionsOf = (projectId: string, count: number): TraceAddition[] =>
      Array.from({ length: count }, () => ({
        ...aTrace(),
        projectId,
        subsegments: [subsegment('a', [aSpan('a', 'a')], true)],
      }));
    // A project that no lane of the queue is shared with, and one that came first, with much.
    const [much, little] = ['4505281256947712', '7'];
    for (let at = 0; at < 2_000; at += 500) await store.add(additionsOf(much, 500), POLICY, { now: T0 });
    await store.add(additionsOf(little, 3), POLICY, { now: T0 + 5 });
    const query = { limit: 50, shards: [0] };
    const first = await claimAll(store, T0 + 20, query);
    expect(first).toHaveLength(50);
    expect(first.filter(({ projectId }) => projectId === little)).toHaveLength(3);
    let rest = 0;
    for (let found = 1; found > 0; rest += found) found = (await claimAll(store, T0 + 20)).length;
    expect(rest).toBe(2_003 - 50);
  });

  it('gives projects their turns, however few generations it may return at once', async () => {
    const { store } = await begin();
    const additionsOf = (projectId: string): TraceAddition[] =>
      Array.from({ length: 30 }, () => ({
        ...aTrace(),
        projectId,
        subsegments: [subsegment('a', [aSpan('a', 'a')], true)],
      }));
    await store.add(additionsOf('4505281256947712'), POLICY, { now: T0 });
    await store.add(additionsOf('7'), POLICY, { now: T0 + 5 });
    const projects: string[] = [];
    for (let i = 0; i < 60; i++)
      projects.push(...(await claimAll(store, T0 + 20, { limit: 1 })).map(({ projectId }) => projectId));
    expect(projects).toHaveLength(60);
    // A store may draw lots: that all of 30 turns go to the same of two projects is one chance in 500 million.
    expect(new Set(projects.slice(0, 30)).size).toBe(2);
  });

  it('sets a generation aside until it is put back, and hands it out then as it was', async () => {
    const { store, trace, add, claim } = await begin({ leaseSeconds: 0.2, dedupeWindowSeconds: 0 });
    await add([subsegment('a', [aSpan('a', 'a', { offset: 1n }), aSpan('b', 'a', { offset: 2n })], true)]);
    const [first] = (await claim(T0 + 10)) as [SealedGeneration];
    const before = await spansOf(store, first);
    await store.park([{ generation: first, reason: 'the broker refuses it' }]);
    // What comes later goes its own way, and takes nothing with it.
    expect(await add([subsegment('b', [aSpan('c', 'b', { offset: 3n })])], T0 + 11)).toEqual({ added: 1, replayed: 0 });
    const [second, ...others] = await claim(T0 + 1_000_000, { drain: true });
    expect(others).toEqual([]);
    expect(second).toMatchObject({ segmentId: id('a'), generation: 2, spanCount: 1 });
    await store.complete([second as SealedGeneration]);
    await store.release([first]);
    expect(await claim(T0 + 1_000_000, { drain: true })).toEqual([]);

    const parked = await store.listParked({ limit: 10 });
    expect(parked).toEqual([
      {
        ...trace,
        segmentId: id('a'),
        generation: 1,
        shard: 0,
        spanCount: 2,
        payloadBytes: 2,
        reason: 'the broker refuses it',
        parkedSeconds: expect.any(Number),
        ref: expect.anything(),
      },
    ]);
    expect(parked[0]?.parkedSeconds).toBeGreaterThan(1_700_000_000);
    // At once, even when message time is far behind.
    await store.retryParked(parked);
    await store.retryParked(parked);
    expect(await store.listParked({ limit: 10 })).toEqual([]);
    const again = await claim(0);
    expect(again.map(({ claim: _, ...facts }) => facts)).toEqual([first].map(({ claim: _, ...facts }) => facts));
    expect(sorted(await spansOf(store, again[0]))).toEqual(sorted(before));
    await store.complete(again);
    expect(await claim(T0 + 1_000_000, { drain: true })).toEqual([]);
    expect(await store.listParked({ limit: 10 })).toEqual([]);
  });

  it('parks nothing whose lease has passed to somebody else', async () => {
    const { store, add, claim } = await begin({ leaseSeconds: 0.2 });
    await add([subsegment('a', [aSpan('a', 'a')], true)]);
    const [late] = (await claim(T0 + 10)) as [SealedGeneration];
    const taken = await vi.waitFor(async () => {
      const generations = await claim(T0 + 10);
      expect(generations).toHaveLength(1);
      return generations;
    });
    await store.park([{ generation: late, reason: 'late' }]);
    expect(await store.listParked({ limit: 10 })).toEqual([]);
    await store.complete(taken);
    // Nor what is completed.
    await store.park([...taken, late].map((generation) => ({ generation, reason: 'late' })));
    expect(await store.listParked({ limit: 10 })).toEqual([]);
    expect(await claim(T0 + 1_000_000)).toEqual([]);
  });

  it('forgets what is parked when somebody who had it before completes it', async () => {
    const { store, add, claim } = await begin({ leaseSeconds: 0.2, dedupeWindowSeconds: 0 });
    await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)]);
    const late = await claim(T0 + 10);
    const [taken] = await vi.waitFor(async () => {
      const generations = await claim(T0 + 10);
      expect(generations).toHaveLength(1);
      return generations;
    });
    await store.park([{ generation: taken as SealedGeneration, reason: 'refused' }]);
    const parked = await store.listParked({ limit: 10 });
    expect(parked).toHaveLength(1);
    await store.complete(late);
    expect(await store.listParked({ limit: 10 })).toEqual([]);
    await store.retryParked(parked);
    expect(await claim(T0 + 1_000_000)).toEqual([]);
    expect(await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)])).toEqual({ added: 1, replayed: 0 });
  });

  it('lists what is parked by shard, no more than asked for, with a reason of bounded length', async () => {
    const { store } = await begin();
    const additions = Array.from({ length: 9 }, (_, i) => ({
      ...aTrace(),
      subsegments: [subsegment('a', [aSpan('a', 'a', { partition: i % 3 })], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    const generations = await claimAll(store, T0 + 10);
    const reason = '"\\\u0000\ud83d\ude00'.repeat(300);
    await store.park(generations.map((generation) => ({ generation, reason })));
    expect(await store.listParked({ limit: 4 })).toHaveLength(4);
    const all = await store.listParked({ limit: 100 });
    expect(new Set(all.map(({ traceId }) => traceId))).toEqual(new Set(additions.map(({ traceId }) => traceId)));
    for (const parked of all) expect(parked.reason).toBe(reason.slice(0, 500));
    const some = await store.listParked({ limit: 100, shards: [1, 7] });
    expect(some.map(({ shard }) => shard)).toEqual([1, 1, 1]);
    await store.retryParked(some);
    expect((await claimAll(store, T0)).map(({ shard }) => shard)).toEqual([1, 1, 1]);
    expect(await store.listParked({ limit: 100 })).toHaveLength(6);
  });

  it('sets aside at the third try what is to be tried that often, however often it hears of one try', async () => {
    const { store, add, claim } = await begin({ leaseSeconds: 0.2, dedupeWindowSeconds: 0 });
    await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)]);
    const park = (generation: SealedGeneration | undefined) =>
      store.park([{ generation: generation as SealedGeneration, reason: 'refused' }], { tries: 3 });
    for (let round = 0; round < 2; round++) {
      for (let attempt = 1; attempt <= 3; attempt++) {
        const [generation, ...others] = await vi.waitFor(async () => {
          const generations = await claim(T0 + 10);
          expect(generations).toHaveLength(1);
          return generations;
        });
        expect(others).toEqual([]);
        expect(await park(generation)).toEqual([attempt === 3]);
        expect(await park(generation)).toEqual([attempt === 3]);
      }
      const parked = await store.listParked({ limit: 10 });
      expect(parked).toMatchObject([{ reason: 'refused' }]);
      // Put back, it has all tries again.
      await store.retryParked(parked);
    }
    // What is produced in the end has no past.
    const [generation] = await claim(T0 + 10);
    expect(await park(generation)).toEqual([false]);
    await store.complete([generation as SealedGeneration]);
    expect(await park(generation)).toEqual([false]);
    expect(await store.listParked({ limit: 10 })).toEqual([]);
  });

  it('shows what is parked, and leaves it where it is', async () => {
    const { store, add, claim } = await begin();
    const spans = [aSpan('a', 'a', { offset: 1n }), aSpan('b', 'a', { offset: 2n, payload: 'y'.repeat(5_000) })];
    await add([subsegment('a', spans, true)]);
    const [generation] = (await claim(T0 + 10)) as [SealedGeneration];
    await store.park([{ generation, reason: 'refused' }]);
    const parked = await store.listParked({ limit: 10 });
    for (let i = 0; i < 2; i++) {
      const [contents] = await store.readParked(parked);
      expect(sorted(contents?.spans ?? [])).toEqual(sorted(spans));
      expect(contents?.unreadable).toEqual([]);
    }
    let kept = 0;
    for await (const count of store.keepParked()) kept += count;
    expect(kept).toBe(1);
    expect(await store.listParked({ limit: 10 })).toEqual(parked);
    await store.retryParked(parked);
    await store.complete(await claim(T0 + 10));
    expect(await store.readParked(parked)).toEqual([undefined]);
  });

  it('deletes what is parked for good, and nothing else of its trace', async () => {
    const { store, add, claim } = await begin({ dedupeWindowSeconds: 0 });
    await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)]);
    const [first] = (await claim(T0 + 10)) as [SealedGeneration];
    await store.park([{ generation: first, reason: 'refused' }]);
    await add([subsegment('b', [aSpan('b', 'a', { offset: 2n })])], T0 + 11);
    const parked = await store.listParked({ limit: 10 });
    expect(await store.deleteParked(parked)).toEqual(parked);
    expect(await store.deleteParked(parked)).toEqual([]);
    await store.retryParked(parked);
    expect(await store.listParked({ limit: 10 })).toEqual([]);
    expect(await store.readParked(parked)).toEqual([undefined]);
    const [second, ...others] = await claim(T0 + 1_000_000, { drain: true });
    expect(others).toEqual([]);
    expect((await spansOf(store, second)).map(({ spanId }) => spanId)).toEqual([id('b')]);
    // While something of the trace waits it is known, so that what was deleted does not come back with a replay.
    expect(await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)])).toEqual({ added: 0, replayed: 1 });
    await store.complete([second as SealedGeneration]);
    expect(await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)])).toEqual({ added: 1, replayed: 0 });
  });

  it('deletes nothing that was put back meanwhile', async () => {
    const { store, add, claim } = await begin();
    await add([subsegment('a', [aSpan('a', 'a')], true)]);
    const [generation] = (await claim(T0 + 10)) as [SealedGeneration];
    await store.park([{ generation, reason: 'refused' }]);
    const parked = await store.listParked({ limit: 10 });
    await store.retryParked(parked);
    expect(await store.deleteParked(parked)).toEqual([]);
    const again = await claim(T0 + 10);
    expect(await store.deleteParked(parked)).toEqual([]);
    expect(await spansOf(store, again[0])).toHaveLength(1);
  });

  it('finds what is parked of one project, and of one trace', async () => {
    const { store } = await begin();
    const additions = ['1', '1', '2'].map((projectId) => ({
      ...aTrace(),
      projectId,
      subsegments: [subsegment('a', [aSpan('a', 'a')], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    const generations = await claimAll(store, T0 + 10);
    await store.park(generations.map((generation) => ({ generation, reason: 'refused' })));
    const tracesOf = async (query: Omit<ParkedQuery, 'limit'>) =>
      (await store.listParked({ ...query, limit: 10 })).map(({ traceId }) => traceId).sort();
    const [one, another, third] = additions.map(({ traceId }) => traceId) as [string, string, string];
    expect(await tracesOf({ projectId: '1' })).toEqual([one, another].sort());
    expect(await tracesOf({ traceId: third })).toEqual([third]);
    expect(await tracesOf({ projectId: '2', traceId: one })).toEqual([]);
    expect(await store.listParked({ projectId: '1', limit: 1 })).toHaveLength(1);
  });

  it('forgets what was completed, however often it is told', async () => {
    const { store, add, claim } = await begin();
    await add([subsegment('a', [aSpan('a', 'a')], true)]);
    const generations = await claim(T0 + 10);
    await store.complete(generations);
    await store.complete(generations);
    expect(await store.read(generations)).toEqual([undefined]);
    expect(await claim(T0 + 1_000_000)).toEqual([]);
  });

  it('hands out and forgets many segments of one trace together, large and small, and no other', async () => {
    const { store, add, claim } = await begin({ dedupeWindowSeconds: 0 });
    // Some fill a page of what one call may read or delete, others share one.
    const sizes = [...Array<number>(30).fill(1), 2, 3, 150, 150, 300, ...Array<number>(10).fill(2)];
    for (const [i, size] of sizes.entries()) {
      const top = hex(0xa000 + i);
      const children = Array.from({ length: size }, (_, k) =>
        subsegment(top, [aSpan(hex(0x100000 + 1_000 * i + k), top)]),
      );
      await add(children);
    }
    const generations = await claim(T0 + 60);
    expect(generations.map(({ spanCount }) => spanCount).sort((a, b) => a - b)).toEqual(
      sizes.toSorted((a, b) => a - b),
    );
    const contents = await store.read(generations);
    for (const [i, { segmentId, spanCount }] of generations.entries()) {
      expect(new Set(contents[i]?.map(({ spanId }) => spanId)).size).toBe(spanCount);
      expect(new Set(contents[i]?.map(({ parentId }) => parentId))).toEqual(new Set([segmentId]));
    }

    await add([subsegment('b', [aSpan('c', 'b')])], T0 + 61);
    const [first] = generations as [SealedGeneration];
    await store.complete([first, ...generations, first]);
    expect((await store.read(generations)).every((spans) => spans === undefined)).toBe(true);
    expect(await add([subsegment(hex(0xa000), [aSpan('d', hex(0xa000))])], T0 + 62)).toEqual({ added: 1, replayed: 0 });
    const rest = await claim(T0 + 200);
    expect(rest.map(({ segmentId, generation }) => [segmentId, generation]).sort()).toEqual(
      [
        [id(hex(0xa000)), 2],
        [id('b'), 1],
      ].sort(),
    );
    await store.complete(rest);
    expect(await claim(T0 + 1_000_000)).toEqual([]);
  });

  it('puts what arrives while a generation is out into the next one', async () => {
    const { store, add, claim } = await begin();
    await add([subsegment('a', [aSpan('a', 'a'), aSpan('b', 'a')], true)]);
    const [first] = await claim(T0 + 10);
    await add([subsegment('b', [aSpan('c', 'b')])], T0 + 11);
    expect(await spansOf(store, first)).toHaveLength(2);
    const [second] = await claim(T0 + 21);
    expect(second).toMatchObject({
      segmentId: id('a'),
      generation: 2,
      spanCount: 1,
      rootSeen: true,
      reason: 'root-idle',
    });
    await store.complete([first as SealedGeneration]);
    expect((await spansOf(store, second)).map(({ spanId }) => spanId)).toEqual([id('c')]);
  });

  it('finds the segment of a late span deep below the root, long after it was completed', async () => {
    const { store, add, claim } = await begin();
    await add([subsegment('a', [aSpan('a', 'a'), aSpan('b', 'a'), aSpan('c', 'b'), aSpan('d', 'c')], true)]);
    await store.complete(await claim(T0 + 10));
    await add([subsegment('d', [aSpan('e', 'd')])], T0 + 20);
    const [late] = await claim(T0 + 30);
    expect(late).toMatchObject({ segmentId: id('a'), generation: 2, spanCount: 1 });
    await store.complete([late as SealedGeneration]);
    await add([subsegment('e', [aSpan('f', 'e')])], T0 + 40);
    expect(await claim(T0 + 50)).toMatchObject([{ segmentId: id('a'), generation: 3 }]);
  });

  it('takes a position once, however the batches are cut', async () => {
    const { store, add, claim } = await begin();
    const spans = Array.from({ length: 6 }, (_, i) => aSpan(hex(i + 1), hex(i || 1), { offset: BigInt(i) }));
    await add([subsegment(hex(1), spans.slice(0, 4), true)]);
    expect(await add([subsegment(hex(1), spans.slice(0, 3), true)])).toEqual({ added: 0, replayed: 3 });
    expect(await add([subsegment(hex(2), spans.slice(2, 6))])).toEqual({ added: 2, replayed: 2 });
    const generations = await claim(T0 + 10);
    expect(generations.map(({ spanCount }) => spanCount)).toEqual([6]);
    expect(await spansOf(store, generations[0])).toHaveLength(6);
    await store.complete(generations);
    expect(await add([subsegment(hex(1), spans, true)])).toEqual({ added: 0, replayed: 6 });
    expect(await claim(T0 + 1_000_000)).toEqual([]);
  });

  it('keeps two messages that carry the same span id', async () => {
    const { store, add, claim } = await begin();
    await add([subsegment('a', [aSpan('b', 'a', { offset: 1n, payload: '1' })])]);
    await add([subsegment('a', [aSpan('b', 'a', { offset: 2n, payload: '2' })])]);
    await add([subsegment('a', [aSpan('b', 'a', { payload: '3' }), aSpan('b', 'a', { payload: '3' })])]);
    const [generation] = await claim(T0 + 60);
    expect((await spansOf(store, generation)).map(({ payload }) => String(payload)).sort()).toEqual([
      '1',
      '2',
      '3',
      '3',
    ]);
  });

  it('compares positions of the same source and partition only', async () => {
    const { add, claim } = await begin();
    await add([subsegment('a', [aSpan('b', 'a', { offset: 5n })])]);
    await add([subsegment('a', [aSpan('c', 'a', { offset: 5n, partition: 1 })])]);
    await add([subsegment('a', [aSpan('d', 'a', { offset: 5n, source: 'another' })])]);
    await add([subsegment('a', [aSpan('e', 'a', { offset: 2n ** 63n - 1n })])]);
    expect(await add([subsegment('a', [aSpan('f', 'a', { offset: 2n ** 62n })])])).toEqual({ added: 0, replayed: 1 });
    expect((await claim(T0 + 60)).map(({ spanCount }) => spanCount)).toEqual([4]);
  });

  it('applies the additions of a trace in their order', async () => {
    const { store, trace, claim } = await begin();
    const additions = Array.from({ length: 5 }, (_, i) => ({
      ...trace,
      subsegments: [subsegment('a', [aSpan(hex(i + 1), 'a', { offset: BigInt(i) })])],
    }));
    expect(await store.add(additions, POLICY, { now: T0 })).toEqual({ added: 5, replayed: 0 });
    expect((await claim(T0 + 60)).map(({ spanCount }) => spanCount)).toEqual([5]);
  });

  it('seals a segment before it grows beyond its size, and lets the rest follow', async () => {
    const { store, add, claim } = await begin();
    const payload = 'x'.repeat(400);
    const pieces = Array.from({ length: 7 }, (_, i) => subsegment('a', [aSpan(hex(i + 1), 'a', { payload })]));
    await add(pieces, T0, { maxSegmentBytes: 1_000 });
    await add([subsegment('a', [aSpan('99', 'a', { payload: 'y'.repeat(5_000) })])], T0, { maxSegmentBytes: 1_000 });
    const full = await claim(T0);
    expect(full.map(({ reason }) => reason)).toEqual(Array.from({ length: 5 }, () => 'max-bytes'));
    const generations = full.map(({ generation }) => generation).sort((a, b) => a - b);
    expect(generations).toEqual([1, 2, 3, 4, 5]);
    for (const { payloadBytes, spanCount } of full) expect(spanCount === 1 || payloadBytes <= 1_000).toBe(true);
    await add([subsegment('a', [aSpan('aa', 'a', { payload })])], T0, { maxSegmentBytes: 1_000 });
    const rest = await claim(T0 + 60);
    expect(new Set([...full, ...rest].map(({ segmentId }) => segmentId))).toEqual(new Set([id('a')]));
    const spans = await store.read([...full, ...rest]);
    expect(spans.flat()).toHaveLength(9);
  });

  it('does not make one generation of two that are too large together', async () => {
    const { add, claim } = await begin();
    const limits = { maxSegmentBytes: 1_000 };
    await add([subsegment('b', [aSpan('c', 'b', { payload: 'x'.repeat(700) })])], T0, limits);
    await add([subsegment('a', [aSpan('d', 'a', { payload: 'x'.repeat(600) })])], T0, limits);
    await add([subsegment('a', [aSpan('b', 'a')])], T0, limits);
    const generations = await claim(T0 + 60);
    expect(generations.map(({ segmentId, payloadBytes }) => [segmentId, payloadBytes]).sort()).toEqual([
      [id('a'), 601],
      [id('a'), 700],
    ]);
    expect(generations.map(({ generation }) => generation).sort()).toEqual([1, 2]);
  });

  it('counts generations on when two segments that were flushed before become one', async () => {
    const { store, add, claim } = await begin();
    for (const child of ['c', 'd', 'e']) {
      await add([subsegment('b', [aSpan(child, 'b')])]);
      await store.complete(await claim(T0 + 60));
    }
    await add([subsegment('a', [aSpan('f', 'a')])]);
    await store.complete(await claim(T0 + 60));
    await add([subsegment('a', [aSpan('b', 'a')])]);
    await add([subsegment('d', [aSpan('9', 'd')])]);
    const [last] = await claim(T0 + 60);
    expect(last).toMatchObject({ segmentId: id('a'), spanCount: 2, generation: 4 });
  });

  it('keeps every span of a circle, and of a span with two parents', async () => {
    const { store, add, claim } = await begin();
    await add([subsegment('b', [aSpan('a', 'b')])]);
    await add([subsegment('c', [aSpan('b', 'c')])]);
    await add([subsegment('a', [aSpan('c', 'a')])]);
    await add([subsegment('e', [aSpan('d', 'e')])]);
    await add([subsegment('f', [aSpan('d', 'f')])]);
    const generations = await claim(T0 + 60);
    expect(generations.map(({ spanCount }) => spanCount).sort()).toEqual([1, 1, 3]);
    expect((await store.read(generations)).flat()).toHaveLength(5);
  });

  it('takes the largest addition, of subsegments that have nothing in common, and unites them in the next', async () => {
    const { add, claim } = await begin();
    const of = (i: number, child: string, parent: string) =>
      subsegment(parent, [aSpan(child, parent, { partition: i, offset: 2n ** 40n, source: `log ${i}` })]);
    const indexes = Array.from({ length: MAX_SUBSEGMENTS_PER_ADDITION }, (_, i) => i);
    const tiny = { maxSegmentBytes: 1 };
    await add(
      indexes.map((i) => of(i, hex(0x10000 + i), hex(0x20000 + i))),
      T0,
      tiny,
    );
    expect(await claim(T0)).toHaveLength(MAX_SUBSEGMENTS_PER_ADDITION);
    await add(indexes.map((i) => of(i + 1_000, hex(0x30000 + i), hex(0x10000 + i))));
    await add(indexes.map((i) => of(i + 2_000, hex(0x20000 + i), 'a')));
    const rest = await claim(T0 + 60);
    expect(rest.map(({ spanCount, segmentId }) => [spanCount, segmentId])).toEqual([
      [2 * MAX_SUBSEGMENTS_PER_ADDITION, id('a')],
    ]);
  });

  it('knows nothing of a trace any more when the dedupe window is over', async () => {
    const { store, add, claim } = await begin({ dedupeWindowSeconds: 0 });
    await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)]);
    await store.complete(await claim(T0 + 10));
    expect(await add([subsegment('a', [aSpan('a', 'a', { offset: 1n })], true)])).toEqual({ added: 1, replayed: 0 });
    expect(await claim(T0 + 10)).toMatchObject([{ generation: 1 }]);
  });
}

function aTrace(): { projectId: string; traceId: string } {
  return { projectId: '1', traceId: randomBytes(16).toString('hex') };
}

/** A span id with these last digits. */
function id(digits: string): string {
  return digits.padStart(16, '0');
}

function hex(number: number): string {
  return number.toString(16);
}

function aSpan(
  spanId: string,
  parentId: string,
  more: Partial<Omit<StoredSpan, 'spanId' | 'parentId' | 'payload'>> & { payload?: string } = {},
): StoredSpan {
  const { payload = 'p', partition = 0, ...rest } = more;
  return { spanId: id(spanId), parentId: id(parentId), partition, payload: Buffer.from(payload), ...rest };
}

function subsegment(topId: string, spans: readonly StoredSpan[], hasRoot = false): Subsegment {
  return { topId: id(topId), hasRoot, spans };
}

function claimAll(store: SegmentStore, now: number, query: Partial<ClaimQuery> = {}): Promise<SealedGeneration[]> {
  return store.claim({ now, limit: 1_000, ...query });
}

async function spansOf(store: SegmentStore, generation: SealedGeneration | undefined): Promise<StoredSpan[]> {
  const [spans] = await store.read([generation as SealedGeneration]);
  return spans as StoredSpan[];
}

function sorted(spans: readonly StoredSpan[]): object[] {
  return spans.map(comparable).sort((a, b) => (a.spanId < b.spanId ? -1 : 1));
}

function comparable({ payload, ...span }: StoredSpan): { spanId: string; payload: string } {
  return { ...span, payload: String(payload) };
}
