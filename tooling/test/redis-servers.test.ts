import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Certificates, makeCertificates } from '../certificates.ts';
import { type RedisClusterServers, startRedis, startRedisCluster } from '../redis-servers.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

// The servers' directories go here, where no other process has any. That it is empty in the end is a test, too.
const temporary = mkdtempSync(join(tmpdir(), 'spanbuf-tooling-'));
vi.stubEnv('TMPDIR', temporary);
afterAll(() => rmdirSync(temporary));

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function redis(port: number): Redis {
  const client = new Redis({ port, retryStrategy: () => null });
  client.on('error', () => {});
  closing.push(() => client.disconnect());
  return client;
}

const failed = (reply: Promise<unknown>): Promise<string> =>
  reply.then(
    () => 'no error',
    (error: Error) => error.message,
  );

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

describe('startRedis', () => {
  it('starts a server without persistence and stops it without a trace', async () => {
    const directories = readdirSync(temporary);
    const server = await startRedis({ args: ['--maxmemory', '12mb'] });
    const { pid } = server;
    const client = redis(server.port);
    expect(await client.set('key', 'value')).toBe('OK');
    expect(await client.config('GET', 'maxmemory')).toEqual(['maxmemory', `${12 * 1024 * 1024}`]);
    expect(await client.config('GET', 'save')).toEqual(['save', '']);
    expect(await client.info('server')).toContain(`process_id:${pid}`);
    expect(server.url).toBe(`redis://127.0.0.1:${server.port}`);
    await server.stop();
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    expect(await answers(server.port)).toBe(false);
    expect(readdirSync(temporary)).toEqual(directories);
    await server.stop();
  });

  it('restarts a killed server on its port, empty', async () => {
    const server = await startRedis();
    closing.push(() => server.stop());
    await redis(server.port).set('key', 'value');
    const { pid } = server;
    await server.kill('SIGKILL');
    expect(server.running).toBe(false);
    expect(() => server.pid).toThrow('not running');
    expect(await answers(server.port)).toBe(false);
    await server.restart();
    expect(server.pid).not.toBe(pid);
    expect(await redis(server.port).get('key')).toBe(null);
  });

  it('pauses and resumes, and stops a paused server', async () => {
    const server = await startRedis();
    closing.push(() => server.stop());
    const client = redis(server.port);
    await client.ping();
    server.pause();
    const order: string[] = [];
    const reply = client.set('key', 'value').then(() => order.push('reply'));
    await answers(server.port); // the kernel still takes connections
    order.push('resumed');
    server.resume();
    await reply;
    expect(order).toEqual(['resumed', 'reply']);
    server.pause();
    await server.kill('SIGTERM');
    expect(server.running).toBe(false);
  });

  it('says what is wrong when the server does not start', async () => {
    const before = readdirSync(temporary);
    await expect(startRedis({ args: ['--no-such-setting', '1'] })).rejects.toThrow(/Bad directive/);
    const path = process.env.PATH;
    closing.push(() => vi.stubEnv('PATH', path));
    vi.stubEnv('PATH', '/nonexistent');
    await expect(startRedis()).rejects.toThrow('redis-server is not installed: apt-get install redis-server');
    expect(readdirSync(temporary)).toEqual(before);
  });

  it.each(['SIGKILL', 'SIGTERM', 'SIGINT'] as const)(
    'ends with its parent (%s), paused servers too',
    async (signal) => {
      const module = new URL('../redis-servers.ts', import.meta.url).href;
      const program = `
      const { startRedis } = await import(${JSON.stringify(module)});
      const servers = await Promise.all([startRedis(), startRedis()]);
      servers[1].pause();
      console.log(JSON.stringify(servers.map(({ port, pid }) => ({ port, pid }))));
      setInterval(() => {}, 1e6);`;
      const before = readdirSync(temporary);
      const parent = spawn(process.execPath, ['--input-type=module', '-e', program]);
      const [line] = await once(parent.stdout, 'data');
      const servers = JSON.parse(String(line)) as { port: number; pid: number }[];
      expect(servers).toHaveLength(2);
      for (const { pid } of servers) expect(process.kill(pid, 0)).toBe(true);
      parent.kill(signal);
      await once(parent, 'exit');
      for (const { port } of servers) await vi.waitFor(async () => expect(await answers(port)).toBe(false));
      await vi.waitFor(() => expect(readdirSync(temporary)).toEqual(before));
    },
  );

  it('does not keep its parent waiting when it is forgotten', async () => {
    const module = new URL('../redis-servers.ts', import.meta.url).href;
    const program = `console.log((await (await import(${JSON.stringify(module)})).startRedis()).port)`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', program]);
    const [[port], [code]] = await Promise.all([once(parent.stdout, 'data'), once(parent, 'exit')]);
    expect(code).toBe(0);
    await vi.waitFor(async () => expect(await answers(Number(port))).toBe(false));
  });
});

describe('certificates and users', () => {
  let certificates: Certificates;
  beforeAll(async () => {
    certificates = await makeCertificates();
  });
  afterAll(() => certificates.remove());

  it('are asked for by one node', async () => {
    const server = await startRedis({ certificates, acl: ['user app on >secret ~app:* +get', 'user idle off'] });
    closing.push(() => server.stop());
    const connectBy = (options: { tls?: { ca?: string }; username?: string; password?: string }) => {
      const fixed = { port: server.tlsPort ?? 0, retryStrategy: () => null, enableReadyCheck: false };
      const client = new Redis({ ...fixed, ...options });
      client.on('error', () => {});
      closing.push(() => client.disconnect());
      return client;
    };
    const tls = { ca: certificates.ca };
    const app = connectBy({ tls, username: 'app', password: 'secret' });
    expect(await app.get('app:1')).toBe(null);
    expect(await failed(app.get('other'))).toMatch(/^NOPERM/);
    expect(await failed(app.set('app:1', 'x'))).toMatch(/^NOPERM/);
    expect(await failed(connectBy({ tls, username: 'app', password: 'wrong' }).get('app:1'))).not.toBe('no error');
    expect(await redis(server.port).acl('USERS')).toEqual(['app', 'default', 'idle']);

    const other = await makeCertificates();
    closing.push(() => other.remove());
    for (const options of [{ tls: { ca: other.ca } }, { tls: {} }, {}]) {
      expect(await failed(connectBy(options).ping())).not.toBe('no error');
    }
  });

  it('are those of every node of a cluster, which moves slots and fails over as any other', async () => {
    const acl = ['user app on >secret ~* &* +@all -@dangerous +cluster +info'];
    const servers = await startRedisCluster({ certificates, acl, replicas: 1, nodeTimeoutMs: 1_000 });
    closing.push(() => servers.stop());
    expect(servers.tlsUrl).toBe(
      `rediss-cluster://${servers.nodes.map(({ tlsPort }) => `127.0.0.1:${tlsPort}`).join()}`,
    );
    const secure = new Cluster(
      servers.nodes.map(({ tlsPort }) => ({ host: '127.0.0.1', port: tlsPort ?? 0 })),
      { redisOptions: { tls: { ca: certificates.ca }, username: 'app', password: 'secret' } },
    );
    const plain = new Cluster([...servers.seeds]);
    closing.push(() => [secure, plain].map((client) => client.disconnect()));
    const names = Array.from({ length: 30 }, (_, index) => `key:${index}`);
    await Promise.all(names.map((name) => secure.set(name, name)));
    const [first, second] = servers.nodes;
    if (!first || !second) throw new Error('too few nodes');
    await secure.set('{foo}', 'value'); // slot 12182, of the third master
    await servers.migrateSlot(12182, first);
    await servers.failover(second);
    expect(await secure.get('{foo}')).toBe('value');
    expect(await Promise.all(names.map((name) => secure.get(name)))).toEqual(names);
    expect(await Promise.all(names.map((name) => plain.get(name)))).toEqual(names);
    expect(await failed(secure.flushall())).toMatch(/NOPERM/);
  });
});

describe('startRedisCluster', () => {
  // Slot 12182 belongs to the third master at first.
  const slot = 12182;
  const keys = ['{foo}:1', '{foo}:2'] as const;
  let servers: RedisClusterServers;
  beforeAll(async () => {
    servers = await startRedisCluster();
  });
  afterAll(() => servers.stop());

  function clusterClient(seeds = servers.seeds): Cluster {
    const client = new Cluster([...seeds], { slotsRefreshTimeout: 5_000 });
    closing.push(() => client.disconnect());
    return client;
  }

  it('makes a cluster that every node knows', async () => {
    expect(servers.nodes).toHaveLength(3);
    expect(servers.url).toBe(`redis-cluster://${servers.nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`);
    for (const { port } of servers.nodes) {
      const info = await redis(port).cluster('INFO');
      expect(info).toContain('cluster_state:ok');
      expect(info).toContain('cluster_slots_ok:16384');
      expect(await redis(port).config('GET', 'cluster-node-timeout')).toEqual(['cluster-node-timeout', '5000']);
    }
    expect(await servers.ownerOf(0)).toBe(servers.nodes[0]);
    expect(await servers.ownerOf(slot)).toBe(servers.nodes[2]);
    const client = clusterClient();
    const names = Array.from({ length: 100 }, (_, index) => `key:${index}`);
    await Promise.all(names.map((name) => client.set(name, name)));
    expect(await Promise.all(names.map((name) => client.get(name)))).toEqual(names);
  });

  it('holds a slot half-migrated while clients read it', async () => {
    const [, target, source] = servers.nodes;
    if (!source || !target) throw new Error('too few nodes');
    const client = clusterClient();
    for (const key of keys) await client.set(key, key);
    const direct = redis(source.port);

    const migration = await servers.beginSlotMigration(slot, target);
    expect(await direct.get(keys[0])).toBe(keys[0]);
    await migration.moveKeys([keys[0]]);
    expect(await failed(direct.get(keys[0]))).toBe(`ASK ${slot} 127.0.0.1:${target.port}`);
    expect(await failed(direct.mget(...keys))).toMatch(/^TRYAGAIN/);
    expect(await failed(redis(target.port).get(keys[0]))).toBe(`MOVED ${slot} 127.0.0.1:${source.port}`);
    expect(await client.get(keys[0])).toBe(keys[0]);
    await expect(migration.moveKeys(['{foo}:none'])).rejects.toThrow('NOKEY');

    await migration.finish();
    expect(await failed(direct.get(keys[0]))).toBe(`MOVED ${slot} 127.0.0.1:${target.port}`);
    expect(await client.mget(...keys)).toEqual(keys);
    expect(await servers.ownerOf(slot)).toBe(target);
  });

  it('migrates a slot with many binary keys, there and back', async () => {
    const [first, second] = servers.nodes;
    if (!first || !second) throw new Error('too few nodes');
    const client = clusterClient();
    const names = Array.from({ length: 250 }, (_, index) => Buffer.from([...Buffer.from('{foo}'), 0xff, index, 0x00]));
    await Promise.all(names.map((name) => client.set(name, name)));
    for (const node of [first, second, first]) {
      if ((await servers.ownerOf(slot)) !== node) await servers.migrateSlot(slot, node);
      expect(await servers.ownerOf(slot)).toBe(node);
      expect(await Promise.all(names.map((name) => client.getBuffer(name)))).toEqual(names);
    }
    await expect(servers.migrateSlot(slot, await servers.ownerOf(slot))).rejects.toThrow('already');
  });

  it('fails over, in order and after a kill or a freeze', async () => {
    const cluster = await startRedisCluster({ replicas: 1, nodeTimeoutMs: 1_000 });
    closing.push(() => cluster.stop());
    const [master, , , replica] = cluster.nodes;
    if (!master || !replica) throw new Error('too few nodes');
    const client = clusterClient(cluster.seeds);
    await client.set('{bar}', 'value');
    expect(await cluster.failover(master)).toBe(replica);
    expect(await cluster.ownerOf(5061)).toBe(replica);
    expect(await client.get('{bar}')).toBe('value');

    await replica.kill();
    expect(await cluster.failover(replica)).toBe(master);
    expect(await redis(master.port).get('{bar}')).toBe('value');
    await replica.restart();
    await cluster.settled();

    master.pause();
    expect(await cluster.failover(master)).toBe(replica);
    master.resume();
    await cluster.settled();
    expect(await cluster.ownerOf(5061)).toBe(replica);
    await expect(cluster.failover(replica)).resolves.toBe(master);
  });

  it('leaves nothing running when a node does not start', async () => {
    const before = readdirSync(temporary);
    await expect(startRedisCluster({ args: ['--no-such-setting', '1'] })).rejects.toThrow(/Bad directive/);
    expect(readdirSync(temporary)).toEqual(before);
  });
});
