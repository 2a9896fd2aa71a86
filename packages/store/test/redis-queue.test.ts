import { formatQueueKey } from '@spanbuf/keys';
import { openCommandGate } from '@spanbuf/tooling/command-gate';
import { connect } from '@spanbuf/tooling/redis-clients';
import { Redis } from 'ioredis';
import { describe, expect, inject, it } from 'vitest';
import type { SegmentStore, TraceAddition } from '../src/index.ts';
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
    due: formatQueueKey(queue),
    inFlight: formatQueueKey({ ...queue, part: 'in-flight' }),
  };
}

function claimAll(store: SegmentStore, now: number) {
  return store.claim({ now, limit: 100 });
}

describe('an entry', () => {
  it('that is queued again while a flusher has it goes to nobody else', async () => {
    const { add, claim, due, inFlight } = open();
    await add(addition(aTrace(), A, A, `{"pad":"${'x'.repeat(1_000)}"}`));
    expect(await claim(T0)).toHaveLength(1);
    const [entry] = await client.zrange(inFlight, '0', '-1');
    await client.zadd(due, `${T0}`, entry as string);
    expect(await claim(T0 + 1_000)).toEqual([]);
    expect(await client.zcard(due)).toBe(0);
  });

  it('whose time in the queue is too early is given back with its real one', async () => {
    const { add, claim, due } = open();
    await add(addition(aTrace(), B, A));
    const [entry] = await client.zrange(due, '0', '-1');
    await client.zadd(due, `${T0}`, entry as string);
    expect(await claim(T0 + 59)).toEqual([]);
    expect(await client.zscore(due, entry as string)).toBe(`${T0 + 60}`);
    expect(await claim(T0 + 60)).toHaveLength(1);
  });

  it('whose segment went into another one leads to that one', async () => {
    const { add, claim, due } = open();
    const trace = aTrace();
    await add(addition(trace, C, B));
    await add(addition(trace, 'd'.repeat(16), A), addition(trace, 'e'.repeat(16), A));
    const before = await client.zrange(due, '0', '-1');
    expect(before).toHaveLength(2);
    await add(addition(trace, B, A));
    const [left] = await client.zrange(due, '0', '-1');
    const stale = before.find((entry) => entry !== left) as string;
    // As if the process had died before it could queue the one and take out the other.
    await client.zrem(due, left as string);
    await client.zadd(due, `${T0}`, stale);
    expect((await claim(T0 + 60)).map(({ segmentId, spanCount }) => [segmentId, spanCount])).toEqual([[A, 4]]);
  });

  it('that stands for nothing is taken out', async () => {
    const { add, claim, due, inFlight, store } = open();
    await add(addition(aTrace(), A, A));
    const [entry] = await client.zrange(due, '0', '-1');
    await store.complete(await claim(T0 + 10));
    await client.zadd(due, `${T0}`, entry as string);
    expect(await store.claim({ now: T0 + 1_000, limit: 100, shards: [0] })).toEqual([]);
    expect(await client.exists(due, inFlight)).toBe(0);
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
          // Of all that complete sends, settle alone has four keys.
          if (name === 'EVALSHA' && String(args[1]) === '4' && late.pending) {
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
    const { store, claim, sliceId } = open();
    const held = formatQueueKey({ shard: 0, sliceId, part: 'held' });
    const trace = aTrace();
    const old = { ...POLICY, maxAgeSeconds: 100 };
    await store.add([addition(trace, C, B)], old, { now: T0 });
    const [, until] = await client.zrange(held, '0', '-1', 'WITHSCORES');
    await store.add([addition(trace, 'd'.repeat(16), A), addition(trace, 'e'.repeat(16), A)], POLICY, { now: T0 });
    await store.add([addition(trace, B, A)], POLICY, { now: T0 });
    const [, united, ...others] = await client.zrange(held, '0', '-1', 'WITHSCORES');
    expect(others).toEqual([]);
    expect(united).toBe(until);
    expect(await claim(T0 + 60)).toHaveLength(1);
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
