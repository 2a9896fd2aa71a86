import { randomBytes } from 'node:crypto';
import { formatEpochKey, formatTraceKey, parsePayloadKey } from '@spanbuf/keys';
import { connect, TOPOLOGIES, type Topology } from '@spanbuf/tooling/redis-clients';
import { startRedis } from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis } from 'ioredis';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  createBufferControl,
  createInspector,
  createLedger,
  createRedisStore,
  type InspectedSegment,
  type RedisStoreOptions,
  type StoredSpan,
} from '../src/index.ts';
import { shareOut } from '../src/redis/draw.ts';
import { dueKeys } from './queues.ts';
import { aSlice, aTrace } from './stores.ts';

/** What an inspector tells of what a test has put into Redis. */

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000 };
const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];
const GRACE_SECONDS = 30;

interface Added {
  readonly spanId: string;
  readonly parentId: string;
  readonly partition?: number;
  readonly offset?: bigint;
  readonly bytes?: number;
}

/** A buffer of its own, with one trace. */
async function open(client: Redis | Cluster, options: RedisStoreOptions = {}) {
  const sliceId = aSlice();
  const trace = aTrace();
  const same = { sliceId, deadlineSeconds: 5 };
  const store = createRedisStore(client, { ...same, ...options });
  const control = createBufferControl(client, same);
  const [seconds] = await client.time();
  const nowSeconds = Number(seconds);
  const inspector = createInspector(client, { ...same, clockGraceSeconds: GRACE_SECONDS });
  const add = async (spans: readonly Added[], now = nowSeconds, of = trace) => {
    const additions = spans.map(({ spanId, parentId, partition = 0, offset, bytes = 2 }) => {
      const span: StoredSpan = { spanId, parentId, partition, payload: Buffer.alloc(bytes, 'x'), source: 'topic' };
      const stored = offset === undefined ? span : { ...span, offset };
      return { ...of, subsegments: [{ topId: parentId, hasRoot: spanId === parentId, spans: [stored] }] };
    });
    await store.add(additions, POLICY, { now });
  };
  return {
    client,
    sliceId,
    trace,
    store,
    control,
    inspector,
    nowSeconds,
    add,
    /** The clock of partition 0 stands at `seconds`, relative to that of Redis. */
    mark: (seconds: number, behindSeconds = 0, partition = 0) =>
      control.markClocks(new Map([[partition, { messageSeconds: nowSeconds + seconds, behindSeconds }]])),
    inspect: async (limits = {}) => {
      const inspected = await inspector.inspectTrace(trace, limits);
      if (inspected === undefined) throw new Error('nothing is known of the trace');
      return inspected;
    },
    only: async (): Promise<InspectedSegment> => {
      const inspected = await inspector.inspectTrace(trace);
      expect(inspected?.segments).toHaveLength(1);
      return inspected?.segments[0] as InspectedSegment;
    },
  };
}

describe.each(TOPOLOGIES)('an inspector, on %s', (topology: Topology) => {
  let client: Redis | Cluster;
  beforeAll(async () => {
    client = await connect(topology);
  });

  describe('says why a segment is not flushed yet:', () => {
    it('it is not due', async () => {
      const { add, mark, only, nowSeconds } = await open(client);
      await add([{ spanId: A, parentId: A }], nowSeconds);
      await mark(1);
      const segment = await only();
      expect(segment).toMatchObject({ segmentId: A, generation: 1, state: 'live', rootSeen: true, spanCount: 1 });
      expect(segment.wait).toEqual({
        kind: 'not-due',
        dueSeconds: nowSeconds + 10,
        messageSeconds: nowSeconds + 1,
        backstopSeconds: expect.closeTo(nowSeconds + 1_800, -1),
      });
    });

    it('it is due, and waits for a flusher', async () => {
      const { add, mark, inspect, control, nowSeconds } = await open(client);
      await add([{ spanId: B, parentId: A }], nowSeconds - 100);
      await mark(0);
      await control.announceFlusher('one', 60);
      const inspected = await inspect();
      expect(inspected.segments[0]?.wait).toEqual({
        kind: 'due',
        dueSeconds: nowSeconds - 40,
        messageSeconds: nowSeconds,
      });
      expect(inspected.segments[0]?.rootSeen).toBe(false);
      expect(inspected.liveFlushers).toBe(1);
      expect(inspected.shards).toMatchObject([{ shard: 0, queuedCount: 1, dueCount: 1, overdueSeconds: 40 }]);
    });

    it.each([
      ['its consumer works off a backlog', -50, 50, undefined, { kind: 'backlog', behindSeconds: 50 }],
      ['other partitions are further behind', 0, 0, 25, { kind: 'other-partitions', waitSeconds: 25 }],
    ])('its clock is held back, as %s', async (_, seconds, behindSeconds, othersBehind, cause) => {
      const { add, mark, only, nowSeconds } = await open(client);
      await add([{ spanId: A, parentId: A }], nowSeconds - 20);
      await mark(seconds, behindSeconds);
      if (othersBehind !== undefined) await mark(-othersBehind, othersBehind, 1);
      const { wait } = await only();
      expect(wait).toMatchObject({ kind: 'held-back', dueSeconds: nowSeconds - 10, cause });
    });

    it('its clock is held back, as its consumer has gone silent', async () => {
      const { add, only, nowSeconds, sliceId } = await open(client);
      await add([{ spanId: A, parentId: A }], nowSeconds - 20);
      await client.hset(`span-buf:clocks:${sliceId}`, '0', `${nowSeconds - 15} ${nowSeconds - 15} 0`);
      const { wait } = await only();
      expect(wait).toMatchObject({ kind: 'held-back', cause: { kind: 'silent-consumer' } });
      const { cause } = wait as Extract<typeof wait, { kind: 'held-back' }>;
      expect((cause as { silentSeconds: number }).silentSeconds).toBeGreaterThanOrEqual(15);
    });

    it('it has been held too long by the wall clock, whatever message time says', async () => {
      const { store, trace, mark, only, nowSeconds } = await open(client);
      const spans = [{ spanId: A, parentId: A, partition: 0, payload: Buffer.from('{}') }];
      const policy = { ...POLICY, maxAgeSeconds: 0.1 };
      await mark(-500);
      await store.add([{ ...trace, subsegments: [{ topId: A, hasRoot: true, spans }] }], policy, { now: nowSeconds });
      await expect.poll(async () => (await only()).wait).toMatchObject({ kind: 'due', dueSeconds: undefined });
    });

    it('a flusher has leased it', async () => {
      const { store, add, only, nowSeconds } = await open(client);
      await add([{ spanId: A, parentId: A }]);
      await store.claim({ now: nowSeconds + 10, limit: 1 });
      const segment = await only();
      expect(segment).toMatchObject({ state: 'sealed', sealReason: 'root-idle', wait: { kind: 'leased' } });
      const { untilSeconds, nowSeconds: then } = segment.wait as Extract<typeof segment.wait, { kind: 'leased' }>;
      expect(untilSeconds - then).toBeGreaterThan(0);
      expect(untilSeconds - then).toBeLessThanOrEqual(60);
    });

    it('the lease of a flusher is over, and how often it could not be produced', async () => {
      const { store, add, only, nowSeconds } = await open(client, { leaseSeconds: 0.001 });
      await add([{ spanId: A, parentId: A }]);
      const [generation] = await store.claim({ now: nowSeconds + 10, limit: 1 });
      if (generation) await store.park([{ generation, reason: 'refused' }], { tries: 3 });
      await expect
        .poll(async () => {
          const { wait, tries } = await only();
          return wait.kind === 'leased' && wait.untilSeconds < wait.nowSeconds && tries;
        })
        .toBe(1);
    });

    it('it was sealed for its size, and is to be taken at once', async () => {
      const { add, inspect } = await open(client);
      await add([{ spanId: A, parentId: A, bytes: 1_000 }]);
      await add([{ spanId: B, parentId: A }]);
      const { segments } = await inspect();
      expect(segments).toMatchObject([
        { generation: 1, state: 'sealed', sealReason: 'max-bytes', wait: { kind: 'due', dueSeconds: undefined } },
        { generation: 2, state: 'live', sealReason: undefined, payloadBytes: 2, rootSeen: true },
      ]);
    });

    it('it is parked, and why', async () => {
      const { store, add, only, nowSeconds } = await open(client);
      await add([{ spanId: A, parentId: A }]);
      const [generation] = await store.claim({ now: nowSeconds + 10, limit: 1 });
      if (generation) await store.park([{ generation, reason: 'too large' }]);
      expect(await only()).toMatchObject({
        state: 'parked',
        wait: { kind: 'parked', reason: 'too large', parkedSeconds: expect.closeTo(nowSeconds, -2) },
      });
    });

    it('no queue leads to it', async () => {
      const { add, only, sliceId } = await open(client);
      await add([{ spanId: A, parentId: A }]);
      await client.unlink(...dueKeys({ shard: 0, sliceId }));
      expect(await only()).toMatchObject({ state: 'live', wait: { kind: 'not-queued' } });
    });

    it('Redis has lost data since, so that it counts for nothing', async () => {
      const { add, only, sliceId } = await open(client, { epoch: 2 });
      await add([{ spanId: A, parentId: A, offset: 1n }]);
      await client.hset(formatEpochKey({ sliceId }), 'epoch', 3);
      expect((await only()).wait).toEqual({ kind: 'outdated', epoch: 2, currentEpoch: 3 });
    });
  });

  it('says on which node each payload lies, as that node does', async () => {
    const { add, inspect, trace } = await open(client);
    const spanIds = Array.from({ length: 40 }, (_, i) => (i + 1).toString(16).padStart(16, '0'));
    await add(spanIds.map((spanId) => ({ spanId, parentId: A, bytes: 3 })));
    const { segments, key, node } = await inspect();
    expect(key).toBe(formatTraceKey(trace));
    const places = [{ key, node }, ...(segments[0]?.payloads.flatMap((payload) => payload.places) ?? [])];
    expect(new Set(places.map((place) => place.node)).size).toBe(topology === 'one node' ? 1 : 3);
    for (const place of places) {
      const [host = '', port = ''] = place.node?.split(':') ?? [];
      const alone = new Redis({ host, port: Number(port) });
      onTestFinished(() => alone.disconnect());
      // A node of a cluster refuses keys that it does not have.
      expect(await alone.exists(place.key)).toBe(1);
    }
    const payloads = segments[0]?.payloads ?? [];
    expect(payloads.map(({ state }) => state)).toEqual(spanIds.map(() => 'read'));
    expect(payloads.map(({ places }) => parsePayloadKey(places[0]?.key ?? '').spanId).sort()).toEqual(spanIds);
    const spans = payloads.flatMap((payload) => payload.spans);
    expect(spans.map(({ spanId }) => spanId).sort()).toEqual(spanIds);
  });

  it('shows both places of a payload in a dual-read layout, and which of them is empty', async () => {
    const { add, only } = await open(client, { layout: 'dual-read-colocated' });
    await add([{ spanId: A, parentId: A }]);
    const [payload] = (await only()).payloads;
    expect(payload?.places.map(({ layout }) => layout)).toEqual(['distributed', 'colocated']);
    await client.unlink(payload?.places[0]?.key ?? '');
    const [left] = (await only()).payloads;
    expect(left).toMatchObject({ state: 'read', places: [{ bytes: 0 }, { field: expect.any(String) }] });
    expect(left?.places[1]?.bytes).toBeGreaterThan(0);
    expect(left?.spans).toHaveLength(1);
  });

  it('says which payloads are gone, and which cannot be read', async () => {
    const { add, only } = await open(client);
    await add([A, B, C].map((spanId) => ({ spanId, parentId: A })));
    const keys = (await only()).payloads.map(({ places }) => places[0]?.key ?? '');
    await client.unlink(keys[0] as string);
    await client.set(keys[1] as string, '\x09nonsense', 'EX', 100);
    expect((await only()).payloads.map(({ state }) => state)).toEqual(['gone', 'unreadable', 'read']);
  });

  it('knows nothing of a trace that has not come, and of one that holds nothing that it is known', async () => {
    const { add, store, inspector, inspect, trace, nowSeconds } = await open(client);
    expect(await inspector.inspectTrace(trace)).toBeUndefined();
    await add([{ spanId: A, parentId: A }]);
    await store.complete(await store.claim({ now: nowSeconds + 10, limit: 1 }));
    expect(await inspect()).toMatchObject({ segments: [], isWhole: true, ttlSeconds: expect.closeTo(120, -1) });
  });

  it('reads no more payloads than asked for, of all segments alike', async () => {
    const { add, inspect } = await open(client);
    await add(Array.from({ length: 20 }, () => ({ spanId: randomBytes(8).toString('hex'), parentId: A, bytes: 20 })));
    await add(Array.from({ length: 5 }, () => ({ spanId: randomBytes(8).toString('hex'), parentId: B, bytes: 20 })));
    const few = await inspect({ mostPayloads: 6 });
    expect(few.segments).toMatchObject([{ payloadCount: 20 }, { payloadCount: 5 }]);
    expect(few.segments.map(({ payloads }) => payloads.length)).toEqual([3, 3]);
    const { segments } = await inspect({ mostBytes: 130 });
    const states = segments.flatMap(({ payloads }) => payloads.map(({ state }) => state));
    expect(states).toHaveLength(25);
    expect(states.filter((state) => state === 'read').length).toBeLessThan(4);
    expect(new Set(states)).toEqual(new Set(['read', 'passed-over']));
  });

  it('reads no more fields of a large trace than asked for, and says so', async () => {
    const { inspect, store, trace, nowSeconds } = await open(client);
    for (let page = 0; page < 15; page++) {
      const additions = Array.from({ length: 10 }, () => {
        const subsegments = Array.from({ length: 32 }, () => {
          const spanId = randomBytes(8).toString('hex');
          const spans = [{ spanId, parentId: A, partition: 0, payload: Buffer.from('x') }];
          return { topId: A, hasRoot: false, spans };
        });
        return { ...trace, subsegments };
      });
      await store.add(additions, { ...POLICY, maxSegmentBytes: 1e6 }, { now: nowSeconds });
    }
    const whole = await inspect({ mostPayloads: 5_000 });
    expect(whole.fieldCount).toBeGreaterThan(4_800);
    expect(whole).toMatchObject({ isWhole: true, segments: [{ segmentId: A, spanCount: 4_800, payloadCount: 4_800 }] });
    expect(whole.segments[0]?.payloads.flatMap(({ spans }) => spans)).toHaveLength(4_800);
    expect((await inspect({ mostFields: 1 })).isWhole).toBe(false);
  });

  it('counts what waits, is due, is leased and is parked, by shard and lane', async () => {
    const { add, store, inspector, mark, nowSeconds } = await open(client, { leaseSeconds: 50 });
    const project = (projectId: number) => ({ projectId: `${projectId}`, traceId: randomBytes(16).toString('hex') });
    await mark(0);
    for (const lane of [0, 1, 1]) await add([{ spanId: A, parentId: A }], nowSeconds - 30, project(lane));
    const [leased, parked] = await store.claim({ now: nowSeconds, limit: 2 });
    if (parked) await store.park([{ generation: parked, reason: 'refused' }]);
    expect(leased).toBeDefined();
    await add([{ spanId: A, parentId: A, partition: 0 }], nowSeconds - 17, project(5));
    await add([{ spanId: A, parentId: A, partition: 0 }], nowSeconds, project(5 + 16));
    await add([{ spanId: A, parentId: A, partition: 3 }], nowSeconds - 10, project(6));
    const { shards } = await inspector.readQueues();
    expect(shards.map(({ shard }) => shard)).toEqual([0, 3]);
    const [zero, three] = shards;
    expect(zero).toMatchObject({
      queuedCount: 3,
      dueCount: 2,
      overdueSeconds: 20,
      oldestDueSeconds: nowSeconds - 20,
      inFlightCount: 1,
      endedLeaseCount: 0,
      parkedCount: 1,
      triedCount: 0,
    });
    expect((zero?.nextLeaseEndSeconds ?? 0) - nowSeconds).toBeGreaterThan(40);
    expect(zero?.lanes.find(({ lane }) => lane === 5)).toMatchObject({ queuedCount: 2, dueCount: 1 });
    expect(zero?.lanes).toHaveLength(2);
    expect(three).toMatchObject({ clock: undefined, queuedCount: 1, inFlightCount: 0, parkedCount: 0 });
    expect(await inspector.readQueues({ shards: [3] })).toMatchObject({ shards: [{ shard: 3, queuedCount: 1 }] });
  });

  it('counts leases that are over', async () => {
    const { add, store, inspector, nowSeconds } = await open(client, { leaseSeconds: 0.001 });
    await add([{ spanId: A, parentId: A }]);
    await store.claim({ now: nowSeconds + 10, limit: 1 });
    await expect
      .poll(async () => (await inspector.readQueues()).shards)
      .toMatchObject([{ inFlightCount: 1, endedLeaseCount: 1, nextLeaseEndSeconds: undefined }]);
  });

  it('leaves the list of shards as it is, where a queue is empty', async () => {
    const { inspector, sliceId } = await open(client);
    await client.hset(`span-buf:shards:${sliceId}`, '9', 'token');
    expect((await inspector.readQueues()).shards).toMatchObject([{ shard: 9, queuedCount: 0 }]);
    expect(await client.hgetall(`span-buf:shards:${sliceId}`)).toEqual({ 9: 'token' });
  });

  it('finds what takes up most of the queues: all of it, or by lot', async () => {
    const { add, store, inspector, nowSeconds } = await open(client);
    const small = Array.from({ length: 30 }, (_, i) => ({
      projectId: `${i % 3}`,
      traceId: randomBytes(16).toString('hex'),
    }));
    for (const trace of small) await add([{ spanId: A, parentId: A, bytes: 10 }], nowSeconds, trace);
    const hot = { projectId: 'hot', traceId: randomBytes(16).toString('hex') };
    for (const parentId of [A, B, C])
      await add([{ spanId: randomBytes(8).toString('hex'), parentId, partition: 1, bytes: 500 }], nowSeconds, hot);
    await store.claim({ now: nowSeconds + 10, limit: 4 });
    const report = await inspector.readQueues();
    const all = await inspector.sampleQueues(report, 1_000);
    expect(all).toMatchObject({ entryCount: 33, isWhole: true, sampledCount: 33, spanCount: 33, payloadBytes: 1_800 });
    expect(all.traces[0]).toEqual({ ...hot, entryCount: 3, spanCount: 3, payloadBytes: 1_500 });
    expect(all.traces).toHaveLength(31);
    expect(all.projects.map(({ projectId, payloadBytes }) => [projectId, payloadBytes])).toEqual([
      ['hot', 1_500],
      ...['0', '1', '2'].map((projectId) => [projectId, 100]),
    ]);
    const some = await inspector.sampleQueues(report, 10);
    expect(some).toMatchObject({ entryCount: 33, isWhole: false, sampledCount: 10, spanCount: 10 });
  });

  it('adds up what became of messages', async () => {
    const { inspector, sliceId } = await open(client);
    const ledger = createLedger(client, { sliceId });
    await ledger.open([{ partition: 4, source: 'topic', offset: 10n }]);
    await ledger.take([{ partition: 4, source: 'topic', offset: 30n }]);
    await ledger.settle([{ partition: 4, source: 'topic', fromOffset: 10n, toOffset: 15n, fate: 'idle' }]);
    const [totals, ...others] = await inspector.readTotals([3, 4]);
    expect(others).toEqual([]);
    expect(totals).toMatchObject({ partition: 4, takenOffset: 30n, openCount: 15, counts: new Map([['idle', 5]]) });
  });

  it('tells the load of every master', async () => {
    const { inspector } = await open(client);
    const nodes = await inspector.readNodes();
    expect(nodes).toHaveLength(topology === 'one node' ? 1 : 3);
    for (const { load } of nodes) {
      expect(load?.usedBytes).toBeGreaterThan(100_000);
      expect(load?.clientCount).toBeGreaterThan(0);
    }
  });
});

describe('an inspector', () => {
  it('does with a user who may not write, and uses none of the commands that look at all keys', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const admin = new Redis(server.connection);
    onTestFinished(() => admin.disconnect());
    const rules = ['on', '>secret', '~span-buf:*', '+@all', '-@write', '-scan', '-keys', '-dbsize', '-randomkey'];
    await admin.call('ACL', ['SETUSER', 'looker', ...rules]);
    const looker = new Redis({ ...server.connection, username: 'looker', password: 'secret' });
    onTestFinished(() => looker.disconnect());
    const { sliceId, add, store, trace, nowSeconds } = await open(admin);
    await add([{ spanId: A, parentId: A, bytes: 1_000 }]);
    await add([{ spanId: B, parentId: A }]);
    const [generation] = await store.claim({ now: nowSeconds, limit: 1 });
    if (generation) await store.park([{ generation, reason: 'refused' }]);
    const inspector = createInspector(looker, { sliceId, deadlineSeconds: 5 });
    expect((await inspector.inspectTrace(trace))?.segments).toHaveLength(2);
    const report = await inspector.readQueues();
    expect(await inspector.sampleQueues(report, 10)).toMatchObject({ sampledCount: 1 });
    await inspector.readTotals([0]);
    expect((await inspector.readNodes())[0]?.load).toBeDefined();
  });

  it('names the options that are wrong', () => {
    const client = new Redis({ lazyConnect: true });
    expect(() => createInspector(client, { clockGraceSeconds: 0 })).toThrow(
      /createInspector.*[\s\S]*clockGraceSeconds/,
    );
  });
});

describe('the share of a sample that falls to each set', () => {
  it.each([
    [[3, 0, 4], 10, 0.5, [3, 0, 4]],
    [[100, 0, 300], 4, 0, [1, 0, 3]],
    [[100, 0, 300], 4, 0.999, [1, 0, 3]],
    [[], 10, 0.5, []],
  ])('of %j at most %i, from %f: %j', (counts, most, start, shares) => {
    expect(shareOut(counts, most, start)).toEqual(shares);
  });

  it('adds up to the size of the sample, and is proportional to the sizes', () => {
    const counts = Array.from({ length: 1_000 }, (_, i) => (i * 7_919) % 1_009);
    const total = counts.reduce((sum, count) => sum + count, 0);
    for (const start of [0, 0.3, 0.999]) {
      const shares = shareOut(counts, 500, start);
      expect(shares.reduce((sum, share) => sum + share, 0)).toBe(500);
      for (const [i, share] of shares.entries())
        expect(Math.abs(share - ((counts[i] ?? 0) * 500) / total)).toBeLessThan(1);
    }
  });
});
