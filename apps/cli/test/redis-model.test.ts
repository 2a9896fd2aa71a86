/** What `spanbuf size` reckons of Redis, against a real one that is given the same. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { SpanBuffer } from '@spanbuf/buffer';
import { createMemoryStore, createRedisStore, type SealedGeneration, type SegmentStore } from '@spanbuf/store';
import { type RedisServer, startRedis } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { Load } from '../src/generate/load.ts';
import { Candidate, Lengths, SegmentNumbers } from '../src/size/candidate.ts';
import { fileBatches } from '../src/size/file-batches.ts';
import type { SizedStore } from '../src/size/metered-store.ts';
import type { TimedBatch } from '../src/size/timed-batch.ts';

const SETTINGS = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 10_485_760 };
const LIMITS = { batchSeconds: 0.05, batchSpans: 2_000, batchBytes: 4_194_304, mostSpans: 1_000_000 };
const SAMPLES = new URL('../../../samples/spans.ndjson', import.meta.url);
/** For as long as the test may take: what is produced stays known, by the clock of either. */
const WINDOW_SECONDS = 86_400;

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

let server: RedisServer;
let client: Redis;
beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.connection);
});
afterAll(async () => {
  client.disconnect();
  await server.stop();
});

const numberIn = async (section: string, pattern: RegExp) => Number(pattern.exec(await client.info(section))?.[1] ?? 0);
const usedBytes = () => numberIn('memory', /^used_memory:(\d+)/m);
const scriptCalls = () => numberIn('commandstats', /^cmdstat_evalsha:calls=(\d+)/m);

/** A store in memory, and Redis behind it, which is given the same. */
function mirrored(memory: SegmentStore): SizedStore {
  const redis = createRedisStore(client, { dedupeWindowSeconds: WINDOW_SECONDS });
  const claims = new Map<string, SealedGeneration>();
  const nameOf = ({ projectId, traceId, segmentId, generation }: SealedGeneration) =>
    `${projectId}:${traceId}:${segmentId}:${generation}`;
  return {
    add: async (...call) => {
      await redis.add(...call);
      return memory.add(...call);
    },
    claim: async (query) => {
      const claimed = await memory.claim(query);
      // Which of those that are due come first is drawn by lot.
      while (claimed.some((generation) => !claims.has(nameOf(generation)))) {
        const inRedis = await redis.claim(query);
        expect(inRedis).not.toEqual([]);
        for (const generation of inRedis) claims.set(nameOf(generation), generation);
      }
      return claimed;
    },
    read: (...call) => memory.read(...call),
    complete: async (generations, spans = []) => {
      await redis.complete(
        generations.map((generation) => claims.get(nameOf(generation)) as SealedGeneration),
        spans,
      );
      await memory.complete(generations, spans);
    },
  };
}

function* generated(messageCount: number, messagesPerSecond: number): Generator<Buffer> {
  const shares = { invalidShare: 0, lateShare: 0.05 };
  const load = new Load({
    seed: 1,
    startSeconds: 1_700_000_000,
    messagesPerSecond,
    messageCount,
    ...shares,
    projectCount: 40,
    isForLines: true,
  });
  for (let message = load.next(); message !== undefined; message = load.next())
    yield Buffer.concat([message.value as Buffer, Buffer.from('\n')]);
}

async function compare(input: Readable, settings: Partial<typeof SETTINGS> = {}) {
  const batches: TimedBatch[] = [];
  for await (const batch of fileBatches(input, LIMITS, () => expect.unreachable())) batches.push(batch);
  // The first time scripts are loaded, and tables grow.
  const buffer = new SpanBuffer(createRedisStore(client));
  for (const { seconds, spans } of batches) await buffer.process(spans, { now: seconds });
  await buffer.done(await buffer.flush({ now: 0, drain: true }));
  await client.flushall();
  const before = { bytes: await usedBytes(), calls: await scriptCalls() };
  const candidate = new Candidate(
    { ...SETTINGS, ...settings },
    {
      numbers: new SegmentNumbers(),
      lengths: new Lengths(),
      dedupeWindowSeconds: WINDOW_SECONDS,
      openStore: (options) => mirrored(createMemoryStore(options)),
    },
  );
  for (const batch of batches) await candidate.take(batch);
  const held = { measured: (await usedBytes()) - before.bytes, reckoned: candidate.store.redisBytes };
  await candidate.finish();
  const kept = { measured: (await usedBytes()) - before.bytes, reckoned: candidate.store.redisBytes };
  const calls = { measured: (await scriptCalls()) - before.calls, reckoned: candidate.store.scriptCalls };
  return { held, kept, calls };
}

describe('what is reckoned of Redis', () => {
  beforeEach(() => client.flushall());

  it.each([
    ['the samples', () => createReadStream(SAMPLES)],
    ['a generated load', () => Readable.from(generated(20_000, 1_000))],
    ['a load of few and large batches', () => Readable.from(generated(20_000, 20_000))],
  ])('is within a tenth of what a real one takes, of %s', async (_, open) => {
    const { held, kept, calls } = await compare(open());
    for (const [what, { measured, reckoned }] of Object.entries({ held, calls })) {
      expect(reckoned / measured, what).toBeGreaterThan(0.9);
      expect(reckoned / measured, what).toBeLessThan(1.1);
    }
    // Of a few kilobytes used_memory says little.
    if (kept.measured < 1_000_000) return;
    expect(kept.reckoned / kept.measured).toBeGreaterThan(0.9);
    expect(kept.reckoned / kept.measured).toBeLessThan(1.1);
  });
});
