import { connect } from 'node:net';
import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type CommandGate,
  CommandSequence,
  type GateCommand,
  type GateOptions,
  openCommandGate,
} from '../command-gate.ts';
import { type RedisServer, startRedis, startRedisCluster } from '../redis-servers.ts';
import { RespSplitter } from '../resp.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: RedisServer;
let direct: Redis;
const closing: (() => unknown)[] = [];
beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.connection);
});
afterAll(async () => {
  direct.disconnect();
  await server.stop();
});
beforeEach(() => direct.flushall());
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function open(options?: GateOptions | CommandSequence): Promise<CommandGate> {
  const gate = await openCommandGate(server, options);
  closing.push(() => gate.close());
  return gate;
}

function client(gate: CommandGate, protocol: 2 | 3 = 3): Redis {
  const redis = new Redis({ port: gate.port, protocol, retryStrategy: () => null });
  redis.on('error', () => {});
  closing.push(() => redis.disconnect());
  return redis;
}

describe.each([2, 3] as const)('a gate that lets everything pass, RESP%i', (protocol) => {
  it('passes pipelines with every kind of reply', async () => {
    const commands: GateCommand[] = [];
    const gate = await open({ afterCommand: (command) => void commands.push(command) });
    const run = (redis: Redis) =>
      redis
        .pipeline()
        .call('DEBUG', ['SLEEP', '0'])
        .hset('hash', { a: '1', b: '2' })
        .hgetall('hash')
        .hget('hash', 'none')
        .zadd('zset', '1.5', 'x', '2.5', 'y')
        .zrange('zset', '0', '-1', 'WITHSCORES')
        .zscore('zset', 'x')
        .eval("return {1, {2, {}, false}, 'three', {err = 'inner'}}", 0)
        .eval('redis.setresp(3); return {map = {a = {double = 0.5}, b = true}}', 0)
        .eval("redis.setresp(3); return {big_number = '12345678901234567890'}", 0)
        .eval("redis.setresp(3); return {verbatim_string = {format = 'txt', string = 'text'}}", 0)
        .incr('hash')
        .sadd('set', 'a')
        .smembers('set')
        .exec();
    const results = await run(client(gate, protocol));
    await direct.flushall();
    const other = new Redis({ ...server.connection, protocol });
    closing.push(() => other.disconnect());
    expect(results).toEqual(await run(other));
    expect(gate.commands).toBe(14);
    expect(commands.map(({ index }) => index)).toEqual(Array.from({ length: 14 }, (_, index) => index));
    expect(commands[1]).toMatchObject({ name: 'HSET', targetPort: server.port });
  });

  it('passes binary and large values, and transactions', async () => {
    const redis = client(await open(), protocol);
    const large = Buffer.alloc(20_000_000, 'x\r\n$5\r\n');
    const binary = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const pipeline = redis.pipeline().set('large', large).set(binary, binary).getBuffer('large').getBuffer(binary);
    const [, , third, fourth] = (await pipeline.exec()) as [unknown, Buffer][];
    expect(third?.[1].equals(large)).toBe(true);
    expect(fourth?.[1].equals(binary)).toBe(true);
    expect(await redis.multi().incr('n').incr('n').get('n').exec()).toEqual([
      [null, 1],
      [null, 2],
      [null, '2'],
    ]);
    const many = redis.pipeline();
    for (let i = 0; i < 1_000; i += 1) many.set(`key:${i}`, i);
    expect(await many.exec()).toHaveLength(1_000);
    expect(await direct.get('key:999')).toBe('999');
  });
});

describe('cuts', () => {
  const pipeline = (redis: Redis) => redis.pipeline().set('a', 1).set('b', 1).set('c', 1).exec();

  it.each([
    ['cut-before', 0, []],
    ['cut-before', 1, ['a']],
    ['cut-before', 2, ['a', 'b']],
    ['cut-after', 0, ['a']],
    ['cut-after', 1, ['a', 'b']],
    ['cut-after', 2, ['a', 'b', 'c']],
  ] as const)('%s at command %i of a pipeline', async (decision, at, keys) => {
    const gate = await open({ onCommand: ({ index }) => (index === at ? decision : 'pass') });
    const outcome = await pipeline(client(gate)).catch((error: Error) => [[error]]);
    expect(outcome?.at(-1)?.[0]).toMatchObject({
      message: expect.stringMatching(/Connection is closed|connection close/),
    });
    // ioredis rejects a pipeline as a whole when no reply came, else the commands that got none.
    expect(outcome?.filter(([error]) => error === null)).toHaveLength(at);
    expect((await direct.keys('*')).sort()).toEqual(keys);
    expect(gate.commands).toBe(at + 1);
    expect(await pipeline(client(gate))).toHaveLength(3);
  });

  it('hands out the replies from before the cut, and drops commands of all connections after it', async () => {
    const gate = await open({ onCommand: async ({ args }) => (args[0]?.toString() === 'cut' ? 'cut-after' : 'pass') });
    const [one, two] = [client(gate), client(gate)];
    await Promise.all([one.ping(), two.ping()]);
    const replies = [one.set('a', 1), one.set('cut', 1), one.set('b', 1), two.set('c', 1)];
    const states = (await Promise.allSettled(replies)).map(({ status }) => status);
    expect(states.slice(0, 3)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(await direct.exists('a', 'cut')).toBe(2);
    expect(await direct.exists('b')).toBe(0);
    // Whether the other connection's command came before the cut is open; its reply tells.
    expect(await direct.exists('c')).toBe(states[3] === 'fulfilled' ? 1 : 0);
  });

  it('refuses connections after a cut until it is reopened', async () => {
    const gate = await open({ onCommand: ({ index }) => (index === 0 ? 'cut-before' : 'pass'), refuseAfterCut: true });
    await expect(client(gate).get('a')).rejects.toThrow('Connection is closed.');
    await expect(client(gate).get('a')).rejects.toThrow('Connection is closed.');
    expect(gate.commands).toBe(1);
    gate.reopen();
    expect(await client(gate).get('a')).toBe(null);
    const waiting = client(gate);
    await waiting.get('a');
    gate.cut();
    await expect(waiting.get('a')).rejects.toThrow('Connection is closed.');
  });

  it('waits for afterCommand before the client gets its reply and before the next command', async () => {
    const seen: string[] = [];
    const gate = await open({
      afterCommand: async ({ name, args }) => {
        const size = await direct.dbsize();
        seen.push(`${name} ${args[0]} ${size}`);
      },
    });
    await pipeline(client(gate)).then(() => seen.push('replies'));
    expect(seen).toEqual(['SET a 1', 'SET b 2', 'SET c 3', 'replies']);
  });

  it('reports what a hook throws when it is closed', async () => {
    const gate = await openCommandGate(server, {
      afterCommand: () => {
        throw new Error('no TTL');
      },
    });
    await expect(client(gate).set('a', 1)).rejects.toThrow('Connection is closed.');
    await expect(client(gate).set('b', 1)).rejects.toThrow('Connection is closed.');
    await expect(gate.close()).rejects.toThrow('no TTL');
    expect(await direct.keys('*')).toEqual(['a']);
  });
});

describe('odd clients and servers', () => {
  it('refuses what has not exactly one reply, and inline commands', async () => {
    const redis = client(await open());
    await expect(redis.call('SUBSCRIBE', ['channel'])).rejects.toThrow('cannot pass SUBSCRIBE');
    await expect(redis.call('CLIENT', ['REPLY', 'OFF'])).rejects.toThrow('cannot pass CLIENT');
    expect(await redis.ping()).toBe('PONG');
    const gate = await open();
    const socket = connect(gate.port, '127.0.0.1', () => socket.write('PING\r\n'));
    const received: Buffer[] = [];
    socket.on('data', (chunk) => received.push(chunk));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(String(Buffer.concat(received))).toBe('-ERR the command gate cannot read this: not RESP: PING\r\n');
  });

  it('passes on what a client sent before it hung up', async () => {
    const gate = await open();
    const socket = connect(gate.port, '127.0.0.1');
    socket.end('*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n');
    await vi.waitFor(async () => expect(await direct.get('a')).toBe('2'));
  });

  it('passes on pushes between replies', async () => {
    const redis = client(await open());
    const received: Buffer[] = [];
    await redis.call('CLIENT', ['TRACKING', 'ON']);
    await redis.set('a', 1);
    await redis.get('a');
    redis.stream.on('data', (chunk: Buffer) => received.push(chunk));
    await direct.set('a', 2);
    await vi.waitFor(() => expect(String(Buffer.concat(received))).toContain('invalidate'));
    expect(await redis.get('a')).toBe('2');
  });

  it('ends connections when the server dies, and closes while it is frozen', async () => {
    const own = await startRedis();
    closing.push(() => own.stop());
    const gate = await openCommandGate(own);
    const [one, two] = [client(gate), client(gate)];
    await Promise.all([one.ping(), two.ping()]);
    own.pause();
    const waiting = [one.set('a', 1), two.set('b', 1)].map((reply) => reply.catch((error: Error) => error.message));
    await gate.close();
    expect(await Promise.all(waiting)).toEqual(['Connection is closed.', 'Connection is closed.']);
    own.resume();
    const again = await openCommandGate(own);
    closing.push(() => again.close());
    const three = client(again);
    await three.ping();
    const ended = new Promise((resolve) => three.once('end', resolve));
    await own.kill();
    await ended;
  });
});

describe('a sequence of gates before a cluster', () => {
  it('counts and cuts together', async () => {
    const servers = await startRedisCluster();
    closing.push(() => servers.stop());
    const seen: GateCommand[] = [];
    const sequence = new CommandSequence({
      refuseAfterCut: true,
      onCommand: (command) => {
        seen.push(command);
        return command.index === 29 ? 'cut-before' : 'pass';
      },
    });
    const gates = await Promise.all(servers.nodes.map((node) => openCommandGate(node, sequence)));
    closing.push(() => Promise.all(gates.map((gate) => gate.close())));
    const natMap = Object.fromEntries(
      servers.nodes.map(({ port }, index) => [
        `127.0.0.1:${port}`,
        { host: '127.0.0.1', port: gates[index]?.port ?? 0 },
      ]),
    );
    const cluster = new Cluster(
      gates.map(({ port }) => ({ host: '127.0.0.1', port })),
      {
        natMap,
        slotsRefreshTimeout: 5_000,
        clusterRetryStrategy: () => null,
        redisOptions: { maxRetriesPerRequest: 0 },
      },
    );
    closing.push(() => cluster.disconnect());
    cluster.on('error', () => {});
    for (let i = 0; i < 29; i += 1) await cluster.set(`key:${i}`, i);
    await expect(cluster.set('key:29', 29)).rejects.toThrow();
    expect(gates.map(({ commands }) => commands)).toEqual([30, 30, 30]);
    expect(seen.map(({ index }) => index)).toEqual(Array.from({ length: 30 }, (_, index) => index));
    expect(new Set(seen.map(({ targetPort }) => targetPort))).toEqual(new Set(servers.nodes.map(({ port }) => port)));
    await expect(client(gates[0] as CommandGate).get('a')).rejects.toThrow('Connection is closed.');
    sequence.reopen();
    expect(await client(gates[0] as CommandGate).ping()).toBe('PONG');
  });
});

describe('RespSplitter', () => {
  const messages = [
    '+OK\r\n',
    '-ERR no\r\n',
    ':1\r\n',
    '$-1\r\n',
    '$0\r\n\r\n',
    '$6\r\na\r\nb\r\n\r\n',
    '*-1\r\n',
    '*0\r\n',
    '*3\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n$-1\r\n',
    '%2\r\n+a\r\n*1\r\n:1\r\n+b\r\n%0\r\n',
    '~2\r\n#t\r\n_\r\n',
    '|1\r\n+ttl\r\n:1\r\n*2\r\n,1.5\r\n(123\r\n',
    '*2\r\n|1\r\n+ttl\r\n:1\r\n:7\r\n=5\r\ntxt:a\r\n',
    '!3\r\nERR\r\n',
    '>2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n',
  ];

  it.each([1, 2, 3, 7, 1_000])('cuts messages out of chunks of %i bytes', (size) => {
    const stream = Buffer.from(messages.join(''));
    const splitter = new RespSplitter();
    const found: string[] = [];
    for (let at = 0; at < stream.length; at += size) {
      found.push(...splitter.push(stream.subarray(at, at + size)).map(String));
    }
    expect(found).toEqual(messages);
  });
});
