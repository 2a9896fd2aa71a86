import { formatWatchedKey, type TraceRef } from '@spanbuf/keys';
import { connect, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import {
  createTraceWatch,
  type LinkStep,
  MAX_WATCHED_TRACES,
  type StoredSpan,
  type Subsegment,
  type TraceObserver,
} from '../src/index.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000 };
const T0 = 1_700_000_000;
const [A, B, C, D] = ['a', 'b', 'c', 'd'].map((digit) => digit.repeat(16)) as [string, string, string, string];

describe.each(TOPOLOGIES)('TraceWatch on %s', async (topology) => {
  const client = await connect(topology);
  const open = () => {
    const sliceId = aSlice();
    return { key: formatWatchedKey({ sliceId }), watch: createTraceWatch(client, { sliceId }) };
  };

  it('knows the traces that are watched, and for how long, until they are not', async () => {
    const { watch, key } = open();
    const [one, other] = [aTrace(), aTrace()];
    expect(await watch.read()).toEqual([]);
    expect(await watch.watch(one, 60)).toBe(true);
    expect(await watch.watch(other, 600)).toBe(true);
    const watched = await watch.read();
    expect(watched).toMatchObject([one, other]);
    for (const [i, seconds] of [60, 600].entries()) {
      expect(watched[i]?.leftSeconds).toBeGreaterThan(seconds - 30);
      expect(watched[i]?.leftSeconds).toBeLessThanOrEqual(seconds);
    }
    expect(await (client as Redis).ttl(key)).toBeGreaterThan(570);
    expect(await watch.unwatch(other)).toBe(true);
    expect(await watch.unwatch(other)).toBe(false);
    expect(await watch.read()).toMatchObject([one]);
  });

  it('watches one for longer, or shorter, when it is asked again', async () => {
    const { watch, key } = open();
    const trace = aTrace();
    await watch.watch(trace, 60);
    await watch.watch(trace, 3_600);
    expect((await watch.read())[0]?.leftSeconds).toBeGreaterThan(3_500);
    await watch.watch(trace, 30);
    expect((await watch.read())[0]?.leftSeconds).toBeLessThanOrEqual(30);
    expect(await (client as Redis).ttl(key)).toBeLessThanOrEqual(31);
  });

  it('forgets those whose time is over, whoever reads and whoever writes', async () => {
    const { watch, key } = open();
    const [over, live] = [aTrace(), aTrace()];
    await (client as Redis).zadd(key, 1_000, `${over.projectId}:${over.traceId}`);
    expect(await watch.read()).toEqual([]);
    await watch.watch(live, 60);
    expect(await (client as Redis).zcard(key)).toBe(1);
  });

  it('takes no more than it is to, and then still one that is watched already', async () => {
    const { watch } = open();
    const traces = Array.from({ length: MAX_WATCHED_TRACES }, aTrace);
    for (const trace of traces) expect(await watch.watch(trace, 60)).toBe(true);
    expect(await watch.watch(aTrace(), 60)).toBe(false);
    expect(await watch.watch(traces[3] as TraceRef, 600)).toBe(true);
    expect(await watch.read()).toHaveLength(MAX_WATCHED_TRACES);
    await watch.unwatch(traces[0] as TraceRef);
    expect(await watch.watch(aTrace(), 60)).toBe(true);
  });

  it('refuses what is no trace', async () => {
    const { watch } = open();
    await expect(watch.watch({ projectId: 'a:b', traceId: aTrace().traceId }, 60)).rejects.toThrow('projectId');
    await expect(watch.watch({ projectId: '1', traceId: 'x' }, 60)).rejects.toThrow('traceId');
  });
});

describe.each(TOPOLOGIES)('a store on %s that has an observer', async (topology) => {
  const client = await connect(topology);
  const trace = () => aTrace();

  function open(watched: TraceRef, isOn = true) {
    const steps: LinkStep[] = [];
    const observer: TraceObserver = {
      isOn,
      isWatched: ({ traceId }) => traceId === watched.traceId,
      note: (ref, step) => {
        expect(ref).toEqual(watched);
        steps.push(step);
      },
    };
    const store = openStore(client, { sliceId: aSlice(), observer });
    let offset = 0n;
    const span = (spanId: string, parentId: string, bytes = 2): StoredSpan => {
      return { spanId, parentId, partition: 4, offset: offset++, payload: Buffer.alloc(bytes, 'x') };
    };
    const add = async (topId: string, ...spans: StoredSpan[]) => {
      const subsegment: Subsegment = { topId, hasRoot: spans.some(({ spanId }) => spanId === topId), spans };
      await store.add([{ ...watched, subsegments: [subsegment] }], POLICY, { now: T0 });
      return steps.splice(0);
    };
    return { store, steps, span, add };
  }

  it('tells it how spans are grouped and linked: new, grown, merged, replayed, sealed', async () => {
    const { span, add } = open(trace());
    const c = span(C, B);
    expect(await add(B, c)).toEqual([
      { step: 'grouped', subsegments: [{ topId: B, hasRoot: false, spanCount: 1 }] },
      {
        step: 'linked',
        outcome: 'new',
        addedCount: 1,
        replayedCount: 0,
        segments: [{ segmentId: B, shard: 4, spanCount: 1, dueSeconds: T0 + 60 }],
        mergedCount: 0,
      },
    ]);
    const a = span(A, A);
    const [, another] = await add(A, a);
    expect(another).toMatchObject({ outcome: 'new', segments: [{ segmentId: A, dueSeconds: T0 + 10 }] });
    const [, merged] = await add(A, span(B, A));
    expect(merged).toMatchObject({ outcome: 'merged', mergedCount: 1, segments: [{ segmentId: A, spanCount: 3 }] });
    const [, replay] = await add(A, a);
    expect(replay).toMatchObject({ outcome: 'replay', addedCount: 0, replayedCount: 1 });
    const d = span(D, A);
    const [, grown] = await add(A, a, d);
    expect(grown).toMatchObject({ outcome: 'grown', addedCount: 1, replayedCount: 1, segments: [{ spanCount: 4 }] });
    const [, , sealed] = await add(A, span('e'.repeat(16), A, 2_000));
    expect(sealed).toMatchObject({ step: 'sealed', reason: 'max-bytes' });
  });

  it('tells it nothing of other traces, and nothing at all while none is watched', async () => {
    const other = open(trace());
    await other.store.add(
      [{ ...aTrace(), subsegments: [{ topId: A, hasRoot: true, spans: [other.span(A, A)] }] }],
      POLICY,
      { now: T0 },
    );
    expect(other.steps).toEqual([]);
    const off = open(trace(), false);
    expect(await off.add(A, off.span(A, A))).toEqual([]);
  });
});
