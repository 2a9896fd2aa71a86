import { createRedisStore, LAYOUTS, type LayoutName, type SegmentStore } from '@spanbuf/store';
import { type CommandGate, openCommandGate } from '@spanbuf/tooling/command-gate';
import { type RedisServer, startRedis } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FlushedSegment, type Span, SpanBuffer } from '../src/index.ts';
import { aSlice, aSpan, aTraceId, id, T0 } from './spans.ts';

/** A client is stopped at every single one of its commands; others go on. */

const LEASE_SECONDS = 0.3;
const DEDUPE_SECONDS = 100;

let server: RedisServer;
let direct: Redis;

beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.port);
});
afterAll(async () => {
  direct.disconnect();
  await server.stop();
});

/** What consumers of the output topic have seen: the payloads by flush id, so that what came twice counts once. */
class Output {
  readonly byFlushId = new Map<string, string[]>();

  produce(segments: readonly FlushedSegment[]): void {
    for (const segment of segments) {
      for (const { flushId, value } of segment.messages()) {
        const { spans } = JSON.parse(String(value)) as { spans: { at: number }[] };
        this.byFlushId.set(
          flushId,
          spans.map(({ at }) => String(at)),
        );
      }
    }
  }

  get positions(): string[] {
    return [...this.byFlushId.values()].flat().sort((a, b) => Number(a) - Number(b));
  }
}

/** Two segments of one trace that become one, with replays, a nested segment, late spans, and one that is sealed for its size. */
function someSpans(): Span[] {
  const traceId = aTraceId();
  const shape: [string, string | null][] = [
    ['c', 'b'],
    ['d', 'c'],
    ['f', 'e'],
    ['b', 'a'],
    ['e', 'a'],
    ['a', null],
    ['9', null],
    ['8', '9'],
    ['7', 'd'],
    ['6', '8'],
  ];
  return shape.map(([span, parent], at) =>
    aSpan(traceId, id(span), parent === null ? null : id(parent), {
      offset: BigInt(at),
      // The two pieces that meet first are too large together.
      payload: Buffer.from(JSON.stringify({ span_id: id(span), at, pad: 'x'.repeat(at < 3 ? 300 : 10) })),
    }),
  );
}

/** What one process does from start to end. */
async function work({ store, buffer }: Opened, spans: readonly Span[], output: Output): Promise<void> {
  await buffer.process(spans.slice(0, 2), { now: T0 });
  await buffer.process(spans.slice(2, 3), { now: T0 });
  await buffer.process(spans.slice(1, 7), { now: T0 + 1 });
  const first = await buffer.flush({ now: T0 + 20 });
  expect(first).toHaveLength(3);
  output.produce(first);
  await buffer.done(first.slice(0, 1));
  await buffer.release(first.slice(1, 2));
  await buffer.park(first.slice(2).map((segment) => ({ segment, reason: 'refused' })));
  await buffer.process(spans.slice(7), { now: T0 + 30 });
  await store.retryParked(await store.listParked({ limit: 10 }));
  for (;;) {
    const segments = await buffer.flush({ now: T0 + 100 });
    if (segments.length === 0) return;
    output.produce(segments);
    await buffer.done(segments);
  }
}

function open(
  client: Redis,
  layout: LayoutName,
  sliceId: number,
  options: { dedupeWindowSeconds?: number; deadlineSeconds?: number } = {},
): Opened {
  const store = createRedisStore(client, {
    layout,
    sliceId,
    dedupeWindowSeconds: DEDUPE_SECONDS,
    leaseSeconds: LEASE_SECONDS,
    compression: 'none',
    ...options,
  });
  return { store, buffer: new SpanBuffer(store, { maxSegmentBytes: 800 }) };
}

interface Opened {
  readonly store: SegmentStore;
  readonly buffer: SpanBuffer;
}

function connectTo(port: number): Redis {
  const client = new Redis(port, { retryStrategy: () => null });
  // Its connection is cut on purpose.
  client.on('error', () => undefined);
  return client;
}

describe.each(LAYOUTS)('a process that is stopped anywhere, %s', (layout) => {
  it('leaves no key without a time to live after any command, and none at all in the end', async () => {
    await direct.flushall();
    const spans = someSpans();
    const withoutTtl: string[] = [];
    const gate = await openCommandGate(server, {
      afterCommand: async ({ name }) => {
        for (const key of await direct.keys('*'))
          if ((await direct.ttl(key)) < 0) withoutTtl.push(`${key} after ${name}`);
      },
    });
    const client = connectTo(gate.port);
    const output = new Output();
    await work(open(client, layout, aSlice(), { dedupeWindowSeconds: 0 }), spans, output);
    client.disconnect();
    await gate.close();
    expect(withoutTtl).toEqual([]);
    expect(gate.commands).toBeGreaterThan(30);
    expect(output.positions).toEqual(spans.map((_, at) => String(at)));
    expect(await direct.keys('*')).toEqual([]);
  });

  it.each(['cut-before', 'cut-after'] as const)(
    'loses nothing and repeats nothing under another id (%s)',
    async (cut) => {
      const commands = await stoppedAt(Number.POSITIVE_INFINITY, cut);
      expect(commands).toBeGreaterThan(30);
      const indexes = Array.from({ length: commands }, (_, i) => i);
      const atOnce = 12;
      await Promise.all(
        Array.from({ length: atOnce }, async () => {
          for (let index = indexes.shift(); index !== undefined; index = indexes.shift()) await stoppedAt(index, cut);
        }),
      );
      for (const key of await direct.keys('*')) expect(await direct.ttl(key)).toBeGreaterThan(0);
    },
    120_000,
  );

  /** Stops one process at a command, has another one start over, and checks what came out. Returns the commands sent. */
  async function stoppedAt(index: number, cut: 'cut-before' | 'cut-after'): Promise<number> {
    const spans = someSpans();
    const sliceId = aSlice();
    const output = new Output();
    const gate: CommandGate = await openCommandGate(server, {
      onCommand: (command) => (command.index === index ? cut : 'pass'),
      refuseAfterCut: true,
    });
    const client = connectTo(gate.port);
    // Whoever is stopped is not to wait long for what does not come any more.
    const options = index === Number.POSITIVE_INFINITY ? {} : { deadlineSeconds: 0.2 };
    await work(open(client, layout, sliceId, options), spans, output).catch((error: Error) => {
      if (index === Number.POSITIVE_INFINITY) throw error;
    });
    client.disconnect();
    const { commands } = gate;
    await gate.close();

    const { store, buffer } = open(direct, layout, sliceId);
    for (let at = 0; at < spans.length; at += 3) await buffer.process(spans.slice(at, at + 3), { now: T0 + 2 });
    await expect
      .poll(
        async () => {
          await store.retryParked(await store.listParked({ limit: 10 }));
          const segments = await buffer.flush({ now: T0 + 1_000 });
          output.produce(segments);
          await buffer.done(segments);
          return [index, ...output.positions];
        },
        { timeout: 10_000, interval: 50 },
      )
      .toEqual([index, ...spans.map((_, at) => String(at))]);
    return commands;
  }
});
