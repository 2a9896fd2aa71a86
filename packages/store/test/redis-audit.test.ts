import { formatEpochKey, formatQueueKey, formatShardsKey, formatTraceKey } from '@spanbuf/keys';
import { connectCluster, TOPOLOGIES, type Topology } from '@spanbuf/tooling/redis-clients';
import {
  type RedisClusterServers,
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type AuditCall,
  type AuditFinding,
  type AuditReport,
  createAuditor,
  createLedger,
  type LayoutName,
  type RedisStoreOptions,
  type SealedGeneration,
  type TraceAddition,
} from '../src/index.ts';
import { dueIn, dueKeys } from './queues.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

/** What an audit finds of what a test plants, on servers of its own: it looks at all there is. */

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000 };
const T0 = 1_700_000_000;
const SOURCE = 'topic';
const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];

let single: RedisServer;
let servers: RedisClusterServers;
const clients: Partial<Record<Topology, Redis | Cluster>> = {};

beforeAll(async () => {
  [single, servers] = await Promise.all([startRedis(), startRedisCluster({ masters: 3 })]);
  clients['one node'] = new Redis(single.connection);
  clients['a three-node cluster'] = connectCluster(servers.url);
});
afterAll(async () => {
  for (const client of Object.values(clients)) client.disconnect();
  await Promise.all([single.stop(), servers.stop()]);
});

const mastersOf = (client: Redis | Cluster): Redis[] =>
  client.isCluster ? (client as Cluster).nodes('master') : [client as Redis];

async function keysOf(client: Redis | Cluster): Promise<string[]> {
  return (await Promise.all(mastersOf(client).map((node) => node.keys('*')))).flat().sort();
}

/** Everything in Redis, to see whether anything was written. */
async function contentsOf(client: Redis | Cluster): Promise<Map<string, string>> {
  const keys = await keysOf(client);
  return new Map(
    await Promise.all(keys.map(async (key) => [key, String((await client.dumpBuffer(key))?.toString('hex'))] as const)),
  );
}

interface SpanOptions {
  readonly partition?: number;
  readonly offset?: bigint;
  readonly bytes?: number;
}

function addition(
  trace: ReturnType<typeof aTrace>,
  spanId: string,
  parentId: string,
  { partition = 0, offset, bytes = 2 }: SpanOptions = {},
): TraceAddition {
  const span = { spanId, parentId, partition, source: SOURCE, payload: Buffer.alloc(bytes, 'x') };
  const spans = [offset === undefined ? span : { ...span, offset }];
  return { ...trace, subsegments: [{ topId: parentId, hasRoot: spanId === parentId, spans }] };
}

/** An empty Redis, with one buffer. */
async function open(topology: Topology, options: RedisStoreOptions = {}) {
  const client = clients[topology] as Redis | Cluster;
  if (client.status !== 'ready') await new Promise((resolve) => client.once('ready', resolve));
  await Promise.all(mastersOf(client).map((node) => node.flushall()));
  const sliceId = aSlice();
  const queue = { shard: 0, sliceId };
  const trace = aTrace();
  const store = openStore(client, { sliceId, dedupeWindowSeconds: 0, ...options });
  const audit = async (call: AuditCall = {}, maxLeaseSeconds = 3_600) => {
    const findings: AuditFinding[] = [];
    const auditor = createAuditor(client, { sliceId, minAgeSeconds: 0, maxLeaseSeconds });
    const report = await auditor.audit({ onFinding: (finding) => void findings.push(finding), ...call });
    return { report, findings };
  };
  return {
    client,
    sliceId,
    queue,
    trace,
    store,
    traceKey: formatTraceKey(trace),
    partKey: (part: 'in-flight' | 'parked' | 'held' | 'tries') => formatQueueKey({ ...queue, part }),
    audit,
    add: (spanId: string, parentId: string, span?: SpanOptions, of = trace) =>
      store.add([addition(of, spanId, parentId, span)], POLICY, { now: T0 }),
    claim: (now = T0 + 1_000) => store.claim({ now, limit: 100 }),
    /** Takes everything out, and says how many spans that were. */
    drain: async () => {
      for (let count = 0; ; ) {
        const claimed = await store.claim({ now: T0, limit: 1_000, drain: true });
        if (claimed.length === 0) return count;
        count += (await store.read(claimed)).flat().length;
        await store.complete(claimed);
      }
    },
    payloadKeys: async () => (await keysOf(client)).filter((key) => key.startsWith('span-buf:s:')),
    /** What is planted is found, nothing is written without being asked; then it is repaired, and nothing is found. */
    findsAndRepairs: async (kind: string, call: AuditCall = {}): Promise<AuditFinding[]> => {
      const before = await contentsOf(client);
      const first = await audit();
      expect(first.findings.map((finding) => finding.kind)).toEqual(first.findings.map(() => kind));
      expect(first.findings.map(({ outcome }) => outcome)).toEqual(first.findings.map(() => 'found'));
      expect(first.report).toMatchObject({
        isClean: false,
        counts: [{ kind, found: first.findings.length, repaired: 0 }],
      });
      expect(await contentsOf(client)).toEqual(before);
      const second = await audit({ repair: true, ...call });
      expect(second.findings.map(({ outcome }) => outcome)).toEqual(first.findings.map(() => 'repaired'));
      expect(second.report.isClean).toBe(true);
      expect((await audit()).findings).toEqual([]);
      return first.findings;
    },
  };
}

/** Everything that a healthy buffer has: segments that grow, that wait as they are full, in flight and parked; 8 spans. */
async function fill({ store, add, claim }: Awaited<ReturnType<typeof open>>): Promise<void> {
  const other = aTrace();
  await add(A, A, { offset: 0n, bytes: 1_000 }, other);
  await add(B, A, { offset: 1n }, other);
  const [first] = (await claim()) as [SealedGeneration];
  await store.park([{ generation: first, reason: 'refused' }]);
  await add(A, A, { offset: 2n });
  await add(C, B, { offset: 3n });
  await add(B, A, { offset: 4n });
  await add(B, A, { partition: 1, offset: 0n }, aTrace());
  await add(A, A, { partition: 1, offset: 1n, bytes: 1_000 }, aTrace());
  await add(A, A, {}, aTrace());
}

describe.each(TOPOLOGIES)('an audit, on %s', (topology) => {
  it.each<LayoutName>(['colocated', 'dual-read-colocated', 'dual-read-distributed', 'distributed'])(
    'finds nothing in a buffer that is as it should be, and says what it holds, %s',
    async (layout) => {
      const buffer = await open(topology, { layout });
      await fill(buffer);
      const { report, findings } = await buffer.audit({ repair: true });
      expect(findings).toEqual([]);
      expect(report).toMatchObject({
        isClean: true,
        counts: [],
        shards: [
          { shard: 0, heldSpanCount: 5, parkedSpanCount: 1, generationCount: 4 },
          { shard: 1, heldSpanCount: 2, parkedSpanCount: 0, generationCount: 2 },
        ],
        swept: { traces: 5 },
      });
    },
  );

  it('queues a live segment again that is in no queue', async () => {
    const { client, queue, add, traceKey, partKey, findsAndRepairs, drain, trace } = await open(topology);
    await add(A, A);
    await add(B, A);
    const [before] = await dueIn(client as Redis, queue);
    await client.unlink(before?.key as string);
    await client.unlink(partKey('held'));
    const [found] = await findsAndRepairs('unqueued-segment');
    expect(found).toMatchObject({ key: traceKey, ...trace, segmentId: A, shard: 0, spanCount: 2 });
    expect(await dueIn(client as Redis, queue)).toEqual([before]);
    expect(await drain()).toBe(2);
    expect(await keysOf(client)).toEqual([]);
  });

  it('queues a sealed generation again that no flusher has any more', async () => {
    const { client, add, claim, partKey, findsAndRepairs, drain } = await open(topology);
    await add(A, A, { bytes: 1_000 });
    await add(B, A);
    await claim(T0 + 5);
    await client.unlink(partKey('in-flight'));
    expect(await findsAndRepairs('unqueued-segment')).toMatchObject([{ segmentId: A, spanCount: 1 }]);
    expect(await drain()).toBe(2);
    expect(await keysOf(client)).toEqual([]);
  });

  it('leaves a segment alone that may belong to another slice', async () => {
    const { client, add, queue, audit } = await open(topology);
    await add(A, A);
    const other = openStore(client);
    await other.add([addition(aTrace(), A, A)], POLICY, { now: T0 });
    expect((await audit()).findings).toEqual([]);
    await client.unlink(...dueKeys(queue), formatQueueKey({ ...queue, part: 'held' }));
    const { findings, report } = await audit({ repair: true });
    expect(findings).toMatchObject([{ kind: 'unqueued-segment', outcome: 'left' }]);
    expect(report.isClean).toBe(false);
  });

  it.each(['due', 'in-flight', 'parked'] as const)('takes out an entry that stands for nothing: %s', async (part) => {
    const { client, store, add, claim, trace, traceKey, payloadKeys, findsAndRepairs, sliceId } = await open(topology);
    await add(A, A);
    if (part !== 'due') {
      const claimed = await claim();
      if (part === 'parked') await store.park(claimed.map((generation) => ({ generation, reason: 'refused' })));
    }
    await client.unlink(traceKey);
    for (const key of await payloadKeys()) await client.unlink(key);
    const [found] = await findsAndRepairs('stale-entry');
    expect(found).toMatchObject({ ...trace, shard: 0, key: expect.stringContaining(part) });
    expect(await keysOf(client)).toEqual([formatShardsKey({ sliceId })]);
  });

  it('leaves out what is of an epoch before, as it is read again', async () => {
    const { client, sliceId, trace, traceKey, queue, partKey, audit } = await open(topology);
    const old = openStore(client, { sliceId, epoch: 1 });
    await old.add([addition(trace, A, A)], POLICY, { now: T0 });
    await client.unlink(...dueKeys(queue), partKey('held'));
    expect((await audit()).findings).toMatchObject([{ kind: 'unqueued-segment', key: traceKey }]);
    await client.hset(formatEpochKey({ sliceId }), 'epoch', 2);
    await client.expire(formatEpochKey({ sliceId }), 1_000);
    const { report, findings } = await audit({ repair: true });
    expect(findings).toEqual([]);
    expect(report.shards).toEqual([]);
  });

  it('forgets how often something was tried that is gone', async () => {
    const { client, store, add, claim, traceKey, partKey, payloadKeys, findsAndRepairs } = await open(topology);
    await add(A, A);
    await store.park(
      (await claim()).map((generation) => ({ generation, reason: 'refused' })),
      { tries: 3 },
    );
    expect(await client.hlen(partKey('tries'))).toBe(1);
    await client.unlink(traceKey);
    for (const key of [...(await payloadKeys()), partKey('in-flight'), partKey('held')]) await client.unlink(key);
    expect(await findsAndRepairs('stale-entry')).toMatchObject([{ key: partKey('tries') }]);
    expect(await client.exists(partKey('tries'))).toBe(0);
  });

  it('takes out what no queue may have, and flushers stumble over', async () => {
    const { client, add, claim, queue, findsAndRepairs, drain } = await open(topology);
    await add(A, A);
    const [due] = await dueIn(client as Redis, queue);
    await client.zadd(due?.key as string, T0, 'nonsense');
    await expect(claim()).rejects.toThrow();
    // In flight by now, as is the segment.
    const found = await findsAndRepairs('stale-entry');
    expect(found).toMatchObject([{ detail: expect.stringContaining('nonsense') }]);
    expect(await client.zcard(formatQueueKey({ ...queue, part: 'in-flight' }))).toBe(1);
    expect(await drain()).toBe(0);
  });

  it.each<LayoutName>(['colocated', 'dual-read-colocated', 'distributed'])(
    'frees payloads that nothing refers to, and no others, %s',
    async (layout) => {
      const { client, store, trace, add, traceKey, findsAndRepairs, drain } = await open(topology, { layout });
      await add(A, A);
      const of = aTrace();
      await add(A, A, {}, of);
      await add(B, A, {}, of);
      const field = (await client.hkeysBuffer(traceKey)).find((name) =>
        name.toString('hex').startsWith(`3a${A}2e`),
      ) as Buffer;
      // As if the consumer had died before it linked what it wrote.
      await client.unlink(traceKey);
      await store.add([addition(trace, C, C)], POLICY, { now: T0 });
      expect(await client.hexists(traceKey, field)).toBe(0);
      const stale = await dueIn(client as Redis, { shard: 0, sliceId: 0 });
      expect(stale).toEqual([]);
      await takeOutStale();
      const found = await findsAndRepairs('unreferenced-payload');
      expect(found).toHaveLength(layout === 'dual-read-colocated' ? 2 : 1);
      for (const one of found) expect(one).toMatchObject({ ...trace, bytes: expect.any(Number) });
      expect(found[0]?.bytes).toBeGreaterThan(0);
      expect(await drain()).toBe(3);
      expect(await keysOf(client)).toEqual([]);

      async function takeOutStale(): Promise<void> {
        const sliceKeys = (await keysOf(client)).filter((key) => key.includes(':due:') || key.endsWith(':held'));
        for (const key of sliceKeys) {
          for (const entry of await client.zrange(key, '0', '-1')) {
            if (entry.startsWith(`span-buf:s:{${trace.projectId}:${trace.traceId}}:${A}`))
              await client.zrem(key, entry);
          }
        }
      }
    },
  );

  it('leaves payloads alone that nothing refers to yet', async () => {
    const { client, sliceId, add, payloadKeys } = await open(topology);
    await add(A, A);
    const [payload] = await payloadKeys();
    await client.set(`${payload}x`, 'bytes', 'EX', 1_000);
    const auditor = createAuditor(client, { sliceId, redisTtlSeconds: 1_000, minAgeSeconds: 60 });
    expect((await auditor.audit({ repair: true })).counts).toEqual([]);
    expect(await payloadKeys()).toHaveLength(2);
  });

  it.each<LayoutName>(['colocated', 'distributed'])(
    'finds payloads that nothing has referred to for long, each time anew, %s',
    async (layout) => {
      const { client, sliceId, add, payloadKeys, traceKey } = await open(topology, { layout });
      await add(A, A);
      await client.unlink(traceKey);
      const [payload] = await payloadKeys();
      await client.expire(payload as string, 86_400 - 2);
      // The last one's look must not make it young again.
      for (const repair of [false, false, true]) {
        const { counts } = await createAuditor(client, { sliceId, minAgeSeconds: 1 }).audit({ repair });
        const found = counts.find(({ kind }) => kind === 'unreferenced-payload');
        expect(found).toEqual({ kind: 'unreferenced-payload', found: 1, repaired: repair ? 1 : 0 });
      }
      expect(await payloadKeys()).toEqual([]);
    },
  );

  it.each<LayoutName>(['colocated', 'distributed'])(
    'says which spans are lost with their payloads, %s',
    async (layout) => {
      const { client, add, audit, trace, drain, payloadKeys } = await open(topology, { layout });
      await add(A, A);
      await add(B, A);
      await add(C, A);
      const gone = (await payloadKeys()).find((key) => key.includes(B)) as string;
      await client.unlink(gone);
      for (const repair of [false, true]) {
        const { findings, report } = await audit({ repair });
        expect(findings).toMatchObject([
          {
            kind: 'missing-payload',
            ...trace,
            segmentId: A,
            spanCount: 3,
            foundSpanCount: 2,
            outcome: repair ? 'left' : 'found',
          },
        ]);
        expect(report.isClean).toBe(false);
      }
      expect(await drain()).toBe(2);
    },
  );

  it('does not miss a payload that is in one of the two places it was written to', async () => {
    const { client, add, audit, payloadKeys, traceKey } = await open(topology, { layout: 'dual-read-colocated' });
    await add(A, A);
    expect(traceKey).toContain('ssr');
    await client.unlink((await payloadKeys())[0] as string);
    expect((await audit()).findings).toEqual([]);
  });

  it('reads a trace of many spans in pages, and finds what is wrong in it', async () => {
    const { client, store, trace, audit, drain, payloadKeys } = await open(topology);
    const policy = { ...POLICY, maxSegmentBytes: 1_000_000 };
    const idOf = (n: number) => n.toString(16).padStart(16, '0');
    for (let from = 1; from <= 6_000; from += 240) {
      const subsegments = Array.from({ length: 60 }, (_, i) => {
        const spans = [0, 1, 2, 3].map((k) => ({
          spanId: idOf(from + 4 * i + k),
          parentId: idOf(from + 4 * i),
          partition: 0,
          payload: Buffer.from('{}'),
        }));
        // Each is a segment of its own at first, and the next one's parent is among its spans.
        return { topId: idOf(Math.max(from + 4 * i - 1, 1)), hasRoot: from + 4 * i === 1, spans };
      });
      await store.add([{ ...trace, subsegments }], policy, { now: T0 });
    }
    expect(await client.hlen(formatTraceKey(trace))).toBeGreaterThan(4_096);
    const clean = await audit();
    expect(clean.findings).toEqual([]);
    expect(clean.report.shards).toMatchObject([{ heldSpanCount: 6_000, generationCount: 1 }]);
    const payloads = await payloadKeys();
    expect(clean.report.swept.payloads).toBe(payloads.length);
    const [gone] = payloads;
    await client.rename(gone as string, `${gone}x`);
    const { findings } = await audit({ repair: true });
    expect(findings.map(({ kind, outcome }) => `${kind} ${outcome}`).sort()).toEqual([
      'missing-payload left',
      'unreferenced-payload repaired',
    ]);
    expect(await drain()).toBe(5_996);
  });

  it('breaks nothing for consumers and flushers that go on, whatever they are in the middle of', async () => {
    const { client, sliceId, store, drain } = await open(topology, { leaseSeconds: 30 });
    const auditor = createAuditor(client, { sliceId, minAgeSeconds: 1 });
    const stop = new AbortController();
    let [added, completed] = [0, 0];
    const consumer = async () => {
      const traces = Array.from({ length: 40 }, aTrace);
      for (let n = 0; !stop.signal.aborted; n++) {
        const batch = traces.map((trace, i) => {
          const spanId = (n * 64 + i).toString(16).padStart(16, '0');
          return addition(trace, spanId, n % 5 === 0 ? A : spanId, { partition: i % 3, bytes: 200 });
        });
        await store.add(batch, POLICY, { now: T0 + n });
        added += batch.length;
      }
    };
    const flusher = async () => {
      for (let n = 0; !stop.signal.aborted; n++) {
        const claimed = await store.claim({ now: T0 + n, limit: 30, drain: n % 7 === 0 });
        const spans = await store.read(claimed);
        if (n % 4 === 0) {
          await store.release(claimed);
          continue;
        }
        await store.complete(claimed);
        completed += spans.flat().length;
      }
    };
    const work = [consumer(), flusher(), flusher()];
    const findings: AuditFinding[] = [];
    for (let i = 0; i < 3; i++)
      await auditor.audit({ repair: true, onFinding: (finding) => void findings.push(finding) });
    stop.abort();
    await Promise.all(work);
    completed += await drain();
    expect(completed).toBe(added);
    // It may have been quicker than a busy flusher that was ending its leases, but never took anything away.
    expect(findings.map(({ kind }) => kind).filter((kind) => kind.includes('payload'))).toEqual([]);
  });

  it('makes a shard known again that flushers have forgotten', async () => {
    const { client, sliceId, add, claim, findsAndRepairs, drain } = await open(topology);
    await add(A, A, { partition: 3 });
    await client.unlink(formatShardsKey({ sliceId }));
    expect(await claim()).toEqual([]);
    expect(await findsAndRepairs('unregistered-shard')).toMatchObject([{ shard: 3 }]);
    expect(await drain()).toBe(1);
  });

  it('ends a lease that a clock that jumped has made endless', async () => {
    const { client, add, claim, partKey, findsAndRepairs, drain } = await open(topology);
    await add(A, A);
    await add(A, A, {}, aTrace());
    await claim();
    const [entry] = await client.zrange(partKey('in-flight'), '0', '0');
    await client.zincrby(partKey('in-flight'), 10 * 365 * 86_400 * 1e6, entry as string);
    expect(await drain()).toBe(0);
    expect(await findsAndRepairs('endless-lease')).toHaveLength(1);
    // The other one is still leased.
    expect(await drain()).toBe(1);
  });

  it('gives a time to live to keys that have none', async () => {
    const { client, add, findsAndRepairs } = await open(topology);
    await add(A, A);
    const keys = await keysOf(client);
    expect(keys.length).toBeGreaterThan(3);
    for (const key of keys) await client.persist(key);
    const found = await findsAndRepairs('key-without-ttl');
    expect(found.map(({ key }) => key).sort()).toEqual(keys);
    for (const key of keys) expect(await client.ttl(key)).toBeGreaterThan(86_000);
  });

  it('takes out of the backstop what is in no queue', async () => {
    const { client, add, partKey, findsAndRepairs } = await open(topology);
    await add(A, A);
    const [entry] = await client.zrange(partKey('held'), '0', '-1');
    await client.zadd(partKey('held'), T0, (entry as string).replace(/\d+$/, '1'));
    expect(await findsAndRepairs('held-without-entry')).toMatchObject([{ key: partKey('held') }]);
    expect(await client.zrange(partKey('held'), '0', '-1')).toEqual([entry]);
  });

  it('puts back into the backstop what is queued', async () => {
    const { client, add, partKey, findsAndRepairs } = await open(topology);
    await add(A, A);
    const held = await client.zrange(partKey('held'), '0', '-1', 'WITHSCORES');
    await client.unlink(partKey('held'));
    expect(await findsAndRepairs('entry-without-held')).toHaveLength(1);
    expect(await client.zrange(partKey('held'), '0', '-1', 'WITHSCORES')).toEqual(held);
  });

  it('names keys that no format explains, and leaves them alone', async () => {
    const { client, add, audit } = await open(topology);
    await add(A, A);
    const unknown = [
      'span-buf:q:{01}:held',
      'span-buf:s:nonsense',
      'span-buf:ssr:{1:2}',
      'span-buf:ünknown',
      'span-buf:x',
    ];
    for (const key of unknown) await client.set(key, 'x', 'EX', 100);
    const wrong = formatTraceKey(aTrace());
    await client.rpush(wrong, 'x');
    await client.expire(wrong, 100);
    await client.set('span-buf:cli:0123456789ab:span-buf:shards', 'x', 'EX', 100);
    await client.set('other', 'x');
    const before = await contentsOf(client);
    const { findings, report } = await audit({ repair: true });
    const latin1 = (key: string) => Buffer.from(key).toString('latin1');
    expect(findings.map(({ kind, key, outcome }) => `${kind} ${key} ${outcome}`).sort()).toEqual(
      [...unknown, wrong].map((key) => `unknown-key ${latin1(key)} left`).sort(),
    );
    expect(report.isClean).toBe(false);
    expect(await contentsOf(client)).toEqual(before);
  });
});

describe.each(TOPOLOGIES)('the books, on %s', (topology) => {
  async function withBooks() {
    const buffer = await open(topology);
    const ledger = createLedger(buffer.client, { sliceId: buffer.sliceId });
    await ledger.open([
      { partition: 0, source: SOURCE, offset: 0n },
      { partition: 1, source: SOURCE, offset: 0n },
    ]);
    return { ...buffer, ledger };
  }
  const numbersOf = ({ books }: AuditReport) =>
    books.map(
      ({ partition, takenOffset, openCount, heldCount, parkedCount, missingCount, movingCount, isBalanced }) => ({
        partition,
        takenOffset,
        openCount,
        heldCount,
        parkedCount,
        missingCount,
        movingCount,
        isBalanced,
      }),
    );

  it('balance, with what is held and parked', async () => {
    const buffer = await withBooks();
    await fill(buffer);
    await buffer.ledger.take([
      { partition: 0, source: SOURCE, offset: 5n },
      { partition: 1, source: SOURCE, offset: 2n },
    ]);
    const { report } = await buffer.audit();
    const none = { missingCount: 0, movingCount: 0, isBalanced: true };
    expect(numbersOf(report)).toEqual([
      { partition: 0, takenOffset: 5n, openCount: 5, heldCount: 4, parkedCount: 1, ...none },
      { partition: 1, takenOffset: 2n, openCount: 2, heldCount: 2, parkedCount: 0, ...none },
    ]);
    expect(report.isClean).toBe(true);
  });

  it('say which offsets nothing holds, and have them written off on request alone', async () => {
    const { client, ledger, add, audit, trace, traceKey, payloadKeys, drain, findsAndRepairs } = await withBooks();
    for (let offset = 0n; offset < 6n; offset++) await add(A, A, { offset }, offset === 3n ? trace : aTrace());
    await ledger.take([{ partition: 0, source: SOURCE, offset: 10n }]);
    await ledger.settle([{ partition: 0, source: SOURCE, fromOffset: 8n, toOffset: 9n, fate: 'invalid' }]);
    await client.unlink(traceKey);
    await client.unlink(...(await payloadKeys()).filter((key) => key.includes(trace.traceId)));
    await audit({ repair: true });
    const [missing] = await findsAndRepairs('unaccounted-offsets', { writeOff: true });
    expect(missing).toMatchObject({
      shard: 0,
      source: SOURCE,
      spanCount: 4,
      offsets: [
        { from: 3n, to: 4n },
        { from: 6n, to: 8n },
        { from: 9n, to: 10n },
      ],
    });
    const [books] = await ledger.read([0]);
    expect(Object.fromEntries(books?.counts ?? [])).toEqual({ invalid: 1, lost: 4 });
    expect(books).toMatchObject({ openCount: 5, againCount: 0 });
    expect(await drain()).toBe(5);
  });

  it('keep a payload that nothing refers to until all of its spans have come to an end', async () => {
    const { client, ledger, add, audit, payloadKeys, traceKey } = await withBooks();
    await add(A, A, { offset: 3n });
    await ledger.take([{ partition: 0, source: SOURCE, offset: 4n }]);
    await ledger.settle([{ partition: 0, source: SOURCE, fromOffset: 0n, toOffset: 3n, fate: 'absent' }]);
    await client.unlink(traceKey);
    const outcomeOf = async (call: AuditCall) => {
      const { findings } = await audit(call);
      return findings.filter(({ kind }) => kind === 'unreferenced-payload').map(({ outcome }) => outcome);
    };
    expect(await outcomeOf({ repair: true })).toEqual(['left']);
    expect(await payloadKeys()).toHaveLength(1);
    await audit({ writeOff: true });
    expect(await outcomeOf({ repair: true })).toEqual(['repaired']);
    expect(await payloadKeys()).toEqual([]);
  });

  it('leave out what is read while the audit looks', async () => {
    const { ledger, add, audit, sliceId, client } = await withBooks();
    expect(sliceId).toBeGreaterThan(0);
    await add(A, A, { offset: 0n });
    await ledger.take([{ partition: 0, source: SOURCE, offset: 1n }]);
    let isTaken = false;
    const auditor = createAuditor(client, { sliceId, minAgeSeconds: 0 });
    // Something to find, so that there is a moment in the middle of the audit.
    await client.set('span-buf:x', 'x', 'EX', 100);
    const report = await auditor.audit({
      onFinding: () => {
        isTaken = true;
        void ledger.take([{ partition: 0, source: SOURCE, offset: 50n }]);
      },
    });
    expect(isTaken).toBe(true);
    expect(report.books[0]).toMatchObject({ missingCount: 0, heldCount: 1 });
    expect((await audit()).report.books[0]).toMatchObject({ missingCount: 49, isBalanced: false });
  });
});
