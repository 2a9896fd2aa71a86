/**
 * What a Redis Cluster does to its clients, caused on real nodes: slots that move, scripts that are forgotten, masters
 * that change. No span may be lost or come out twice.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { formatPayloadKey, formatQueueKey, formatShardsKey, formatTraceKey, hashSlot } from '@spanbuf/keys';
import { connectCluster } from '@spanbuf/tooling/redis-clients';
import { type RedisClusterServers, type RedisServer, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  createRedisStore,
  type RedisStoreOptions,
  type SealedGeneration,
  type SegmentPolicy,
  type SegmentStore,
  type StoredSpan,
  StoreUnavailableError,
  type Subsegment,
  type TraceAddition,
} from '../src/index.ts';
import { dueKeys } from './queues.ts';
import { on, startClusterWithSpare } from './servers.ts';
import { aSlice, aTrace } from './stores.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const T0 = 1_700_000_000;
const POLICY: SegmentPolicy = {
  rootTimeoutSeconds: 10,
  timeoutSeconds: 60,
  maxAgeSeconds: 600,
  maxSegmentBytes: 2_000,
};

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A store with a client of its own that knows the slots as they are now, and later only what it is told. */
async function open(servers: RedisClusterServers, options: RedisStoreOptions = {}) {
  const sliceId = aSlice();
  const client = connectCluster(servers.url);
  client.on('error', () => {});
  closing.push(() => client.disconnect());
  await new Promise((resolve) => client.once('ready', resolve));
  return { client, sliceId, store: createRedisStore(client, { sliceId, leaseSeconds: 2, ...options }) };
}

/** How often the nodes have answered with this error so far. */
async function answered(nodes: readonly RedisServer[], error: string): Promise<number> {
  const infos = await Promise.all(nodes.map((node) => on(node, (client) => client.info('errorstats'))));
  return infos.reduce(
    (sum, info) => sum + Number(new RegExp(`errorstat_${error}:count=(\\d+)`).exec(info)?.[1] ?? 0),
    0,
  );
}

/** Runs something that must make the nodes answer with this error. */
async function provoking<T>(nodes: readonly RedisServer[], error: string, run: () => Promise<T>): Promise<T> {
  const before = await answered(nodes, error);
  const result = await run();
  expect(await answered(nodes, error), `${error} answers`).toBeGreaterThan(before);
  return result;
}

function aSpan(spanId: string, parentId: string, offset: number, partition = 0, payload = randomBytes(40)): StoredSpan {
  return { spanId: id(spanId), parentId: id(parentId), partition, offset: BigInt(offset), payload };
}

function id(digits: string): string {
  return digits.padStart(16, '0');
}

function subsegment(topId: string, spans: readonly StoredSpan[], hasRoot = false): Subsegment {
  return { topId: id(topId), hasRoot, spans };
}

function offsetsOf(spans: readonly (readonly StoredSpan[] | undefined)[]): number[] {
  return spans.flatMap((found) => (found ?? []).map(({ offset }) => Number(offset))).sort((a, b) => a - b);
}

/** The life of one segment of four spans, with something happening between the calls. */
async function liveThrough(store: SegmentStore, between: () => Promise<void>, trace = aTrace()): Promise<void> {
  const query = { now: T0 + 10, limit: 10 };
  const add = (subsegments: Subsegment[]) => store.add([{ ...trace, subsegments }], POLICY, { now: T0 });
  expect(await add([subsegment('b', [aSpan('c', 'b', 1), aSpan('d', 'b', 2)])])).toEqual({ added: 2, replayed: 0 });
  await between();
  expect(await add([subsegment('a', [aSpan('b', 'a', 3), aSpan('a', 'a', 4)], true)])).toEqual({
    added: 2,
    replayed: 0,
  });
  await between();
  const claimed = await store.claim(query);
  expect(claimed).toMatchObject([{ ...trace, segmentId: id('a'), spanCount: 4 }]);
  await between();
  expect(offsetsOf(await store.read(claimed))).toEqual([1, 2, 3, 4]);
  await between();
  await store.release(claimed);
  await between();
  const again = await store.claim(query);
  expect(again).toMatchObject([{ ...trace, segmentId: id('a'), spanCount: 4 }]);
  await between();
  await store.park(again.map((generation) => ({ generation, reason: 'refused' })));
  await between();
  const parked = await store.listParked({ limit: 10 });
  expect(parked).toMatchObject([{ ...trace, segmentId: id('a'), spanCount: 4 }]);
  expect(await store.claim(query)).toEqual([]);
  await between();
  await store.retryParked(parked);
  await between();
  const last = await store.claim(query);
  expect(last).toMatchObject([{ ...trace, segmentId: id('a'), spanCount: 4 }]);
  await between();
  await store.complete(last);
  await between();
  expect(await store.read(claimed)).toEqual([undefined]);
  expect(await add([subsegment('b', [aSpan('c', 'b', 1), aSpan('d', 'b', 2)])])).toEqual({ added: 0, replayed: 2 });
  await between();
  expect(await store.claim({ ...query, now: T0 + 1_000 })).toEqual([]);
}

/** What went in and what came out. */
class Ledger {
  readonly sent = new Map<string, { rootId: string; payload: Buffer }>();
  /** By generation. */
  readonly #out = new Map<string, { generation: SealedGeneration; spans: Map<string, Buffer> }>();
  #spansOut = 0;
  /** Calls that rejected with a {@link StoreUnavailableError} and were repeated. */
  rejections = 0;

  get complete(): boolean {
    return this.#spansOut >= this.sent.size;
  }

  get spansOut(): number {
    return this.#spansOut;
  }

  send(trace: { traceId: string }, rootId: string, span: StoredSpan): void {
    this.sent.set(`${trace.traceId} ${span.spanId} ${span.offset}`, { rootId, payload: Buffer.from(span.payload) });
  }

  receive(generation: SealedGeneration, spans: readonly StoredSpan[]): void {
    const { traceId, segmentId, spanCount } = generation;
    expect(spans, 'spans read').toHaveLength(spanCount);
    const found = new Map(spans.map((span) => [`${traceId} ${span.spanId} ${span.offset}`, Buffer.from(span.payload)]));
    expect(found.size, 'different spans in a generation').toBe(spanCount);
    const key = `${traceId} ${segmentId} ${generation.generation}`;
    const before = this.#out.get(key);
    // A lease that ran out under way: the same generation comes twice, and is the same.
    if (before) expect([...found.keys()].sort(), 'a generation, again').toEqual([...before.spans.keys()].sort());
    else this.#spansOut += spanCount;
    this.#out.set(key, { generation, spans: found });
  }

  /** Every span came out once, as it went in, in the segment of its root. */
  check(): void {
    const out = [...this.#out.values()].flatMap(({ spans }) => [...spans.keys()]);
    const unique = new Set(out);
    expect(
      [...this.sent.keys()].filter((key) => !unique.has(key)),
      'lost',
    ).toEqual([]);
    expect(out.length - unique.size, 'came out twice').toBe(0);
    for (const { generation, spans } of this.#out.values()) {
      for (const [key, payload] of spans) {
        const sent = this.sent.get(key);
        expect(sent?.payload.equals(payload), `payload of ${key}`).toBe(true);
        // What was too large went out before its root was known.
        if (generation.reason !== 'max-bytes') expect(generation.segmentId, `root of ${key}`).toBe(sent?.rootId);
      }
    }
  }
}

/** Random trees in random order, a few at a time, on one partition. */
class Producer {
  readonly #open: { trace: { projectId: string; traceId: string }; rootId: string; left: [string, string][] }[] = [];
  readonly #partition: number;
  #offset = 0;

  constructor(partition: number) {
    this.#partition = partition;
  }

  get idle(): boolean {
    return this.#open.length === 0;
  }

  /** The next spans of the traces that are open; new traces are begun while `more`. */
  next(ledger: Ledger, more: boolean): TraceAddition[] {
    while (more && this.#open.length < 4) {
      const ids = Array.from({ length: randomInt(1, 25) }, () => randomBytes(8).toString('hex'));
      const edges = ids.map((spanId, i): [string, string] => [spanId, ids[i === 0 ? 0 : randomInt(i)] as string]);
      edges.sort(() => Math.random() - 0.5);
      this.#open.push({ trace: aTrace(), rootId: ids[0] as string, left: edges });
    }
    const additions = this.#open.map(({ trace, rootId, left }) => {
      const spans = left
        .splice(0, randomInt(1, 8))
        .map(([spanId, parentId]) =>
          aSpan(spanId, parentId, this.#offset++, this.#partition, randomBytes(randomInt(20, 300))),
        );
      for (const span of spans) ledger.send(trace, rootId, span);
      return { ...trace, subsegments: subsegmentsOf(spans) };
    });
    this.#open.splice(0, Number.POSITIVE_INFINITY, ...this.#open.filter(({ left }) => left.length > 0));
    return additions;
  }
}

function subsegmentsOf(spans: readonly StoredSpan[]): Subsegment[] {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const groups = new Map<string, StoredSpan[]>();
  for (const span of spans) {
    let top = span;
    for (let up = byId.get(top.parentId); up && up !== top; up = byId.get(top.parentId)) top = up;
    groups.set(top.parentId, [...(groups.get(top.parentId) ?? []), span]);
  }
  return [...groups].map(([topId, group]) => ({
    topId,
    hasRoot: group.some(({ spanId, parentId }) => spanId === topId && parentId === topId),
    spans: group,
  }));
}

/**
 * Adds, claims, reads, completes, releases, parks and retries without a pause while `trouble` happens and a little longer, then until
 * everything is out, and checks it. Shards 0 and 1.
 */
async function underLoad(store: SegmentStore, trouble: () => Promise<void>): Promise<Ledger> {
  const ledger = new Ledger();
  let troubled = true;
  let producing = 2;
  let failure: unknown;
  closing.push(() => {
    failure ??= new Error('the test has ended');
  });
  const persist = async <T>(call: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof StoreUnavailableError) || failure !== undefined) throw error;
        ledger.rejections++;
      }
    }
  };
  const produce = async (partition: number): Promise<void> => {
    const producer = new Producer(partition);
    for (let batch = 0; failure === undefined && (troubled || batch < 5 || !producer.idle); batch++) {
      const additions = producer.next(ledger, troubled || batch < 5);
      await persist(() => store.add(additions, POLICY, { now: T0 }));
      await vi.waitUntil(() => ledger.sent.size - ledger.spansOut < 2_000 || failure !== undefined, {
        timeout: 30_000,
      });
    }
    producing--;
  };
  const flush = async (): Promise<void> => {
    let progressMs = performance.now();
    while (failure === undefined && (producing > 0 || !ledger.complete)) {
      const query = { now: T0 + 10, limit: 40, ...(randomInt(3) === 0 ? { shards: [0, 1] } : {}) };
      const generations = await persist(() => store.claim(query));
      if (generations.length > 0 || producing > 0) progressMs = performance.now();
      else if (performance.now() - progressMs > 10_000) return;
      else await delay(10);
      const back = generations.splice(0, randomInt(10) === 0 ? 1 : 0);
      const aside = generations.splice(0, randomInt(10) === 0 ? 1 : 0);
      const parked = await persist(() => store.listParked({ limit: 10, shards: [0, 1] }));
      const contents = await persist(() => store.read(generations));
      for (const [i, spans] of contents.entries()) if (spans) ledger.receive(generations[i] as SealedGeneration, spans);
      await Promise.all([
        persist(() => store.complete(generations)),
        persist(() => store.release(back)),
        persist(() => store.park(aside.map((generation) => ({ generation, reason: 'refused' })))),
        persist(() => store.retryParked(parked)),
      ]);
    }
  };
  const watched = (lane: Promise<void>) =>
    lane.catch((error: unknown) => {
      failure ??= error;
    });
  const lanes = [produce(0), produce(1), flush(), flush()].map(watched);
  await watched(trouble());
  troubled = false;
  await Promise.all(lanes);
  if (failure !== undefined) throw failure;
  ledger.check();
  return ledger;
}

async function everyKeyHasATtl(nodes: readonly RedisServer[]): Promise<void> {
  for (const node of nodes) {
    const forever = await on(node, async (client) => {
      const keys = await client.keys('*');
      const pipeline = client.pipeline();
      for (const key of keys) pipeline.ttl(key);
      const ttls = (await pipeline.exec()) ?? [];
      return keys.filter((_, i) => ttls[i]?.[1] === -1);
    });
    expect(forever).toEqual([]);
  }
}

describe('a cluster that moves slots and forgets scripts', () => {
  let servers: RedisClusterServers;
  beforeAll(async () => {
    servers = await startRedisCluster();
  });
  afterAll(() => servers.stop());

  const flushScripts = () => Promise.all(servers.nodes.map((node) => on(node, (client) => client.script('FLUSH'))));

  async function otherThan(owner: RedisServer): Promise<RedisServer> {
    const others = servers.nodes.filter((node) => node !== owner);
    return others[randomInt(others.length)] as RedisServer;
  }

  async function move(slot: number): Promise<void> {
    await servers.migrateSlot(slot, await otherThan(await servers.ownerOf(slot)));
  }

  async function beginMove(key: string) {
    const slot = hashSlot(key);
    return servers.beginSlotMigration(slot, await otherThan(await servers.ownerOf(slot)));
  }

  describe('scripts', () => {
    it('are loaded again when every node has forgotten them between two calls', async () => {
      const { store } = await open(servers);
      await provoking(servers.nodes, 'NOSCRIPT', () => liveThrough(store, async () => void (await flushScripts())));
    });

    it.each(['dual-read-colocated', 'distributed'] as const)(
      'are loaded again when nodes forget them again and again while calls are under way, %s',
      async (layout) => {
        const { store } = await open(servers, { layout });
        await provoking(servers.nodes, 'NOSCRIPT', () =>
          underLoad(store, async () => {
            for (let i = 0; i < 40; i++) {
              await flushScripts();
              await delay(randomInt(20));
            }
          }),
        );
      },
    );
  });

  describe('a slot that moved', () => {
    const slots = {
      'the trace': (trace: ReturnType<typeof aTrace>) => [formatTraceKey(trace)],
      'its payloads': (trace: ReturnType<typeof aTrace>) =>
        ['a', 'b', 'c'].map((span) => formatPayloadKey({ ...trace, spanId: id(span) })),
      'its queue': (_: ReturnType<typeof aTrace>, sliceId: number) => [formatQueueKey({ shard: 0, sliceId })],
      'the list of shards': (_: ReturnType<typeof aTrace>, sliceId: number) => [formatShardsKey({ sliceId })],
    };

    it.each(Object.entries(slots))('is found, whatever the client believed: that of %s', async (_, keysOf) => {
      const { store, sliceId } = await open(servers);
      const trace = aTrace();
      const keys = keysOf(trace, sliceId);
      await provoking(servers.nodes, 'MOVED', () =>
        liveThrough(
          store,
          async () => {
            for (const key of keys) await move(hashSlot(key));
          },
          trace,
        ),
      );
    });

    it('costs one refused command, and not one of every later call', async () => {
      const { store, sliceId } = await open(servers);
      const add = (digits: string) =>
        store.add([{ ...aTrace(), subsegments: [subsegment('a', [aSpan(digits, 'a', 1)])] }], POLICY, { now: T0 });
      await add('b');
      await move(hashSlot(formatQueueKey({ shard: 0, sliceId })));
      await provoking(servers.nodes, 'MOVED', () => add('c'));
      const before = await answered(servers.nodes, 'MOVED');
      for (let i = 1; i <= 5; i++) await add(`${i}`);
      expect(await answered(servers.nodes, 'MOVED')).toBe(before);
    });

    it.each(['dual-read-distributed', 'distributed'] as const)(
      'takes its spans with it while calls are under way, %s',
      async (layout) => {
        const { store, sliceId } = await open(servers, { layout });
        const fixed = [0, 1].map((shard) => formatQueueKey({ shard, sliceId, part: 'in-flight' }));
        fixed.push(formatShardsKey({ sliceId }));
        await provoking(servers.nodes, 'MOVED', () =>
          provoking(servers.nodes, 'ASK', () =>
            underLoad(store, async () => {
              for (let round = 0; round < 10; round++) {
                const keys = await on(servers.nodes[randomInt(3)] as RedisServer, async (client) =>
                  [await client.randomkey(), await client.randomkey()].filter((key) => key !== null),
                );
                const key = [...fixed, ...keys][randomInt(fixed.length + keys.length)] as string;
                const migration = await beginMove(key);
                // Half of it goes over; what is left, and what is new, has to be asked for.
                await migration.moveKeys([key]).catch(() => undefined);
                await migration.finish();
              }
            }),
          ),
        );
        await everyKeyHasATtl(servers.nodes);
      },
    );
  });

  describe('a slot on its way', () => {
    const query = { now: T0 + 10, limit: 10 };

    it.each([
      ['has moved', true],
      ['has not moved yet', false],
    ])('is asked for a trace whose key %s', async (_, moved) => {
      const { store } = await open(servers);
      const trace = aTrace();
      const add = (subsegments: Subsegment[]) => store.add([{ ...trace, subsegments }], POLICY, { now: T0 });
      await add([subsegment('b', [aSpan('c', 'b', 1)])]);
      const migration = await beginMove(formatTraceKey(trace));
      if (moved) await migration.moveKeys([formatTraceKey(trace)]);
      const before = await answered(servers.nodes, 'ASK');
      expect(await add([subsegment('a', [aSpan('b', 'a', 2), aSpan('a', 'a', 3)], true)])).toMatchObject({ added: 2 });
      const [first] = await store.claim(query);
      expect(offsetsOf(await store.read([first as SealedGeneration]))).toEqual([1, 2, 3]);
      expect((await answered(servers.nodes, 'ASK')) > before).toBe(moved);
      await add([subsegment('b', [aSpan('d', 'b', 4)])]);
      await store.complete([first as SealedGeneration]);
      await migration.finish();
      expect(await store.read([first as SealedGeneration])).toEqual([undefined]);
      const second = await store.claim(query);
      expect(second).toMatchObject([{ segmentId: id('a'), generation: 2 }]);
      expect(offsetsOf(await store.read(second))).toEqual([4]);
      await store.complete(second);
      expect(await store.claim({ ...query, drain: true })).toEqual([]);
    });

    it('is not asked for without a pause when the other node does not want it', async () => {
      const { store } = await open(servers, { deadlineSeconds: 1 });
      const trace = aTrace();
      const slot = hashSlot(formatTraceKey(trace));
      const owner = await servers.ownerOf(slot);
      const otherId = String(await on(await otherThan(owner), (client) => client.call('CLUSTER', ['MYID'])));
      const setSlot = (...args: string[]) => on(owner, (client) => client.call('CLUSTER', ['SETSLOT', slot, ...args]));
      // What a resharding that broke down leaves behind: one says "ask the other", who says "it is not mine".
      await setSlot('MIGRATING', otherId);
      closing.push(() => setSlot('STABLE'));
      const before = await answered(servers.nodes, 'ASK');
      const addition = { ...trace, subsegments: [subsegment('a', [aSpan('a', 'a', 1)], true)] };
      const adding = store.add([addition], POLICY, { now: T0 });
      await expect(adding).rejects.toThrow(StoreUnavailableError);
      expect((await answered(servers.nodes, 'ASK')) - before).toBeLessThan(20);
      await setSlot('STABLE');
      expect(await store.add([addition], POLICY, { now: T0 })).toEqual({ added: 1, replayed: 0 });
    });

    it('is asked for a trace that is new', async () => {
      const { store } = await open(servers);
      const trace = aTrace();
      const migration = await beginMove(formatTraceKey(trace));
      await provoking(servers.nodes, 'ASK', () => liveThrough(store, async () => undefined, trace));
      await migration.finish();
    });

    it.each(['dual-read-colocated', 'distributed'] as const)(
      'is asked for payloads that moved, that did not, and that are new, %s',
      async (layout) => {
        const { store, client } = await open(servers, { layout });
        const trace = aTrace();
        const tag = formatPayloadKey({ ...trace, spanId: id('b') });
        const payloadKeys = async () => {
          const inSlot = ['GETKEYSINSLOT', hashSlot(tag), 1_000];
          const keys = (await on(ownerBefore, (node) => node.call('CLUSTER', inSlot))) as string[];
          return keys.filter((key) => key.includes(`${trace.traceId}:${id('b')}`));
        };
        const ownerBefore = await servers.ownerOf(hashSlot(tag));
        const add = (offset: number) =>
          store.add([{ ...trace, subsegments: [subsegment('a', [aSpan('b', 'a', offset)])] }], POLICY, { now: T0 });
        await add(1);
        await add(2);
        const [moving] = await payloadKeys();
        const migration = await beginMove(tag);
        await migration.moveKeys([moving as string]);
        const before = await answered(servers.nodes, 'ASK');
        await add(3);
        const later = { ...query, now: T0 + 60 };
        const [first] = await store.claim(later);
        expect(offsetsOf(await store.read([first as SealedGeneration]))).toEqual([1, 2, 3]);
        expect(await answered(servers.nodes, 'ASK')).toBeGreaterThan(before);
        await add(4);
        await store.complete([first as SealedGeneration]);
        expect(await payloadKeys()).toEqual([]);
        await migration.finish();
        const second = await store.claim(later);
        expect(offsetsOf(await store.read(second))).toEqual([4]);
        await store.complete(second);
        const left = await Promise.all(client.nodes('master').map((node) => node.keys(`*${trace.traceId}*`)));
        expect(left.flat()).toEqual([formatTraceKey(trace)]);
      },
    );

    it.each(['due', 'in-flight', 'held'] as const)(
      'makes calls wait when of a queue only the part "%s" has moved, until all has',
      async (part) => {
        const { store, sliceId } = await open(servers, { leaseSeconds: 60 });
        const add = (digits: string, trace = aTrace()) =>
          store.add([{ ...trace, subsegments: [subsegment(digits, [aSpan(digits, digits, 1)], true)] }], POLICY, {
            now: T0,
          });
        for (const digits of ['a', 'b', 'c', 'd']) await add(digits);
        const claimed = await store.claim({ ...query, limit: 2 });
        expect(claimed).toHaveLength(2);
        const migration = await beginMove(formatQueueKey({ shard: 0, sliceId }));
        const queue = { shard: 0, sliceId };
        await migration.moveKeys(part === 'due' ? dueKeys(queue) : [formatQueueKey({ ...queue, part })]);

        const settled: string[] = [];
        const under = <T>(name: string, call: Promise<T>) => call.finally(() => settled.push(name));
        const before = await answered(servers.nodes, 'TRYAGAIN');
        const calls = Promise.all([
          under('claim', store.claim({ ...query, shards: [0] })),
          under('complete', store.complete(claimed.slice(0, 1))),
          under('release', store.release(claimed.slice(1))),
        ]);
        await vi.waitFor(async () => expect(await answered(servers.nodes, 'TRYAGAIN')).toBeGreaterThan(before + 6), {
          timeout: 10_000,
        });
        expect(settled).toEqual([]);
        await migration.finish();
        const [during] = await calls;
        await add('e');
        const after = await store.claim(query);
        // The one that was released may have come to either claim.
        expect([...during, ...after].map(({ segmentId }) => segmentId).sort()).toEqual(
          ['a', 'b', 'c', 'd', 'e'].map(id).filter((segmentId) => segmentId !== claimed[0]?.segmentId),
        );
        await store.complete([...during, ...after]);
        expect(await store.claim({ ...query, drain: true })).toEqual([]);
      },
    );

    it('makes an add wait that takes the last entry out of a queue: a key that is gone counts as moved', async () => {
      const { store, sliceId } = await open(servers);
      const trace = aTrace();
      const add = (subsegments: Subsegment[]) => store.add([{ ...trace, subsegments }], POLICY, { now: T0 });
      await add([subsegment('b', [aSpan('c', 'b', 1, 0)])]);
      await add([subsegment('a', [aSpan('a', 'a', 1, 1), aSpan('d', 'a', 2, 1)], true)]);
      const migration = await beginMove(formatQueueKey({ shard: 0, sliceId }));
      const before = await answered(servers.nodes, 'TRYAGAIN');
      // Both become one segment, in shard 1. The script finds the queue of shard 0 there, and then not any more.
      const adding = add([subsegment('a', [aSpan('b', 'a', 3, 1)])]);
      const waiting = vi.waitFor(async () =>
        expect(await answered(servers.nodes, 'TRYAGAIN')).toBeGreaterThan(before + 2),
      );
      await Promise.race([adding, waiting]);
      await migration.finish();
      expect(await adding).toEqual({ added: 1, replayed: 0 });
      const claimed = await store.claim(query);
      expect(claimed).toMatchObject([{ ...trace, segmentId: id('a'), shard: 1, spanCount: 4 }]);
      await store.complete(claimed);
      expect(await store.claim({ ...query, drain: true })).toEqual([]);
    });

    it('makes an add wait when its queue has half moved, and schedules it then', async () => {
      const { store, sliceId } = await open(servers);
      const add = (digits: string) =>
        store.add([{ ...aTrace(), subsegments: [subsegment(digits, [aSpan(digits, digits, 1)], true)] }], POLICY, {
          now: T0,
        });
      await add('a');
      const queue = { shard: 0, sliceId };
      const migration = await beginMove(formatQueueKey(queue));
      await migration.moveKeys(dueKeys(queue));
      let added = false;
      const before = await answered(servers.nodes, 'TRYAGAIN');
      const adding = add('b').then(() => {
        added = true;
      });
      await vi.waitFor(async () => expect(await answered(servers.nodes, 'TRYAGAIN')).toBeGreaterThan(before + 2));
      expect(added).toBe(false);
      await migration.finish();
      await adding;
      const claimed = await store.claim(query);
      expect(claimed.map(({ segmentId }) => segmentId).sort()).toEqual([id('a'), id('b')]);
    });
  });

  describe('a batch that goes to many slots', () => {
    it.each(['distributed', 'dual-read-colocated'] as const)(
      'leaves nothing on the nodes that took it when one node is full, %s',
      async (layout) => {
        const { store } = await open(servers, { layout });
        const batch = (from: number): TraceAddition[] =>
          Array.from({ length: 100 }, (_, i) => ({
            ...aTrace(),
            subsegments: [subsegment(`${i}`, [aSpan(`${i}`, `${i}`, from + i)])],
          }));
        await store.add(batch(0), POLICY, { now: T0 });
        const sizes = () => Promise.all(servers.nodes.map((node) => on(node, (own) => own.dbsize())));
        const before = await sizes();
        const full = servers.nodes[randomInt(3)] as RedisServer;
        closing.push(() => on(full, (own) => own.config('SET', 'maxmemory', 0)));
        await on(full, (own) => own.config('SET', 'maxmemory', 1_000_000));
        await expect(store.add(batch(1_000), POLICY, { now: T0 })).rejects.toMatchObject({
          code: 'SPANBUF_STORE_REFUSED',
          retriable: true,
        });
        expect(await sizes()).toEqual(before);
      },
    );

    it('goes out in one write for each node and step', async () => {
      const { store, client } = await open(servers);
      const additions = (from: number): TraceAddition[] =>
        Array.from({ length: 300 }, (_, i) => ({
          ...aTrace(),
          subsegments: [subsegment('a', [aSpan('a', 'a', from + i)], true)],
        }));
      // Connections and scripts are there.
      await store.add(additions(0), POLICY, { now: T0 });
      await store.complete(await store.claim({ now: T0 + 10, limit: 500 }));
      const nodes = client.nodes('master');
      const writes = nodes.map((node) => vi.spyOn(node.stream, 'write'));
      const single = vi.spyOn(client, 'sendCommand');
      const counted = async (call: () => Promise<unknown>) => {
        const before = await stats();
        for (const spy of writes) spy.mockClear();
        await call();
        const after = await stats();
        return {
          writes: writes.map((spy) => spy.mock.calls.length),
          reads: after.reads - before.reads,
          commands: after.commands - before.commands,
        };
      };
      const stats = async () => {
        const infos = await Promise.all(servers.nodes.map((node) => on(node, (own) => own.info('stats'))));
        const sum = (field: string) =>
          infos.reduce((all, info) => all + Number(new RegExp(`${field}:(\\d+)`).exec(info)?.[1]), 0);
        return { reads: sum('total_reads_processed'), commands: sum('total_commands_processed') };
      };

      // Payloads, traces, queue, list of shards.
      const adding = await counted(() => store.add(additions(1_000), POLICY, { now: T0 }));
      expect(adding.commands).toBeGreaterThan(602);
      for (const count of adding.writes) expect(count).toBeLessThanOrEqual(4);
      expect(adding.reads).toBeLessThan(adding.commands / 5);

      let claimed: SealedGeneration[] = [];
      // List of shards, queue, the list once more, traces.
      const claiming = await counted(async () => {
        claimed = await store.claim({ now: T0 + 10, limit: 100 });
      });
      expect(claimed).toHaveLength(100);
      for (const count of claiming.writes) expect(count).toBeLessThanOrEqual(4);
      expect(claiming.reads).toBeLessThan(claiming.commands / 5);

      const reading = await counted(() => store.read(claimed));
      expect(reading.commands).toBeGreaterThanOrEqual(100);
      for (const count of reading.writes) expect(count).toBeLessThanOrEqual(1);

      expect(single).not.toHaveBeenCalled();
    });
  });
});

describe('a cluster that grows', () => {
  let servers: RedisClusterServers;
  let fresh: RedisServer;
  beforeAll(async () => {
    ({ servers, spare: fresh } = await startClusterWithSpare());
  });
  afterAll(() => servers.stop());

  it('is followed to a node that has no slot yet, and no script', async () => {
    const { store, client, sliceId } = await open(servers);
    expect(client.nodes('all')).toHaveLength(3);
    const trace = aTrace();
    const query = { now: T0 + 10, limit: 10 };
    const add = (subsegments: Subsegment[]) => store.add([{ ...trace, subsegments }], POLICY, { now: T0 });
    await add([subsegment('b', [aSpan('c', 'b', 1)])]);
    const traceKey = formatTraceKey(trace);
    const migration = await servers.beginSlotMigration(hashSlot(traceKey), fresh);
    await migration.moveKeys([traceKey]);
    const asked = await answered(servers.nodes, 'ASK');
    await add([subsegment('a', [aSpan('b', 'a', 2), aSpan('a', 'a', 3)], true)]);
    const [first] = await store.claim(query);
    expect(offsetsOf(await store.read([first as SealedGeneration]))).toEqual([1, 2, 3]);
    // One for each command, and not hundreds while it is in vain.
    expect((await answered(servers.nodes, 'ASK')) - asked).toBeLessThan(30);
    await migration.finish();
    await provoking([fresh], 'NOSCRIPT', async () => {
      await servers.migrateSlot(hashSlot(formatQueueKey({ shard: 0, sliceId })), fresh);
      await store.complete([first as SealedGeneration]);
    });
    await add([subsegment('b', [aSpan('d', 'b', 4)])]);
    expect(await store.claim(query)).toMatchObject([{ generation: 2, spanCount: 1 }]);
    expect(client.nodes('all')).toHaveLength(4);
  });
});

describe('a cluster whose masters fail', () => {
  let servers: RedisClusterServers;
  beforeAll(async () => {
    servers = await startRedisCluster({ replicas: 1, nodeTimeoutMs: 1_000 });
  });
  afterAll(() => servers.stop());
  // Whatever a test left frozen or dead runs again, as a replica.
  afterEach(async () => {
    for (const node of servers.nodes) if (!node.running) await node.restart();
    await servers.settled();
  });

  /** The master of the queue of shard 0, and what it is replaced by. */
  const masterOf = (sliceId: number) => servers.ownerOf(hashSlot(formatQueueKey({ shard: 0, sliceId })));

  /** Lets calls hang in a master, and waits until its replica has everything that was answered. */
  async function holdInStep(master: RedisServer): Promise<void> {
    await on(master, (client) => client.call('CLIENT', ['PAUSE', 600_000, 'WRITE']));
    await vi.waitFor(
      async () => {
        const field = (info: string, name: string) => new RegExp(`${name}:(.*)\r`).exec(info)?.[1];
        const nodes = servers.nodes.filter((node) => node.running);
        const infos = await Promise.all(nodes.map((node) => on(node, (client) => client.info('replication'))));
        const replica = infos.find((info) => field(info, 'master_port') === `${master.port}`) ?? '';
        const own = infos[nodes.indexOf(master)] ?? '';
        expect(field(replica, 'slave_repl_offset')).toBe(field(own, 'master_repl_offset'));
      },
      { timeout: 10_000, interval: 10 },
    );
  }

  const failures: [string, (master: RedisServer) => Promise<void>][] = [
    ['hands over in an orderly way', async () => undefined],
    [
      'is killed',
      async (master) => {
        await holdInStep(master);
        await master.kill('SIGKILL');
      },
    ],
    [
      'freezes',
      async (master) => {
        await holdInStep(master);
        master.pause();
      },
    ],
  ];

  it.each(failures)('loses no span and doubles none when a master %s while calls are under way', async (_, fail) => {
    const { store, sliceId } = await open(servers, { attemptSeconds: 0.5 });
    let successor: RedisServer | undefined;
    const ledger = await underLoad(store, async () => {
      const master = await masterOf(sliceId);
      await fail(master);
      successor = await servers.failover(master);
    });
    expect(ledger.rejections, 'rejected calls').toBe(0);
    // It had never run a script.
    expect(await masterOf(sliceId)).toBe(successor);
    expect(await answered([successor as RedisServer], 'NOSCRIPT')).toBeGreaterThan(0);
    await everyKeyHasATtl(servers.nodes.filter((node) => node.running));
  });

  it('rejects what a dead master leaves unanswered too long, and takes it when it is repeated', async () => {
    const { store, sliceId } = await open(servers, { attemptSeconds: 0.2, deadlineSeconds: 0.3 });
    const ledger = await underLoad(store, async () => {
      const master = await masterOf(sliceId);
      await holdInStep(master);
      await master.kill('SIGKILL');
      await servers.failover(master);
    });
    expect(ledger.rejections).toBeGreaterThan(0);
  });

  it('keeps everything that was acknowledged before', async () => {
    const { store, sliceId } = await open(servers, { attemptSeconds: 0.5 });
    const query = { now: T0 + 10, limit: 100 };
    const additions = Array.from({ length: 40 }, (_, i) => ({
      ...aTrace(),
      subsegments: [subsegment('a', [aSpan('a', 'a', i, i % 2), aSpan('b', 'a', i + 100, i % 2)], true)],
    }));
    await store.add(additions, POLICY, { now: T0 });
    const claimed = await store.claim({ ...query, limit: 10 });
    await store.complete(claimed.splice(0, 5));
    const master = await masterOf(sliceId);
    await holdInStep(master);
    await master.kill('SIGKILL');
    await servers.failover(master);
    expect((await store.read(claimed)).map((spans) => spans?.length)).toEqual([2, 2, 2, 2, 2]);
    await store.release(claimed);
    const left = await store.claim(query);
    expect(left).toHaveLength(35);
    expect((await store.read(left)).map((spans) => spans?.length)).toEqual(left.map(() => 2));
    await store.complete(left);
    expect(await store.claim({ ...query, drain: true })).toEqual([]);
    expect(await store.add(additions, POLICY, { now: T0 })).toEqual({ added: 0, replayed: 80 });
  });
});
