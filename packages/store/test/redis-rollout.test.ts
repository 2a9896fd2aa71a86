import { formatProcessesKey, formatQueueKey, formatTraceKey } from '@spanbuf/keys';
import { connect, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import {
  createBufferControl,
  createRollout,
  LAYOUTS,
  type LayoutCheck,
  type LayoutName,
  type ProcessFacts,
  type TraceAddition,
} from '../src/index.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

const T0 = 1_700_000_000;
const A = 'a'.repeat(16);
const PRESENCE_SECONDS = 1_000;
const MAX_AGE_SECONDS = 600;
const POLICY = {
  rootTimeoutSeconds: 10,
  timeoutSeconds: 60,
  maxAgeSeconds: MAX_AGE_SECONDS,
  maxSegmentBytes: 1_000_000,
};
const DAY_SECONDS = 86_400;

/** A whole segment of some spans, a payload each. */
function additions(payloads = 1, partition = 0): TraceAddition[] {
  const trace = aTrace();
  return Array.from({ length: payloads }, (_, i) => {
    const spanId = i === 0 ? A : i.toString(16).padStart(16, '0');
    const span = { spanId, parentId: A, partition, payload: Buffer.from('{}') };
    return { ...trace, subsegments: [{ topId: A, hasRoot: i === 0, spans: [span] }] };
  });
}

describe.each(TOPOLOGIES)('Rollout on %s', async (topology) => {
  const client = (await connect(topology)) as Redis;
  let processes = 0;
  const open = () => {
    const sliceId = aSlice();
    const control = createBufferControl(client, { sliceId });
    const announce = async (facts: Omit<ProcessFacts, 'id' | 'version'> & { version?: string }, id?: string) => {
      processes += 1;
      const process = { id: id ?? `${facts.app}-${processes}`, version: '1.0.0', ...facts };
      await control.announceProcess(process, PRESENCE_SECONDS);
      return process.id;
    };
    return {
      sliceId,
      control,
      rollout: createRollout(client, { sliceId }),
      consumer: (layout: LayoutName, shards: readonly number[] = [0], version = '1.0.0') =>
        announce({ app: 'consumer', layout, version, writes: { maxAgeSeconds: MAX_AGE_SECONDS, shards } }),
      flusher: (layout: LayoutName, version = '1.0.0') =>
        announce({ app: 'flusher', layout, version, reads: { leaseSeconds: 60 } }),
      store: (layout: LayoutName) => openStore(client, { sliceId, layout }),
      /** As if what was announced so far had been said long before the first span that is held was read. */
      letTimePass: async () => {
        const key = formatProcessesKey({ sliceId });
        for (const [field, value] of Object.entries(await client.hgetall(key))) {
          const earlier = (text: string) => `${Number(text) - DAY_SECONDS}`;
          if (field === 'b' || field === 'u') await client.hset(key, field, earlier(value));
          if (field.startsWith('w')) await client.hset(key, field, value.split(' ').map(earlier).join(' '));
        }
      },
    };
  };
  const kinds = ({ obstacles }: LayoutCheck) => obstacles.map(({ kind }) => kind).sort();

  it('says who runs in which layout, as they have announced it', async () => {
    const { control, rollout, consumer, flusher, sliceId } = open();
    const ids = [await consumer('colocated', [0, 1, 2, 7]), await flusher('dual-read-colocated')];
    const before = await rollout.readStatus();
    expect(before.processes).toEqual([
      {
        id: ids[0],
        app: 'consumer',
        version: '1.0.0',
        layout: 'colocated',
        sinceSeconds: expect.closeTo(before.redisSeconds, -2),
        isWriter: true,
        isReader: false,
      },
      expect.objectContaining({ id: ids[1], layout: 'dual-read-colocated', isWriter: false, isReader: true }),
    ]);
    expect(before.written).toEqual([{ layout: 'colocated', lastSeconds: expect.closeTo(before.redisSeconds, -2) }]);
    await control.withdrawProcess(ids[0] as string);
    expect((await rollout.readStatus()).processes).toMatchObject([{ id: ids[1] }]);
    // What it wrote is not forgotten with it.
    expect((await rollout.readStatus()).written).toMatchObject([{ layout: 'colocated' }]);
    expect(await client.ttl(formatProcessesKey({ sliceId }))).toBeGreaterThan(DAY_SECONDS - 100);
  });

  it('keeps since when a process runs, and forgets those that are silent when another one begins', async () => {
    const { control, rollout, consumer, sliceId } = open();
    const facts = { id: 'brief', app: 'consumer', version: '1', layout: 'distributed' } as const;
    await control.announceProcess(facts, 0.05);
    const id = await consumer('distributed');
    const since = async () => (await rollout.readStatus()).processes.find((process) => process.id === id)?.sinceSeconds;
    const first = await since();
    await expect.poll(async () => (await rollout.readStatus()).processes.map((process) => process.id)).toEqual([id]);
    await control.announceProcess(
      { id, app: 'consumer', version: '1.0.0', layout: 'distributed', writes: { maxAgeSeconds: 1, shards: [] } },
      PRESENCE_SECONDS,
    );
    expect(await since()).toBe(first);
    await consumer('distributed');
    expect(await client.hexists(formatProcessesKey({ sliceId }), 'pbrief')).toBe(0);
  });

  it('counts held segments by where their payloads lie', async () => {
    const { rollout, store } = open();
    for (const layout of LAYOUTS) await store(layout).add(additions(3), POLICY, { now: T0 });
    const [first, second] = additions(2) as [TraceAddition, TraceAddition];
    await store('colocated').add([first], POLICY, { now: T0 });
    await store('distributed').add([second], POLICY, { now: T0 });
    expect((await rollout.readStatus()).held).toEqual({
      segmentCount: 5,
      parkedCount: 0,
      lookedAtCount: 5,
      colocated: 1,
      both: 2,
      distributed: 1,
      mixed: 1,
      cut: 0,
    });
    expect((await rollout.readStatus({ sample: 2 })).held).toMatchObject({ segmentCount: 5, lookedAtCount: 2 });
    expect((await rollout.readStatus({ sample: 0 })).held).toMatchObject({ segmentCount: 5, lookedAtCount: 0 });
  });

  it('looks at sealed and parked segments, through links, and changes none', async () => {
    const { rollout, store } = open();
    const colocated = store('colocated');
    const trace = aTrace();
    const [b, c, d] = ['b', 'c', 'd'].map((digit) => digit.repeat(16)) as [string, string, string];
    const under = (topId: string, spanId: string) => {
      const span = { spanId, parentId: topId, partition: 0, payload: Buffer.from('{}') };
      return [{ ...trace, subsegments: [{ topId, hasRoot: false, spans: [span] }] }];
    };
    // Two segments that turn out to be one: the list of the one that is colocated is linked to that of the other.
    await colocated.add(under(c, d), POLICY, { now: T0 });
    await store('distributed').add(under(A, b), POLICY, { now: T0 });
    await store('distributed').add(under(A, c), POLICY, { now: T0 });
    await colocated.add(additions(), POLICY, { now: T0 });
    const claimed = await colocated.claim({ now: T0 + 10, limit: 10 });
    await colocated.park(claimed.map((generation) => ({ generation, reason: 'refused' })));
    const key = formatTraceKey(trace);
    const dump = await client.hgetall(key);
    expect((await rollout.readStatus()).held).toMatchObject({
      segmentCount: 2,
      parkedCount: 1,
      lookedAtCount: 2,
      colocated: 1,
      mixed: 1,
    });
    expect(await client.hgetall(key)).toEqual(dump);
  });

  it('says of how many it has seen the beginning alone', async () => {
    const { rollout, store } = open();
    const distributed = store('distributed');
    const many = additions(2_400);
    for (let at = 0; at < many.length; at += 200) await distributed.add(many.slice(at, at + 200), POLICY, { now: T0 });
    expect((await rollout.readStatus()).held).toMatchObject({ lookedAtCount: 1, distributed: 1, cut: 1 });
  });

  describe('check', () => {
    it('leads from the first layout to the last one, a step at a time, and waits for what is held', async () => {
      const { control, rollout, consumer, flusher, store, letTimePass, sliceId } = open();
      let running: string[] = [];
      const moveTo = async (layout: LayoutName) => {
        for (const id of running) await control.withdrawProcess(id);
        running = [await consumer(layout), await flusher(layout)];
      };
      const add = async (layout: LayoutName) => store(layout).add(additions(), POLICY, { now: T0 });
      const flushAll = async () => {
        const any = store('distributed');
        await any.complete(await any.claim({ now: T0 + 1_000, limit: 100 }));
      };
      const verdicts = async () =>
        Object.fromEntries(
          await Promise.all(LAYOUTS.map(async (layout) => [layout, (await rollout.check(layout)).isSafe] as const)),
        );
      await moveTo('colocated');
      await add('colocated');
      expect(await verdicts()).toEqual({
        colocated: true,
        'dual-read-colocated': true,
        'dual-read-distributed': false,
        distributed: false,
      });

      await moveTo('dual-read-colocated');
      await add('dual-read-colocated');
      // Flushers that read the distributed place first would not find there what was written to the other one alone.
      const early = await rollout.check('dual-read-distributed');
      expect(early.obstacles).toMatchObject([{ kind: 'unread-held', untilSeconds: expect.any(Number) }]);
      expect(early.obstacles[0]?.detail).toMatch(/^1 held segment with/);
      const heldKey = formatQueueKey({ shard: 0, sliceId, part: 'held' });
      const [entry = ''] = await client.zrange(heldKey, '0', '0');
      expect(early.obstacles[0]?.untilSeconds).toBe(Number(await client.zscore(heldKey, entry)));
      await flushAll();
      await add('dual-read-colocated');
      expect(await verdicts()).toEqual({
        colocated: true,
        'dual-read-colocated': true,
        'dual-read-distributed': true,
        distributed: false,
      });

      await moveTo('dual-read-distributed');
      expect(await verdicts()).toEqual({
        colocated: false,
        'dual-read-colocated': true,
        'dual-read-distributed': true,
        distributed: true,
      });

      await moveTo('distributed');
      await add('distributed');
      await letTimePass();
      expect(await verdicts()).toEqual({
        colocated: false,
        'dual-read-colocated': false,
        'dual-read-distributed': true,
        distributed: true,
      });
    });

    it.each([
      // A consumer that was left behind writes where the flushers to come do not look first.
      ['consumer', 'colocated', 'dual-read-colocated', 'dual-read-distributed'],
      // A flusher that was left behind looks first where the consumers to come do not write.
      ['flusher', 'dual-read-colocated', 'dual-read-distributed', 'distributed'],
    ] as const)(
      'refuses while a %s is left in %s, and allows it once it has come to %s',
      async (app, old, now, next) => {
        const { control, rollout, letTimePass, ...start } = open();
        await start.consumer(now);
        await start.flusher(now);
        const late = await start[app](old);
        await letTimePass();
        const refused = await rollout.check(next);
        expect(kinds(refused)).toEqual(['unread-writes']);
        expect(refused.obstacles[0]).toMatchObject({ detail: expect.stringContaining(late) });
        expect(refused.obstacles[0]?.remedy).toContain(now);
        await control.withdrawProcess(late);
        await start[app](now);
        expect(await rollout.check(next)).toMatchObject({ isSafe: true, obstacles: [], isEntered: false });
      },
    );

    it.each(['flusher', 'consumer'] as const)(
      'refuses while no %s runs, as it may start in any layout',
      async (absent) => {
        const { rollout, consumer, flusher } = open();
        await (absent === 'flusher' ? consumer('dual-read-colocated') : flusher('dual-read-colocated'));
        const { obstacles } = await rollout.check('distributed');
        expect(obstacles.map(({ kind }) => kind)).toContain('no-process');
        // What runs would read, or write, the colocated place, whichever of the two it is.
        expect(obstacles.map(({ kind }) => kind)).toContain('unread-writes');
      },
    );

    it('looks only at what may be older than the layouts that run', async () => {
      const { control, rollout, consumer, flusher, store, letTimePass } = open();
      const old = await consumer('colocated');
      await store('colocated').add(additions(), POLICY, { now: T0 });
      await control.withdrawProcess(old);
      await consumer('dual-read-colocated');
      await flusher('dual-read-colocated');
      expect(kinds(await rollout.check('dual-read-distributed', { sample: 0 }))).toEqual(['unread-held']);
      // Nobody who has announced himself can have written this since.
      await letTimePass();
      expect(kinds(await rollout.check('dual-read-distributed', { sample: 0 }))).toEqual([]);
      expect(kinds(await rollout.check('dual-read-distributed'))).toEqual(['silent-process']);
    });

    it('takes what was held before anybody announced anything for what may be of any layout', async () => {
      const { rollout, consumer, flusher, store } = open();
      await store('colocated').add(additions(), POLICY, { now: T0 });
      await consumer('dual-read-colocated');
      await flusher('dual-read-colocated');
      expect(kinds(await rollout.check('dual-read-distributed', { sample: 0 }))).toEqual(['unread-held']);
    });

    it('looks at parked segments, however old', async () => {
      const { rollout, consumer, flusher, store, letTimePass } = open();
      const colocated = store('colocated');
      await colocated.add(additions(), POLICY, { now: T0 });
      const claimed = await colocated.claim({ now: T0 + 10, limit: 10 });
      await colocated.park(claimed.map((generation) => ({ generation, reason: 'refused' })));
      await consumer('dual-read-colocated');
      await flusher('dual-read-colocated');
      await letTimePass();
      const { obstacles } = await rollout.check('dual-read-distributed', { sample: 0 });
      expect(obstacles).toMatchObject([{ kind: 'unread-held', remedy: expect.stringContaining('spanbuf parked') }]);
      await colocated.deleteParked(await colocated.listParked({ limit: 10 }));
      expect((await rollout.check('dual-read-distributed', { sample: 0 })).isSafe).toBe(true);
    });

    it('says so where there is too much to look at', async () => {
      const { rollout, consumer, flusher, store } = open();
      const both = store('dual-read-colocated');
      for (let i = 0; i < 5; i++) {
        const some = Array.from({ length: 500 }, () => additions()).flat();
        await both.add(some, POLICY, { now: T0 });
      }
      await consumer('dual-read-colocated');
      await flusher('dual-read-colocated');
      expect(kinds(await rollout.check('dual-read-distributed', { sample: 0 }))).toEqual(['unproven-held']);
    });

    it('refuses where there is somebody who does not say in which layout', async () => {
      const { control, rollout, consumer, flusher } = open();
      await consumer('dual-read-colocated', [0, 1]);
      await flusher('dual-read-colocated');
      await control.announceFlusher('older', PRESENCE_SECONDS);
      await control.markClocks(new Map([0, 1, 2].map((shard) => [shard, { messageSeconds: T0, behindSeconds: 0 }])));
      const { obstacles } = await rollout.check('dual-read-colocated');
      expect(obstacles.map(({ kind }) => kind)).toEqual(['silent-process', 'silent-process']);
      expect(obstacles[0]?.detail).toContain('older');
      expect(obstacles[1]?.detail).toMatch(/shards 2$/);
    });

    it('refuses while a shard waits for another consumer, and not when flushers wait no more', async () => {
      const { control, rollout, consumer, flusher, store } = open();
      await store('distributed').add(additions(), POLICY, { now: T0 });
      await consumer('distributed');
      await flusher('distributed');
      await control.markClocks(new Map([[0, { messageSeconds: T0, behindSeconds: 0 }]]));
      const check = async (graceSeconds: number) =>
        kinds(await rollout.check('dual-read-distributed', { graceSeconds }));
      expect(await check(3_000)).toEqual([]);
      await expect.poll(() => check(3_000), { timeout: 25_000, interval: 1_000 }).toEqual(['unattended-shard']);
      expect(await check(5)).toEqual([]);
    });

    it('refuses in the middle of an upgrade, and where nobody has announced himself', async () => {
      const { rollout, consumer, flusher } = open();
      expect(kinds(await rollout.check('distributed'))).toEqual(['no-process']);
      await consumer('distributed', [0], '1.1.0');
      await flusher('distributed', '1.0.0');
      expect(kinds(await rollout.check('distributed'))).toEqual([]);
      await flusher('distributed', '1.1.0');
      expect(kinds(await rollout.check('distributed'))).toEqual(['unfinished-upgrade']);
    });
  });
});
