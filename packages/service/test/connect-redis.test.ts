import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { type Certificates, makeCertificates } from '@spanbuf/tooling/certificates';
import {
  type RedisClusterServers,
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '@spanbuf/tooling/redis-servers';
import type { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { type ConnectRedisOptions, connectRedis, parseRedisUrl, RedisNotOpenError } from '../src/index.ts';

const clients: (Redis | Cluster)[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
});

async function open(url: string, options: Partial<ConnectRedisOptions> = {}): Promise<Redis | Cluster> {
  const client = await connectRedis(parseRedisUrl(url), { timeoutSeconds: 10, clientName: 'a-test', ...options });
  clients.push(client);
  return client;
}

/** What the error says, and whether waiting could help. */
async function refusal(url: string, options: Partial<ConnectRedisOptions> = {}): Promise<[string, boolean]> {
  const error = await open(url, options).catch((reason: unknown) => reason);
  if (!(error instanceof RedisNotOpenError)) throw new Error(`not refused, but ${error}`);
  expect(error.message).toMatch(/^cannot use redis[^\n]*$/);
  return [error.message.replace(/^cannot use \S+ /, ''), error.retriable];
}

/** A port that nobody listens to. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

const TARGETS = ['one node', 'a cluster'] as const;
const urlOf = (target: (typeof TARGETS)[number]) => inject(target === 'one node' ? 'redisUrl' : 'redisClusterUrl');

describe.each(TARGETS)('connectRedis, %s', (target) => {
  it('gives a client that is ready, under its name and with its prefix', async () => {
    const client = await open(urlOf(target), { keyPrefix: 'span-buf-test:' });
    const key = `connect-${target.replace(' ', '-')}`;
    expect(await client.set(key, '1', 'EX', 60)).toBe('OK');
    expect(await (await open(urlOf(target))).get(`span-buf-test:${key}`)).toBe('1');
    const node = client.isCluster ? (client as Cluster).nodes('master')[0] : client;
    expect(await (node as Redis).client('GETNAME')).toBe('a-test');
  });

  it('gives the reason of the last attempt when the time is over', async () => {
    const scheme = target === 'one node' ? 'redis' : 'redis-cluster';
    const [reason, retriable] = await refusal(`${scheme}://127.0.0.1:${await freePort()}`, { timeoutSeconds: 1 });
    expect(reason).toContain('ECONNREFUSED');
    expect(retriable).toBe(true);
  });

  it('does not try again when told so', async () => {
    const scheme = target === 'one node' ? 'redis' : 'redis-cluster';
    const [reason, retriable] = await refusal(`${scheme}://127.0.0.1:${await freePort()}`, {
      timeoutSeconds: 3_600,
      failsAtOnce: true,
    });
    expect(reason).toContain('ECONNREFUSED');
    expect(retriable).toBe(true);
  });

  it('gives up on what never answers', async () => {
    const silent = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as { port: number };
    const scheme = target === 'one node' ? 'redis' : 'redis-cluster';
    expect(await refusal(`${scheme}://127.0.0.1:${port}`, { timeoutSeconds: 0.5 })).toEqual([
      'no answer within 0.5 s',
      true,
    ]);
    // Nothing is left that would go on connecting.
    await expect
      .poll(() => new Promise<number>((resolve) => silent.getConnections((_, count) => resolve(count))))
      .toBe(0);
    silent.close();
  });
});

describe('connectRedis', () => {
  it('refuses one node where a cluster should be, and the other way round', async () => {
    const node = inject('redisUrl').replace('redis:', 'redis-cluster:');
    expect(await refusal(node)).toEqual(['it is not a cluster: use redis://', false]);
    const [seed = ''] = inject('redisClusterUrl').split(',');
    expect(await refusal(seed.replace('redis-cluster:', 'redis:'))).toEqual([
      'it is a node of a cluster: use redis-cluster://',
      false,
    ]);
  });

  it('refuses what is not Redis', async () => {
    const server = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    expect(await refusal(`redis://127.0.0.1:${port}`)).toEqual(['what answers there is not Redis', false]);
    server.close();
  });

  it('refuses a database that is not there', async () => {
    expect(await refusal(`${inject('redisUrl')}/99999`)).toEqual(['ERR DB index is out of range', false]);
    expect(await (await open(`${inject('redisUrl')}/3`)).client('INFO')).toContain(' db=3 ');
  });

  it('refuses a version that is too old', async () => {
    // No such Redis is at hand: a server that says what Redis 6.2 says to HELLO.
    const hello =
      '%7\r\n+server\r\n+redis\r\n+version\r\n+6.2.14\r\n+proto\r\n:3\r\n+id\r\n:1\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n+modules\r\n*0\r\n';
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        for (const _ of String(data).matchAll(/^\*\d/gm)) socket.write(/hello/i.test(String(data)) ? hello : '+OK\r\n');
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    expect(await refusal(`redis://127.0.0.1:${port}`)).toEqual(['it is Redis 6.2.14, and 7 or newer is needed', false]);
    server.close();
  });

  it('needs one seed of a cluster, not all', async () => {
    const [seed] = inject('redisClusterUrl').replace('redis-cluster://', '').split(',');
    const client = await open(`redis-cluster://127.0.0.1:${await freePort()},${seed}`);
    expect((client as Cluster).nodes('master')).toHaveLength(3);
  });

  it('waits for a Redis that is not there yet', async () => {
    const server = await startRedis();
    try {
      await server.kill();
      const opening = open(server.url, { timeoutSeconds: 30 });
      await server.restart();
      expect(await (await opening).ping()).toBe('PONG');
    } finally {
      await server.stop();
    }
  });
});

describe.each(TARGETS)('connectRedis and %s that goes away', (target) => {
  it('finds it again, and tells of it', async () => {
    const server = target === 'one node' ? await startRedis() : await startRedisCluster();
    const nodes = 'nodes' in server ? server.nodes : [server];
    try {
      const errors: string[] = [];
      const client = await open(server.url, { onError: ({ message }) => errors.push(message) });
      expect(errors).toEqual([]);
      await Promise.all(nodes.map((node) => node.kill()));
      await expect.poll(() => errors.length, { timeout: 10_000 }).toBeGreaterThan(0);
      await Promise.all(nodes.map((node) => node.restart()));
      const write = () => client.set('key', '1', 'EX', 60).catch(String);
      await expect.poll(write, { timeout: 20_000 }).toBe('OK');
    } finally {
      await server.stop();
    }
  });
});

/** What a client needs to find its way, beside the keys of an app. */
const CLIENT_COMMANDS = '+client|setname +info +cluster|slots +cluster|info';
const users = {
  app: `on >right ~own:* -@all +get +set ${CLIENT_COMMANDS}`,
  /** Without INFO. */
  shy: 'on >right ~own:* -@all +get +set +client|setname +cluster|slots',
  lost: 'on >right ~own:* -@all +get +set',
};
const acl = Object.entries(users).map(([name, rules]) => `user ${name} ${rules}`);

describe.each(TARGETS)('connectRedis as a user of %s', (target) => {
  let server: RedisServer | RedisClusterServers;
  let as: (login: string) => string;

  beforeAll(async () => {
    server = target === 'one node' ? await startRedis({ acl }) : await startRedisCluster({ acl });
    as = (login) => server.url.replace('://', `://${login}@`);
    const admin = await open(server.url);
    const nodes = admin.isCluster ? (admin as Cluster).nodes('master') : [admin as Redis];
    await Promise.all(nodes.map((node) => node.config('SET', 'requirepass', 'secret')));
  });
  afterAll(() => server.stop());

  it('works with the least that a client needs, and uses nothing else', async () => {
    const printed = vi.spyOn(console, 'warn').mockClear();
    const warnings: string[] = [];
    const client = await open(as('app:right'), { onWarning: (message) => warnings.push(message) });
    expect(await client.set('own:key', '1', 'EX', 60)).toBe('OK');
    const admin = await open(as(':secret'));
    const nodes = admin.isCluster ? (admin as Cluster).nodes('master') : [admin as Redis];
    for (const node of nodes) expect(await node.call('ACL', 'LOG')).toEqual([]);
    await expect(client.get('of-others')).rejects.toThrow('NOPERM');
    expect([...warnings, ...printed.mock.calls]).toEqual([]);
  });

  it('says once that a user may not call INFO, and works', async () => {
    const printed = vi.spyOn(console, 'warn').mockClear();
    const warnings: string[] = [];
    const client = await open(as('shy:right'), { onWarning: (message) => warnings.push(message) });
    expect(await client.set('own:key', '1', 'EX', 60)).toBe('OK');
    expect(warnings).toEqual([expect.stringContaining('INFO')]);
    // ioredis prints it for the connection that a cluster keeps for subscriptions, which cannot be told otherwise.
    expect(printed.mock.calls.length).toBeLessThanOrEqual(client.isCluster ? 1 : 0);
  });

  it('names the command that a user needs and may not call', async () => {
    const url = target === 'one node' ? `${as('lost:right')}/1` : as('lost:right');
    const [reason, retriable] = await refusal(url);
    expect(reason).toMatch(target === 'one node' ? /^NOPERM .*select/ : /^NOPERM .*cluster\|slots/);
    expect(retriable).toBe(false);
  });

  it.each(['app:wrong-secret', ':wrong-secret', 'nobody:wrong-secret'])(
    'refuses %s, and does not tell it',
    async (login) => {
      const [reason, retriable] = await refusal(as(login));
      expect(reason).toMatch(/^WRONGPASS /);
      expect(reason).not.toContain('wrong-secret');
      expect(retriable).toBe(false);
    },
  );

  it('says that a password is missing', async () => {
    expect(await refusal(server.url)).toEqual(['it wants a password', false]);
  });
});

describe.each(TARGETS)('connectRedis over TLS, %s', (target) => {
  let certificates: Certificates;
  let server: RedisServer | RedisClusterServers;
  let url: string;

  beforeAll(async () => {
    certificates = await makeCertificates();
    const options = { certificates, acl };
    server = target === 'one node' ? await startRedis(options) : await startRedisCluster(options);
    url =
      'tlsPort' in server
        ? `rediss://app:right@127.0.0.1:${server.tlsPort}`
        : `${server.tlsUrl}`.replace('://', '://app:right@');
  });
  afterAll(async () => {
    await server.stop();
    certificates.remove();
  });

  it('trusts the authority that it is given', async () => {
    const client = await open(url, { tlsCa: certificates.ca });
    expect(await client.set('own:key', '1', 'EX', 60)).toBe('OK');
    const sockets = client.isCluster ? (client as Cluster).nodes('master') : [client as Redis];
    const used = sockets.filter(({ status }) => status === 'ready');
    expect(used.length).toBeGreaterThan(0);
    for (const { stream } of used) expect(stream).toHaveProperty('authorized', true);
  });

  it('refuses a certificate that it has no reason to trust', async () => {
    const [reason, retriable] = await refusal(url);
    expect(reason).toMatch(/^its certificate is not trusted: /);
    expect(retriable).toBe(false);
  });
});

describe('connectRedis over TLS', () => {
  let certificates: Certificates;
  let server: RedisServer;

  beforeAll(async () => {
    certificates = await makeCertificates();
    server = await startRedis({ certificates });
  });
  afterAll(async () => {
    await server.stop();
    certificates.remove();
  });

  it('refuses a certificate that is for another host', async () => {
    const proxy = createServer((socket) => {
      socket
        .on('error', () => undefined)
        .pipe(connect(server.tlsPort as number, '127.0.0.1'))
        .pipe(socket);
    }).listen(0, '127.0.0.2');
    await once(proxy, 'listening');
    const { port } = proxy.address() as { port: number };
    const [reason] = await refusal(`rediss://127.0.0.2:${port}`, { tlsCa: certificates.ca });
    expect(reason).toMatch(/^its certificate is not trusted: .*127\.0\.0\.2/);
    proxy.close();
  });

  it('says so when only one side speaks TLS', async () => {
    const [plain] = await refusal(`redis://127.0.0.1:${server.tlsPort}`, { failsAtOnce: true });
    expect(plain).toBe('it closed the connection; does it want TLS (rediss)?');
    // Redis takes the greeting for the beginning of a command, and waits for the rest.
    const [tls] = await refusal(server.url.replace('redis', 'rediss'), { tlsCa: certificates.ca, failsAtOnce: true });
    expect(tls).toBe('connect ETIMEDOUT; does it speak TLS?');
  });
});
