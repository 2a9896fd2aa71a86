import { createHash, randomBytes } from 'node:crypto';
import { formatPayloadKey, formatTraceKey, hashSlot, parseSegmentKey } from '@spanbuf/keys';
import { createMemoryStore, createRedisStore, type SegmentStore, StoreUnavailableError } from '@spanbuf/store';
import { connect } from '@spanbuf/tooling/redis-clients';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, inject, it } from 'vitest';
import {
  EarlierBatchFailedError,
  type FlushedSegment,
  InvalidArgumentError,
  InvalidBufferOptionsError,
  parseIngestSpan,
  type Span,
  SpanBuffer,
  type SpanLoss,
  type UnreadableSegment,
} from '../src/index.ts';
import { aSlice, aSpan, aTraceId, id, idsIn, openStore, REDIS_KINDS, spansIn, T0 } from './spans.ts';

const [ROOT, A, B, C] = [id('a0'), id('b1'), id('c2'), id('d3')] as const;

function aBuffer(options: ConstructorParameters<typeof SpanBuffer>[1] = {}): SpanBuffer {
  return new SpanBuffer(createMemoryStore(), options);
}

describe('process', () => {
  it('says what became of every span of a batch', async () => {
    const buffer = aBuffer();
    const traceId = aTraceId();
    const first = aSpan(traceId, ROOT, null, { offset: 1n });
    const second = aSpan(traceId, A, ROOT, { offset: 2n });
    expect(await buffer.process([first, first], { now: T0 })).toEqual({ accepted: 1, replayed: 1, rejected: [] });
    expect(await buffer.process([second, first], { now: T0 })).toEqual({ accepted: 1, replayed: 1, rejected: [] });
    expect(await buffer.process([], { now: T0 })).toEqual({ accepted: 0, replayed: 0, rejected: [] });
  });

  const traceId = aTraceId();
  it.each<[string, object]>([
    ['projectId', { projectId: '1}:{2' }],
    ['projectId', { projectId: '' }],
    ['traceId', { traceId: `${traceId}:${traceId}` }],
    ['traceId', { traceId: traceId.toUpperCase().replace(/\d/g, 'F') }],
    ['spanId', { spanId: 'a'.repeat(200) }],
    ['spanId', { spanId: `${A}\n` }],
    ['parentSpanId', { parentSpanId: '}' }],
    ['parentSpanId', { parentSpanId: undefined }],
    ['segmentId', { segmentId: 'nothex' }],
    ['isSegmentSpan', { isSegmentSpan: null }],
    ['partition', { partition: -1 }],
    ['partition', { partition: 1.5 }],
    ['partition', { partition: 2 ** 24 }],
    ['offset', { offset: -1n }],
    ['offset', { offset: 2n ** 63n }],
    ['offset', { offset: 7 }],
    ['source', { source: 's'.repeat(257) }],
    ['payload', { payload: Buffer.from('') }],
    ['payload', { payload: Buffer.from('[1]') }],
    ['payload', { payload: Buffer.from('{"a":') }],
    ['payload', { payload: Buffer.from('{"a":tru}') }],
    ['payload', { payload: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) }],
    ['payload', { payload: '{}' }],
    ['payload', { payload: Buffer.from('{"attributes":5}') }],
    ['payload', { payload: Buffer.from(`{"a":${'['.repeat(600)}${']'.repeat(600)}}`) }],
  ])('refuses a span with a bad %s, says so, and takes the others (%#)', async (field, bad) => {
    const buffer = aBuffer();
    const good = [aSpan(traceId, ROOT, null), aSpan(traceId, B, ROOT)] as const;
    const broken = { ...aSpan(traceId, A, ROOT), ...bad } as Span;
    const result = await buffer.process([good[0], broken, good[1]], { now: T0 });
    expect(result.accepted).toBe(2);
    expect(result.rejected.map(({ index, span }) => [index, span])).toEqual([[1, broken]]);
    expect(result.rejected[0]?.error.problems.map(({ path }) => path)).toEqual([field]);
    const [segment] = await buffer.flush({ now: T0 + 10 });
    expect(segment && idsIn(segment)).toEqual([ROOT, B]);
  });

  it('takes spans as parseIngestSpan reads them', async () => {
    const buffer = aBuffer();
    const payload = Buffer.from(
      `{"project_id":7,"trace_id":"${traceId}","span_id":"${A}","parent_span_id":"${ROOT}","big":9007199254740993,"f":1.0}`,
    );
    await buffer.process([parseIngestSpan(payload, { partition: 4, offset: 12n })], { now: T0 });
    const [segment] = await buffer.flush({ now: T0 + 60 });
    expect(String(segment?.messages()[0]?.value)).toContain('"big":9007199254740993,"f":1.0,"is_segment":false');
    expect(segment).toMatchObject({ shard: 4, projectId: '7', segmentId: ROOT });
  });

  it('refuses a time that is none', async () => {
    for (const now of [Number.NaN, Number.POSITIVE_INFINITY]) {
      await expect(aBuffer().process([], { now })).rejects.toThrow(InvalidArgumentError);
      await expect(aBuffer().flush({ now })).rejects.toThrow(InvalidArgumentError);
    }
    await expect(aBuffer().flush({ now: T0, limit: 0 })).rejects.toThrow('limit must be an integer from 1, got 0');
  });

  it('names every option that is wrong', () => {
    const options = { rootTimeoutSeconds: 0, timeoutSeconds: -1, maxSegmentBytes: 0.5, unknownOption: 1 };
    const message = (() => {
      try {
        return String(new SpanBuffer(createMemoryStore(), options));
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidBufferOptionsError);
        return (error as Error).message;
      }
    })();
    for (const name of Object.keys(options)) expect(message).toContain(name);
  });

  it('does not keep what a span says of its organisation', async () => {
    const buffer = aBuffer();
    const payload = Buffer.from(`{"organization_id":5,"project_id":7,"trace_id":"${traceId}","span_id":"${A}"}`);
    const span = parseIngestSpan(payload, { partition: 0 });
    expect(span.organizationId).toBe('5');
    expect(await buffer.process([span], { now: T0 })).toMatchObject({ accepted: 1 });
    const [segment] = await buffer.flush({ now: T0 + 10 });
    expect(segment?.messages()[0]?.value.includes('"organization_id":5')).toBe(true);
  });

  it('is not deceived by clocks of 1970 and 2099', async () => {
    const buffer = aBuffer();
    const trace = aTraceId();
    await buffer.process([aSpan(trace, A, ROOT)], { now: 0 });
    await buffer.process([aSpan(trace, B, ROOT)], { now: 4_102_444_800 });
    const [segment] = await buffer.flush({ now: T0 });
    expect(segment).toMatchObject({ spanCount: 2, reason: 'max-age' });
  });
});

describe('batches of one partition', () => {
  /** A store whose calls of `add` end when the test says so. */
  function aSlowStore() {
    const calls: { end: (error?: Error) => void; offsets: bigint[] }[] = [];
    const store: SegmentStore = {
      ...createMemoryStore(),
      add: (additions) =>
        new Promise((resolve, reject) => {
          const spans = additions.flatMap(({ subsegments }) => subsegments.flatMap((subsegment) => subsegment.spans));
          calls.push({
            offsets: spans.map(({ offset }) => offset as bigint),
            end: (error) => (error ? reject(error) : resolve({ added: spans.length, replayed: 0 })),
          });
        }),
    };
    return { calls, buffer: new SpanBuffer(store) };
  }
  const at = (offset: bigint, partition = 0): Span[] => [aSpan(aTraceId(), A, ROOT, { offset, partition })];
  const offsets = (calls: { offsets: bigint[] }[]) => calls.flatMap((call) => call.offsets);

  it('are applied one after the other, those of different partitions at once', async () => {
    const { calls, buffer } = aSlowStore();
    const first = buffer.process(at(1n), { now: T0 });
    const second = buffer.process(at(2n), { now: T0 });
    const other = buffer.process(at(9n, 1), { now: T0 });
    await expect.poll(() => offsets(calls)).toEqual([1n, 9n]);
    calls[0]?.end();
    await first;
    await expect.poll(() => offsets(calls)).toEqual([1n, 9n, 2n]);
    for (const call of calls) call.end();
    await Promise.all([second, other]);
  });

  it('are not applied once one before them has failed, but when they come again', async () => {
    const { calls, buffer } = aSlowStore();
    const first = buffer.process(at(1n), { now: T0 });
    const second = buffer.process(at(2n), { now: T0 });
    const third = buffer.process(at(3n), { now: T0 });
    const outcomes = Promise.allSettled([first, second, third]);
    await expect.poll(() => calls.length).toBe(1);
    calls[0]?.end(new StoreUnavailableError('away'));
    await expect(first).rejects.toThrow(StoreUnavailableError);
    const again = [buffer.process(at(1n), { now: T0 }), buffer.process(at(2n), { now: T0 })];
    await expect(second).rejects.toThrow(EarlierBatchFailedError);
    await expect(third).rejects.toThrow(EarlierBatchFailedError);
    await outcomes;
    await expect.poll(() => offsets(calls)).toEqual([1n, 1n]);
    calls[1]?.end();
    await expect.poll(() => offsets(calls)).toEqual([1n, 1n, 2n]);
    calls[2]?.end();
    await Promise.all(again);
  });
});

describe('messages', () => {
  const aLargeSegment = async (maxMessageBytes: number) => {
    const buffer = aBuffer({ maxMessageBytes });
    const trace = aTraceId();
    const payload = (spanId: string) => Buffer.from(JSON.stringify({ span_id: spanId, pad: 'x'.repeat(300) }));
    const spans = Array.from({ length: 20 }, (_, i) => aSpan(trace, id(i + 1), ROOT, { payload: payload(id(i + 1)) }));
    const huge = JSON.stringify({ span_id: B, pad: 'y'.repeat(3_000) });
    await buffer.process([...spans, aSpan(trace, ROOT, null), aSpan(trace, B, ROOT, { payload: Buffer.from(huge) })], {
      now: T0,
    });
    const [segment] = await buffer.flush({ now: T0 + 10 });
    return { buffer, segment: segment as NonNullable<typeof segment> };
  };

  it('is one when it fits, and several that each fit when it does not', async () => {
    const { segment: whole } = await aLargeSegment(1_000_000);
    expect(whole.messages().map(({ spanCount }) => spanCount)).toEqual([22]);
    const [message] = whole.messages();
    expect(JSON.parse(String(message?.value))).not.toHaveProperty('skip_enrichment');

    const { segment } = await aLargeSegment(1_500);
    const messages = segment.messages();
    expect(messages.length).toBeGreaterThan(5);
    for (const { value, spanCount, flushId } of messages) {
      const parsed = JSON.parse(String(value));
      expect(parsed).toMatchObject({ flush_id: flushId, skip_enrichment: true });
      expect(flushId).toMatch(/^[0-9a-f]{32}$/);
      expect(parsed.spans).toHaveLength(spanCount);
      expect(value.length <= 1_500 || spanCount === 1).toBe(true);
    }
    expect(idsIn(segment)).toEqual(idsIn(whole));
    expect(new Set(messages.map(({ flushId }) => flushId)).size).toBe(messages.length);
    // The root leads, so that the first part has it.
    expect(spansIn(segment)[0]?.span_id).toBe(ROOT);
  });

  it('fills messages to the last byte', async () => {
    const { segment: whole } = await aLargeSegment(1_000_000);
    const { value } = whole.messages()[0] as { value: Buffer };
    expect((await aLargeSegment(value.length)).segment.messages()).toHaveLength(1);
    expect((await aLargeSegment(value.length - 1)).segment.messages()).toHaveLength(2);
  });

  it('has the same flush id again after a release, and another one in another generation', async () => {
    const buffer = aBuffer();
    const trace = aTraceId();
    const late = aSpan(trace, A, ROOT);
    await buffer.process([aSpan(trace, ROOT, null), late], { now: T0 });
    const first = await buffer.flush({ now: T0 + 10 });
    await buffer.release(first);
    const second = await buffer.flush({ now: T0 + 10 });
    const ids = (segments: typeof first) =>
      segments.flatMap((segment) => segment.messages().map(({ flushId }) => flushId));
    expect(ids(second)).toEqual(ids(first));
    await buffer.done(second);
    const generations = new Set<string>();
    for (let i = 0; i < 3; i++) {
      await buffer.process([late], { now: T0 + 20 });
      const segments = await buffer.flush({ now: T0 + 30 });
      generations.add(ids(segments)[0] as string);
      await buffer.done(segments);
    }
    expect(generations.size).toBe(3);
  });

  it('has a flush id that an upgrade does not change: a hash of positions, and of payloads that have none', async () => {
    const buffer = aBuffer();
    const trace = aTraceId();
    const root = aSpan(trace, ROOT, null, { offset: 7n, source: 'spän' });
    const child = aSpan(trace, A, ROOT);
    await buffer.process([child, root], { now: T0 });
    const [segment] = await buffer.flush({ now: T0 + 10 });
    const lengths = [root, child].map(({ payload }) => payload.length);
    const head = `${root.projectId}:${trace}:${ROOT}:1:0 spän/0/7:${lengths[0]} /0/:${lengths[1]}`;
    const hash = createHash('sha256').update(head).update(child.payload).digest('hex');
    expect(segment?.messages().map(({ flushId }) => flushId)).toEqual([hash.slice(0, 32)]);
  });

  it('is the same to the byte for the same spans in any order and any layout', async () => {
    const clients = {
      'one node': await connect('one node'),
      'a three-node cluster': await connect('a three-node cluster'),
    };
    const trace = aTraceId();
    const spans = [
      aSpan(trace, ROOT, null, { offset: 0n }),
      aSpan(trace, A, ROOT, { offset: 1n }),
      aSpan(trace, A, ROOT, { offset: 2n }),
      aSpan(trace, B, A, { offset: 0n, partition: 1 }),
      aSpan(trace, C, B),
    ];
    const stores = [
      createMemoryStore(),
      ...REDIS_KINDS.map(({ layout, topology }) => openStore(clients[topology], layout)),
    ];
    const values = new Set<string>();
    for (const [i, store] of stores.entries()) {
      const projectId = `order-${i}`;
      const buffer = new SpanBuffer(store);
      const order = spans.map((span) => ({ ...span, projectId }));
      const rotated = [...order.slice(i % 3), ...order.slice(0, i % 3)];
      const inPartitionOrder = rotated.sort((a, b) => Number((a.offset ?? 9n) - (b.offset ?? 9n)) * (i % 2 ? 1 : -1));
      if (i % 2) for (const span of inPartitionOrder) await buffer.process([span], { now: T0 });
      else await buffer.process(inPartitionOrder, { now: T0 });
      const [segment] = await buffer.flush({ now: T0 + 10 });
      const [message] = segment?.messages() ?? [];
      values.add(String(message?.value).replace(message?.flushId as string, ''));
    }
    expect(values.size).toBe(1);
  });

  it('has the root first and then its spans by id, however many there are', async () => {
    const trace = aTraceId();
    // Some ids begin alike, some are twice there.
    const ids = Array.from(
      { length: 1_500 },
      (_, i) => `${randomBytes(3).toString('hex')}${id(`${i % 700}`).slice(6)}`,
    );
    const first = ids.slice(0, 10).map((each) => `${each.slice(0, 15)}f`);
    const spanIds = [...ids, ...first, ...ids.slice(0, 5)];
    const buffer = aBuffer();
    for (const spanId of spanIds) await buffer.process([aSpan(trace, spanId, ROOT)], { now: T0 });
    await buffer.process([aSpan(trace, ROOT, null)], { now: T0 });
    const [segment] = await buffer.flush({ now: T0 + 10 });
    expect(spansIn(segment as FlushedSegment).map(({ span_id }) => span_id)).toEqual([ROOT, ...spanIds.sort()]);
  });
});

describe.each([{ layout: 'memory' as const, topology: 'one node' as const }, ...REDIS_KINDS])(
  'a flush, $layout on $topology',
  async ({ layout, topology }) => {
    const client = await connect(topology);
    const open = () => (layout === 'memory' ? createMemoryStore() : openStore(client, layout));

    it('swallows nothing that arrives between flush and done, or after', async () => {
      const buffer = new SpanBuffer(open());
      const trace = aTraceId();
      await buffer.process([aSpan(trace, ROOT, null), aSpan(trace, A, ROOT)], { now: T0 });
      const first = await buffer.flush({ now: T0 + 10 });
      await buffer.process([aSpan(trace, B, A)], { now: T0 + 11 });
      await buffer.done(first);
      await buffer.process([aSpan(trace, C, B)], { now: T0 + 12 });
      const second = await buffer.flush({ now: T0 + 22 });
      expect([...first, ...second].map((segment) => [segment.segmentId, segment.generation, idsIn(segment)])).toEqual([
        [ROOT, 1, [ROOT, A]],
        [ROOT, 2, [B, C]],
      ]);
      await buffer.done(second);
      await buffer.done(second);
      expect(await buffer.flush({ now: T0 + 1_000_000 })).toEqual([]);
    });

    it('gives each segment to one of several flushers', async () => {
      const store = open();
      const buffers = Array.from({ length: 4 }, () => new SpanBuffer(store));
      const spans = Array.from({ length: 100 }, (_, i) => aSpan(aTraceId(), ROOT, null, { partition: i % 5 }));
      await buffers[0]?.process(spans, { now: T0 });
      const flushed = await Promise.all(buffers.map((buffer) => buffer.flush({ now: T0 + 10 })));
      const keys = flushed.flat().map(({ key }) => key);
      expect(keys).toHaveLength(100);
      expect(new Set(keys).size).toBe(100);
      for (const key of keys) expect(parseSegmentKey(key).spanId).toBe(ROOT);
      await expect(buffers[0]?.done(flushed[1] ?? []))
        .resolves.toBeUndefined()
        .catch(() => undefined);
    });

    it('stays within a number of segments and of bytes', async () => {
      const buffer = new SpanBuffer(open());
      const payload = Buffer.from(JSON.stringify({ span_id: ROOT, pad: 'x'.repeat(1_000) }));
      await buffer.process(
        Array.from({ length: 30 }, () => aSpan(aTraceId(), ROOT, null, { payload })),
        { now: T0 },
      );
      expect(await buffer.flush({ now: T0 + 10, limit: 7 })).toHaveLength(7);
      const some = await buffer.flush({ now: T0 + 10, maxBytes: 5_500 });
      expect(some).toHaveLength(5);
      expect(await buffer.flush({ now: T0 + 10 })).toHaveLength(18);
    });
  },
);

describe('what Redis has lost', async () => {
  const client = new Redis(inject('redisUrl'));
  afterAll(() => client.disconnect());
  const lossesOf = () => {
    const losses: SpanLoss[] = [];
    const sliceId = aSlice();
    const buffer = new SpanBuffer(openStore(client, 'distributed', sliceId), { onLoss: (loss) => losses.push(loss) });
    return { losses, buffer };
  };
  const payloadKeys = async (traceId: string, spanId: string) =>
    client.keys(`${formatPayloadKey({ projectId: '1', traceId, spanId }).replaceAll(/[{}]/g, '?')}*`);

  it('keeps the rest of its segment back where all of it is read again, and nothing else', async () => {
    const sliceId = aSlice();
    const losses: SpanLoss[] = [];
    const open = (epoch?: number) =>
      new SpanBuffer(createRedisStore(client, { sliceId, epoch }), {
        holdIncomplete: true,
        onLoss: (loss) => losses.push(loss),
      });
    const [again, whole, before] = [aTraceId(), aTraceId(), aTraceId()] as const;
    await open().process([aSpan(before, ROOT, null)], { now: T0 });
    await open().process([aSpan(before, A, ROOT)], { now: T0 });
    await open(5).process([aSpan(again, ROOT, null), aSpan(whole, ROOT, null)], { now: T0 });
    await open(5).process([aSpan(again, A, ROOT)], { now: T0 });
    await client.del(...(await payloadKeys(again, A)), ...(await payloadKeys(before, A)));
    const segments = await open(5).flush({ now: T0 + 10 });
    expect(segments.map(({ traceId, lostSpanCount }) => [traceId, lostSpanCount]).sort()).toEqual(
      [
        [whole, 0],
        [before, 1],
      ].sort(),
    );
    expect(losses.map(({ traceId, isHeld }) => [traceId, isHeld]).sort()).toEqual(
      [
        [again, true],
        [before, false],
      ].sort(),
    );
  });

  it('is reported, and keeps nothing else from going out', async () => {
    const { losses, buffer } = lossesOf();
    const [one, two, three] = [aTraceId(), aTraceId(), aTraceId()] as const;
    await buffer.process([aSpan(one, ROOT, null), aSpan(two, ROOT, null), aSpan(three, ROOT, null)], { now: T0 });
    await buffer.process([aSpan(one, A, ROOT)], { now: T0 });
    await client.del(...(await payloadKeys(one, A)), ...(await payloadKeys(two, ROOT)));
    const segments = await buffer.flush({ now: T0 + 10 });
    expect(segments.map(({ traceId, spanCount, lostSpanCount }) => [traceId, spanCount, lostSpanCount]).sort()).toEqual(
      [
        [one, 1, 1],
        [three, 1, 0],
      ].sort(),
    );
    expect(losses.map(({ traceId, lostSpanCount, spanCount }) => [traceId, lostSpanCount, spanCount]).sort()).toEqual(
      [
        [one, 1, 2],
        [two, 1, 1],
      ].sort(),
    );
    await buffer.done(segments);
    expect(await buffer.flush({ now: T0 + 1_000_000 })).toEqual([]);
  });

  it('is not what cannot be read: that stays where it is until somebody can', async () => {
    const sliceId = aSlice();
    const store = createRedisStore(client, { sliceId, leaseSeconds: 0.2 });
    const unreadable: string[] = [];
    const buffer = new SpanBuffer(store, {
      onUnreadable: ({ traceId, error, sealed }) => {
        expect(sealed.traceId).toBe(traceId);
        unreadable.push(`${traceId} ${error.code}`);
      },
    });
    const [one, two] = [aTraceId(), aTraceId()] as const;
    await buffer.process([aSpan(one, ROOT, null), aSpan(two, ROOT, null)], { now: T0 });
    const [key] = (await payloadKeys(one, ROOT)) as [string];
    const blob = (await client.getBuffer(key)) as Buffer;
    // As a newer version may write it.
    await client.set(key, Buffer.concat([Buffer.of(9), blob.subarray(1)]), 'EX', 100);
    expect((await buffer.flush({ now: T0 + 10 })).map(({ traceId }) => traceId)).toEqual([two]);
    expect(unreadable).toEqual([`${one} SPANBUF_UNREADABLE_PAYLOAD`]);
    await client.set(key, blob, 'EX', 100);
    await expect.poll(async () => (await buffer.flush({ now: T0 + 10, limit: 1 })).length).toBe(1);
  });

  it('can be parked when nobody can read it, and is read when it is put back after somebody can', async () => {
    const store = createRedisStore(client, { sliceId: aSlice() });
    const unreadable: UnreadableSegment[] = [];
    const buffer = new SpanBuffer(store, { onUnreadable: (segment) => unreadable.push(segment) });
    const trace = aTraceId();
    await buffer.process([aSpan(trace, ROOT, null)], { now: T0 });
    const [key] = (await payloadKeys(trace, ROOT)) as [string];
    const blob = (await client.getBuffer(key)) as Buffer;
    await client.set(key, Buffer.concat([Buffer.of(9), blob.subarray(1)]), 'EX', 100);
    expect(await buffer.flush({ now: T0 + 10 })).toEqual([]);
    await buffer.park(unreadable.map((segment) => ({ segment, reason: segment.error.code })));
    const parked = await store.listParked({ limit: 10 });
    expect(parked).toMatchObject([{ traceId: trace, segmentId: ROOT, reason: 'SPANBUF_UNREADABLE_PAYLOAD' }]);
    await client.set(key, blob, 'EX', 100);
    await store.retryParked(parked);
    const segments = await buffer.flush({ now: T0 + 10 });
    expect(segments).toMatchObject([{ traceId: trace, spanCount: 1 }]);
    await buffer.done(segments);
  });

  it('does not make a flush look as if nothing else were due', async () => {
    const { losses, buffer } = lossesOf();
    const [one, two] = [aTraceId(), aTraceId()] as const;
    await buffer.process([aSpan(one, ROOT, null)], { now: T0 });
    await buffer.process([aSpan(two, ROOT, null)], { now: T0 + 1 });
    await client.del(...(await payloadKeys(one, ROOT)));
    expect((await buffer.flush({ now: T0 + 20, limit: 1 })).map(({ traceId }) => traceId)).toEqual([two]);
    expect(losses).toHaveLength(1);
  });

  it('is no loss when another flusher has completed it meanwhile', async () => {
    const { losses, buffer } = lossesOf();
    const trace = aTraceId();
    await buffer.process([aSpan(trace, ROOT, null)], { now: T0 });
    await client.del(formatTraceKey({ projectId: '1', traceId: trace }));
    expect(await buffer.flush({ now: T0 + 10 })).toEqual([]);
    expect(losses).toEqual([]);
  });
});

describe('a parked segment', () => {
  it('comes again with the same flush ids once it is put back, and not before', async () => {
    const store = createMemoryStore();
    const buffer = new SpanBuffer(store, { maxMessageBytes: 200 });
    const traceId = aTraceId();
    await buffer.process([aSpan(traceId, ROOT, null), aSpan(traceId, A, ROOT)], { now: T0 });
    const [segment] = (await buffer.flush({ now: T0 + 10 })) as [FlushedSegment];
    const before = segment.messages();
    expect(before.length).toBeGreaterThan(1);
    await buffer.park([{ segment, reason: 'refused' }]);
    await buffer.process([aSpan(traceId, B, A)], { now: T0 + 11 });
    const [next, ...others] = await buffer.flush({ now: T0 + 100, drain: true });
    expect(others).toEqual([]);
    expect(next).toMatchObject({ segmentId: ROOT, generation: 2 });
    await store.retryParked(await store.listParked({ limit: 1 }));
    const [again] = await buffer.flush({ now: T0 + 100 });
    expect(again?.messages()).toEqual(before);
  });
});

describe('missingParentCount', () => {
  it.each<[string, number, [string, string | null][]]>([
    [
      'none of a whole tree',
      0,
      [
        [ROOT, null],
        [A, ROOT],
        [B, A],
      ],
    ],
    [
      'one for a root that stayed away, however many name it',
      1,
      [
        [A, ROOT],
        [B, ROOT],
        [C, A],
      ],
    ],
    [
      'each parent that stayed away',
      2,
      [
        [B, A],
        [ROOT, null],
        [C, id('99')],
      ],
    ],
    ['none for a span that is its own parent', 0, [[A, A]]],
  ])('counts %s', async (_, expected, tree) => {
    const buffer = aBuffer();
    const traceId = aTraceId();
    await buffer.process(
      tree.map(([spanId, parent]) => aSpan(traceId, spanId, parent)),
      { now: T0 },
    );
    const segments = await buffer.flush({ now: T0 + 60 });
    expect(segments.reduce((sum, { missingParentCount }) => sum + missingParentCount, 0)).toBe(expected);
  });

  it('counts a parent that went out with an earlier generation', async () => {
    const buffer = aBuffer();
    const traceId = aTraceId();
    await buffer.process([aSpan(traceId, ROOT, null)], { now: T0 });
    await buffer.done(await buffer.flush({ now: T0 + 10 }));
    await buffer.process([aSpan(traceId, A, ROOT)], { now: T0 + 11 });
    expect((await buffer.flush({ now: T0 + 30 })).map(({ missingParentCount }) => missingParentCount)).toEqual([1]);
  });
});

describe('a large trace', async () => {
  const cluster = await connect('a three-node cluster');

  it('is one segment when it is a chain of 10,000 spans that arrives leaf first, one to a batch', async () => {
    const buffer = new SpanBuffer(openStore(cluster, 'distributed'));
    const trace = aTraceId();
    for (let i = 10_000; i > 1; i--) await buffer.process([aSpan(trace, id(i), id(i - 1))], { now: T0 });
    await buffer.process([aSpan(trace, id(1), null)], { now: T0 });
    const segments = await buffer.flush({ now: T0 + 10 });
    expect(segments.map(({ segmentId, spanCount }) => [segmentId, spanCount])).toEqual([[id(1), 10_000]]);
    await buffer.done(segments);
  }, 180_000);

  it.each(['a chain', 'one wide parent'])('spreads its payloads over the slots as %s', async (shape) => {
    const sliceId = aSlice();
    const projectId = `spread-${sliceId}`;
    const buffer = new SpanBuffer(openStore(cluster, 'distributed', sliceId));
    const trace = aTraceId();
    const payload = Buffer.from(JSON.stringify({ pad: 'x'.repeat(3_000) }));
    const parentOf = (i: number) => (shape === 'a chain' ? id(i - 1) : id(0));
    const spans = Array.from({ length: 3_000 }, (_, i) =>
      aSpan(trace, id(i + 1), parentOf(i + 1), { projectId, payload }),
    );
    await buffer.process(spans, { now: T0 });
    const keys = (
      await Promise.all('nodes' in cluster ? cluster.nodes('master').map((node) => node.keys(`*{${projectId}:*`)) : [])
    ).flat();
    const thirds = [0, 0, 0];
    for (const key of keys.filter((one) => one.startsWith('span-buf:s:'))) {
      const third = Math.floor(hashSlot(key) / (16_384 / 3));
      thirds[third] = (thirds[third] as number) + 1;
    }
    // 300 blobs: five standard deviations are 41.
    for (const count of thirds) expect(Math.abs(count - 100)).toBeLessThan(41);
    await buffer.done(await buffer.flush({ now: T0 + 100 }));
  });
});
