/** The code of embed.md, as it stands there, on a real Redis. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type RedisServer, startRedis } from '@spanbuf/tooling/redis-servers';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { DOCS } from '../.vitepress/pages.ts';

interface Message {
  readonly value: Buffer;
  readonly partition: number;
  readonly offset: bigint;
  readonly timestampMs: number;
}

interface Example {
  readonly redis: Redis;
  take(messages: readonly Message[], deadLetter: (value: Uint8Array, reason: string) => Promise<void>): Promise<void>;
  giveDue(
    now: number,
    produce: (segment: { segmentId: string; generation: number }, flushId: string, value: Buffer) => Promise<void>,
  ): Promise<number>;
}

const T0 = 1_700_000_000;
let server: RedisServer;
let example: Example;

beforeAll(async () => {
  server = await startRedis();
  vi.stubEnv('REDIS_URL', server.url);
  const [, code] = /```js\n(.*?)```/s.exec(readFileSync(join(DOCS, 'embed.md'), 'utf8')) ?? [];
  if (code === undefined) expect.fail('embed.md has no block of JavaScript');
  // Inside the folder, so that it finds what the folder depends on.
  const file = join(DOCS, 'build', 'embed.js');
  mkdirSync(join(DOCS, 'build'), { recursive: true });
  writeFileSync(file, code);
  example = await import(file);
  rmSync(file);
});
afterAll(async () => {
  example?.redis.disconnect();
  vi.unstubAllEnvs();
  await server?.stop();
});

function messagesOf(...values: object[]): Message[] {
  return values.map((value, i) => ({
    value: Buffer.from(JSON.stringify(value)),
    partition: 0,
    offset: BigInt(i),
    timestampMs: (T0 + i) * 1000,
  }));
}

it('the example of embed.md takes spans, and gives their segment once, whatever the producer does at first', async () => {
  const id = () => randomBytes(8).toString('hex');
  const trace = { project_id: 1, trace_id: randomBytes(16).toString('hex') };
  const root = { ...trace, span_id: id() };
  const child = { ...trace, span_id: id(), parent_span_id: root.span_id };
  const letters: string[] = [];
  await example.take(messagesOf(child, { ...trace, span_id: 'x' }, root), async (_value, reason) => {
    letters.push(reason);
  });
  expect(letters).toEqual([expect.stringContaining('span_id')]);

  const produced: [string, unknown][] = [];
  const produce = vi.fn(async (_segment: object, flushId: string, value: Buffer) => {
    produced.push([flushId, JSON.parse(String(value))]);
  });
  expect(await example.giveDue(T0 + 9, produce)).toBe(0);
  produce.mockRejectedValueOnce(new Error('the broker is away'));
  await expect(example.giveDue(T0 + 20, produce)).rejects.toThrow('the broker is away');
  expect(await example.giveDue(T0 + 20, produce)).toBe(1);
  expect(await example.giveDue(T0 + 20, produce)).toBe(0);
  expect(produced).toHaveLength(1);
  const spans = [expect.objectContaining(root), expect.objectContaining(child)];
  expect(produced[0]?.[1]).toMatchObject({ flush_id: produced[0]?.[0], spans: expect.arrayContaining(spans) });
});
