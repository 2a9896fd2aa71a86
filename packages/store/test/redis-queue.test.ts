import { formatQueueKey, formatShardsKey } from '@spanbuf/keys';
import { openCommandGate } from '@spanbuf/tooling/command-gate';
import { connect } from '@spanbuf/tooling/redis-clients';
import { Redis } from 'ioredis';
import { describe, expect, inject, it } from 'vitest';
import type { SealedGeneration, SegmentStore, TraceAddition } from '../src/index.ts';
import { dueIn, heldIn, type QueuedEntry } from './queues.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

/** Queues that are not as the traces say: after a crash, a lost reply, or two writers whose updates crossed. */

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000 };
const T0 = 1_700_000_000;
const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];

const client = (await connect('one node')) as Redis;

function addition(
  trace: { projectId: string; traceId: string },
  spanId: string,
  parentId: string,
  payload = '{}',
): TraceAddition {
  const span = { spanId, parentId, partition: 0, payload: Buffer.from(payload) };
  return { ...trace, subsegments: [{ topId: parentId, hasRoot: spanId === parentId, spans: [span] }] };
}

function open() {
  const sliceId = aSlice();
  const store = openStore(client, { sliceId });
  const queue = { shard: 0, sliceId };
  return {
    store,
    sliceId,
    add: (...additions: TraceAddition[]) => store.add(additions, POLICY, { now: T0 }),
    claim: (now: number) => claimAll(store, now),
    due: () => dueIn(client, queue),
    held: () => heldIn(client, queue),
    inFlight: formatQueueKey({ ...queue, part: 'in-flight' }),
  };
}

function claimAll(store: SegmentStore, now: number) {
  return store.claim({ now, limit: 100 });
}

describe('an entry', () => {
  it('that is queued again while a flusher has it goes to nobody else', async () => {
    const { add, claim, due } = open();
    await add(addition(aTrace(), A, A, `{"pad":"${'x'.repeat(1_000)}"}`));
    const [queued] = (await due()) as [QueuedEntry];
    expect(await claim(T0)).toHaveLength(1);
    await client.zadd(queued.key, `${T0}`, queued.entry);
    expect(await claim(T0 + 1_000)).toEqual([]);
    expect(await due()).toEqual([]);
  });

  it('whose time in the queue is too early is given back with its real one', async () => {
    const { add, claim, due } = open();
    await add(addition(aTrace(), B, A));
    const [queued] = (await due()) as [QueuedEntry];
    await client.zadd(queued.key, `${T0}`, queued.entry);
    expect(await claim(T0 + 59)).toEqual([]);
    expect(await due()).toEqual([{ ...queued, seconds: T0 + 60 }]);
    expect(await claim(T0 + 60)).toHaveLength(1);
  });

  it('whose segment went into another one leads to that one', async () => {
    const { add, claim, due } = open();
    const trace = aTrace();
    await add(addition(trace, C, B));
    await add(addition(trace, 'd'.repeat(16), A), addition(trace, 'e'.repeat(16), A));
    const before = await due();
    expect(before).toHaveLength(2);
    await add(addition(trace, B, A));
    const [left] = (await due()) as [QueuedEntry];
    const stale = before.find(({ entry }) => entry !== left.entry) as QueuedEntry;
    // As if the process had died before it could queue the one and take out the other.
    await client.zrem(left.key, left.entry);
    await client.zadd(stale.key, `${T0}`, stale.entry);
    expect((await claim(T0 + 60)).map(({ segmentId, spanCount }) => [segmentId, spanCount])).toEqual([[A, 4]]);
  });

  it('that stands for nothing is taken out', async () => {
    const { add, claim, due, inFlight, store } = open();
    await add(addition(aTrace(), A, A));
    const [queued] = (await due()) as [QueuedEntry];
    await store.complete(await claim(T0 + 10));
    await client.zadd(queued.key, `${T0}`, queued.entry);
    expect(await store.claim({ now: T0 + 1_000, limit: 100, shards: [0] })).toEqual([]);
    expect(await due()).toEqual([]);
    expect(await client.exists(inFlight)).toBe(0);
  });

  it('that is given back unasked keeps its place before those that were due later', async () => {
    const { store, add, claim, due } = open();
    const trace = aTrace();
    const ids = ['1', '2', '3', '4'].map((digit) => digit.repeat(16));
    for (const [i, spanId] of ids.entries())
      await store.add([addition(trace, spanId, spanId, `{"pad":"${'x'.repeat(100)}"}`)], POLICY, { now: T0 + i });
    const before = await due();
    const query = { now: T0 + 1_000, limit: 100, maxBytes: 10 };
    expect(await store.claim(query)).toMatchObject([{ segmentId: ids[0] }]);
    expect(await due()).toEqual(before.slice(1));
    expect(await store.claim(query)).toMatchObject([{ segmentId: ids[1] }]);
    await add(addition(aTrace(), A, A));
    expect((await claim(T0 + 1_000)).map(({ segmentId }) => segmentId).sort()).toEqual([...ids.slice(2), A]);
  });
});

describe('a project', () => {
  it('finds its lane whatever it is called', async () => {
    const { add, claim, due, inFlight, store } = open();
    const names = [
      '7',
      '0',
      '9'.repeat(64),
      'nan',
      '-nan',
      'inf',
      '-inf',
      'Infinity',
      '0x1f',
      '1e400',
      '1e-5',
      '-1',
      '_',
    ];
    const projects = [...names, ...Array.from({ length: 200 }, (_, i) => `${4_505_281_256_947_712 + 65_536 * i}`)];
    await add(...projects.map((projectId) => addition({ ...aTrace(), projectId }, A, A)));
    const lanes = new Map<string, number>();
    for (const { key } of await due()) lanes.set(key, (lanes.get(key) ?? 0) + 1);
    expect(lanes.size).toBe(16);
    expect(Math.max(...lanes.values())).toBeLessThan(25);
    const [first, ...others] = await store.claim({ now: T0 + 10, limit: 1_000 });
    await store.release([first as SealedGeneration]);
    const claimed = [...others, ...(await claim(T0 + 10))];
    expect(claimed.map(({ projectId }) => projectId).sort()).toEqual(projects.sort());
    await store.complete(claimed);
    expect(await due()).toEqual([]);
    expect(await client.exists(inFlight)).toBe(0);
  });
});

describe('a shard that was forgotten while its writer died', () => {
  it('is found again once something in it was sealed, since no replay schedules that again', async () => {
    const { store, sliceId, add } = open();
    await add(addition(aTrace(), A, A));
    await client.hdel(formatShardsKey({ sliceId }), '0');
    const sealed = await store.claim({ now: T0 + 10, limit: 100, shards: [0] });
    expect(sealed).toMatchObject([{ segmentId: A }]);
    await store.release(sealed);
    expect(await claimAll(store, T0 + 10)).toMatchObject([{ segmentId: A }]);
  });
});

describe('a span that arrives while its segment is being completed', () => {
  it('is not taken out of the queue with it, even when its trace began anew', async () => {
    const sliceId = aSlice();
    const trace = aTrace();
    const options = { sliceId, dedupeWindowSeconds: 0 };
    const direct = openStore(client, options);
    const late = { pending: true };
    const gate = await openCommandGate(
      { port: Number(new URL(inject('redisUrl')).port) },
      {
        onCommand: async ({ name, args }) => {
          // Of all that complete sends, settle alone has more than one key.
          if (name === 'EVALSHA' && String(args[1]) !== '1' && late.pending) {
            late.pending = false;
            await direct.add([addition(trace, A, A)], POLICY, { now: T0 + 1 });
          }
          return 'pass' as const;
        },
      },
    );
    const throughGate = new Redis(gate.port);
    await direct.add([addition(trace, A, A)], POLICY, { now: T0 });
    await openStore(throughGate, options).complete(await claimAll(direct, T0 + 10));
    throughGate.disconnect();
    await gate.close();
    expect(late.pending).toBe(false);
    expect(await claimAll(direct, T0 + 11)).toMatchObject([{ segmentId: A, generation: 1, spanCount: 1 }]);
  });
});

describe('a segment that has waited long by the wall clock', () => {
  it('keeps the time at which it is taken when it goes into another one', async () => {
    const { store, claim, held } = open();
    const trace = aTrace();
    const old = { ...POLICY, maxAgeSeconds: 100 };
    await store.add([addition(trace, C, B)], old, { now: T0 });
    const [first] = await held();
    await store.add([addition(trace, 'd'.repeat(16), A), addition(trace, 'e'.repeat(16), A)], POLICY, { now: T0 });
    await store.add([addition(trace, B, A)], POLICY, { now: T0 });
    const [united, ...others] = await held();
    expect(others).toEqual([]);
    expect(united?.seconds).toBe(first?.seconds);
    expect(await claim(T0 + 60)).toHaveLength(1);
  });
});

describe('segments that have waited long by the wall clock, while message time stands still', () => {
  const policy = { ...POLICY, maxAgeSeconds: 0.1 };

  it('do not keep those of another project waiting', async () => {
    const { store } = open();
    const much = Array.from({ length: 400 }, () => addition({ ...aTrace(), projectId: '4505281256947712' }, B, A));
    // Early in a second of Redis: they are held by whole seconds, and all are to be until the same one.
    await expect.poll(async () => Number((await client.time())[1]), { interval: 20 }).toBeLessThan(200_000);
    await store.add([...much, addition({ ...aTrace(), projectId: '7' }, B, A)], policy, { now: T0 });
    const projects: string[] = [];
    const claimSome = async () => {
      const claimed = await store.claim({ now: 0, limit: 20 });
      projects.push(...claimed.map(({ projectId }) => projectId));
      return claimed.length;
    };
    await expect.poll(claimSome).toBe(20);
    while ((await claimSome()) > 0);
    expect(projects).toHaveLength(401);
    // All of the 400 are looked at before it is, since they have waited longer, but few are taken.
    expect(projects.indexOf('7')).toBeGreaterThanOrEqual(0);
    expect(projects.indexOf('7')).toBeLessThan(400 - 20);
  });

  it('are taken by the next one, when a flusher dies before it can seal what it has leased', async () => {
    const { store, sliceId, claim, due } = open();
    await store.add([addition(aTrace(), B, A)], policy, { now: T0 });
    const gate = await openCommandGate(
      { port: Number(new URL(inject('redisUrl')).port) },
      {
        afterCommand: async ({ name }) => {
          // Once claim has found it.
          if (name === 'EVALSHA' && (await due()).length === 0) gate.cut();
        },
        refuseAfterCut: true,
      },
    );
    const throughGate = new Redis(gate.port, { retryStrategy: () => null });
    throughGate.on('error', () => undefined);
    const dying = openStore(throughGate, { sliceId, leaseSeconds: 0.1, deadlineSeconds: 0.5 });
    await expect
      .poll(() => dying.claim({ now: 0, limit: 1, shards: [0] }).catch(() => 'dead'), { timeout: 10_000 })
      .toBe('dead');
    throughGate.disconnect();
    await gate.close();
    // Its lease has to end first, and then it looks as if it were not due.
    await expect.poll(() => claim(0), { timeout: 20_000 }).toMatchObject([{ reason: 'max-age' }]);
  });
});

describe('a claim', () => {
  it('leaves half of itself to what is due when many leases have run out, and all where nothing is', async () => {
    const { store, add, claim, inFlight } = open();
    const projects = (count: number, projectId: string) =>
      Array.from({ length: count }, () => addition({ ...aTrace(), projectId }, A, A));
    await add(...projects(60, '1'));
    expect(await claim(T0 + 10)).toHaveLength(60);
    for (const entry of await client.zrange(inFlight, '0', '-1')) await client.zadd(inFlight, 'XX', '1', entry);
    await add(...projects(10, '2'));
    const first = await store.claim({ now: T0 + 10, limit: 20 });
    expect(first.map(({ projectId }) => projectId).sort()).toEqual([...Array(10).fill('1'), ...Array(10).fill('2')]);
    expect(await store.claim({ now: T0 + 10, limit: 20 })).toHaveLength(20);
    expect(await claim(T0 + 10)).toHaveLength(30);
  });

  it('for given shards takes three round trips, one command a shard, one for all of them and one a generation; the first alone where nothing is due', async () => {
    const { add, sliceId } = open();
    await add(addition(aTrace(), A, A), addition(aTrace(), A, A));
    const names: string[] = [];
    const port = Number(new URL(inject('redisUrl')).port);
    const gate = await openCommandGate({ port }, { afterCommand: ({ name }) => void names.push(name) });
    const throughGate = new Redis(gate.port);
    const store = openStore(throughGate, { sliceId });
    expect(await store.claim({ now: T0 + 10, limit: 50, shards: [0, 1, 2], maxBytes: 1_000_000 })).toHaveLength(2);
    expect(await store.claim({ now: T0 + 10, limit: 1, shards: [0] })).toEqual([]);
    throughGate.disconnect();
    await gate.close();
    expect(names).toEqual(Array.from({ length: 3 + 1 + 2 + 1 }, () => 'EVALSHA'));
  });
});

describe('a shard', () => {
  it('that gets an entry while it is being forgotten stays known', async () => {
    const { add, sliceId, claim } = open();
    let additions = 0;
    const gate = await openCommandGate(
      { port: Number(new URL(inject('redisUrl')).port) },
      {
        onCommand: async ({ name, args }) => {
          // forget-shards has a shard where register-shards has a TTL.
          const forgets =
            name === 'EVALSHA' && String(args[2]) === `span-buf:shards:${sliceId}` && String(args[3]) === '0';
          if (forgets && additions++ === 0) await add(addition(aTrace(), B, B));
          return 'pass' as const;
        },
      },
    );
    const throughGate = new Redis(gate.port);
    await add(addition(aTrace(), A, A));
    const store = openStore(throughGate, { sliceId });
    await store.complete(await claimAll(store, T0 + 10));
    throughGate.disconnect();
    await gate.close();
    expect(additions).toBe(1);
    expect((await claim(T0 + 10)).map(({ segmentId }) => segmentId)).toEqual([B]);
  });
});
