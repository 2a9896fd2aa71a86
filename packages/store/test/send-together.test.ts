import { once } from 'node:events';
import { openCommandGate } from '@spanbuf/tooling/command-gate';
import { type RedisServer, startRedis } from '@spanbuf/tooling/redis-servers';
import { Redis, type RedisOptions } from 'ioredis';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type NodeCommand, sendTogether } from '../src/redis/send-together.ts';

/** Commands of one write, on a real Redis, and what becomes of them when their connection is lost. */

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

async function clientOf(options: Omit<RedisOptions, 'replyMapping'> = {}): Promise<Redis> {
  const client = new Redis({ ...server.connection, retryStrategy: () => 20, ...options });
  client.on('error', () => undefined);
  onTestFinished(() => client.disconnect());
  await once(client, 'ready');
  return client;
}

const append = (key: string, text: string): NodeCommand => ({ name: 'append', args: [key, text] });

it('answers in the order of the commands, bytes as they are, errors apart', async () => {
  const client = await clientOf();
  const bytes = Buffer.from([0, 13, 10, 255, 36]);
  const results = await sendTogether(client, [
    { name: 'set', args: ['plain', bytes, 'EX', 100] },
    { name: 'set', args: ['ключ €', '', 'EX', 100] },
    { name: 'get', args: ['plain'] },
    { name: 'incr', args: ['plain'] },
    { name: 'get', args: ['ключ €'] },
    { name: 'get', args: ['missing'] },
    { name: 'exists', args: [Buffer.from('ключ €')] },
    { name: 'evalsha', args: ['0'.repeat(40), 1, 'plain', 1.5] },
  ]);
  expect(results.map(([error, reply]) => error?.message.slice(0, 8) ?? reply)).toEqual([
    Buffer.from('OK'),
    Buffer.from('OK'),
    bytes,
    'ERR valu',
    Buffer.alloc(0),
    null,
    1,
    'NOSCRIPT',
  ]);
  expect(results[3]?.[0]?.name).toBe('ReplyError');
});

it('takes nothing at all, and several groups at once', async () => {
  const client = await clientOf();
  expect(await sendTogether(client, [])).toEqual([]);
  const groups = Array.from({ length: 20 }, (_, i) => sendTogether(client, [{ name: 'echo', args: [i] }]));
  expect((await Promise.all(groups)).flat().map(([, reply]) => String(reply))).toEqual(
    Array.from({ length: 20 }, (_, i) => `${i}`),
  );
});

it('puts the prefix of the client before keys, those of scripts too', async () => {
  const client = await clientOf({ keyPrefix: 'prefix:' });
  const [set, script] = await sendTogether(client, [
    { name: 'set', args: ['key', 'value', 'EX', 100] },
    { name: 'eval', args: ['return KEYS[1] .. ARGV[1]', 1, 'key', 'argument'] },
  ]);
  expect(set).toEqual([null, Buffer.from('OK')]);
  expect(script).toEqual([null, Buffer.from('prefix:keyargument')]);
  const bare = await clientOf();
  expect(await bare.get('prefix:key')).toBe('value');
});

it.each([
  ['before it reaches Redis', 'cut-before', 'ab'],
  ['after it took effect', 'cut-after', 'abc'],
] as const)('sends nothing again when the connection is lost at a command, %s', async (_, decision, left) => {
  const key = `cut ${decision}`;
  const gate = await openCommandGate(server, {
    onCommand: ({ args: [, text] }) => (String(text) === 'c' ? decision : 'pass'),
  });
  onTestFinished(() => gate.close());
  const client = await clientOf({ port: gate.port });
  const results = await sendTogether(
    client,
    ['a', 'b', 'c', 'd'].map((text) => append(key, text)),
  );
  expect(results.map(([error, reply]) => error?.name ?? reply)).toEqual([1, 2, 'AbortError', 'AbortError']);
  // What is sent over the next connection gets replies of its own.
  await once(client, 'ready');
  const again = await sendTogether(client, [{ name: 'echo', args: ['mine'] }, append(key, 'e')]);
  expect(again.map(([, reply]) => String(reply))).toEqual(['mine', `${left.length + 1}`]);
  const direct = await clientOf();
  expect(await direct.get(key)).toBe(`${left}e`);
});

it('sends nothing again of groups that are under way together, wherever they are cut', async () => {
  for (const cutAt of [1, 2, 3, 4]) {
    const key = `groups ${cutAt}`;
    let commands = 0;
    const gate = await openCommandGate(server, { onCommand: () => (++commands === cutAt ? 'cut-before' : 'pass') });
    onTestFinished(() => gate.close());
    const client = await clientOf({ port: gate.port });
    const groups = [['a', 'b'], ['c', 'd', 'e'], ['f']].map((texts) =>
      sendTogether(
        client,
        texts.map((text) => append(key, text)),
      ),
    );
    const results = (await Promise.all(groups)).flat();
    expect(results.filter(([error]) => error === null).map(([, reply]) => reply)).toEqual(
      [1, 2, 3].slice(0, cutAt - 1),
    );
    if (client.status !== 'ready') await once(client, 'ready');
    expect(String((await sendTogether(client, [{ name: 'echo', args: ['mine'] }]))[0]?.[1])).toBe('mine');
    const direct = await clientOf();
    expect(await direct.strlen(key)).toBe(cutAt - 1);
  }
});

it('sends nothing where no reply had come when the connection was lost', async () => {
  const gate = await openCommandGate(server, { onCommand: () => 'cut-before' });
  onTestFinished(() => gate.close());
  const client = await clientOf({ port: gate.port });
  const results = await sendTogether(client, [append('first', 'a'), append('first', 'b')]);
  expect(results.map(([error]) => error?.name)).toEqual(['AbortError', 'AbortError']);
  await once(client, 'ready');
  const direct = await clientOf();
  await direct.append('first', 'c');
  expect(await direct.get('first')).toBe('c');
});

it('sends nothing over a connection that is being closed', async () => {
  const client = await clientOf();
  client.stream.end();
  const results = await sendTogether(client, [append('closing', 'a')]);
  expect(results.map(([error]) => error?.message)).toEqual(['the connection is being closed']);
  await once(client, 'ready');
  expect(await client.exists('closing')).toBe(0);
});
