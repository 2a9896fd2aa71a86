/** `spanbuf doctor` on servers of its own: each fault is planted, and is found; where none is, none is found. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { DEFAULT_MAX_SPAN_BYTES } from '@spanbuf/buffer';
import { createKafka, type Kafka } from '@spanbuf/kafka';
import { flowSettings, parseSettings } from '@spanbuf/service';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import {
  type RedisClusterServers,
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { RawDoctorSettings } from '../src/doctor/doctor-settings.ts';
import { CHECKS, type Finding } from '../src/doctor/finding.ts';
import { missingRights, NEEDS } from '../src/doctor/redis-rights.ts';
import { type Diagnosis, runDoctor } from '../src/doctor/run-doctor.ts';
import { RewritingProxy } from './rewriting-proxy.ts';

const HEALTHY = ['--maxmemory', '200mb', '--maxmemory-policy', 'noeviction', '--lazyfree-lazy-expire', 'yes'];
const MIB = 2 ** 20;
const APPS = ['consumer', 'flusher'] as const;

interface Outcome {
  readonly diagnosis: Diagnosis;
  readonly findings: readonly Finding[];
  /** Of those that are not ok. */
  readonly wrong: readonly string[];
}

async function diagnose(
  env: Readonly<Record<string, string>>,
  { raw = {}, aheadSeconds = 0 }: { raw?: RawDoctorSettings; aheadSeconds?: number } = {},
): Promise<Outcome> {
  const stdout = new PassThrough();
  const chunks: Buffer[] = [];
  stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const { signal } = new AbortController();
  const clockMs = () => Date.now() + 1_000 * aheadSeconds;
  const diagnosis = await runDoctor({ ...raw, json: true }, { env, stdout, signal, clockMs });
  const lines = Buffer.concat(chunks).toString().trimEnd().split('\n');
  const objects = lines.map((line) => JSON.parse(line));
  const findings: Finding[] = objects.filter(({ type }) => type === 'finding');
  for (const finding of findings) expect(CHECKS).toContain(finding.check);
  const wrong = findings.filter(({ level }) => level !== 'ok');
  // What is wrong says why that matters and how to mend it.
  for (const { why, remedy } of wrong) expect([why, remedy]).toEqual([expect.any(String), expect.any(String)]);
  return { diagnosis, findings, wrong: wrong.map(({ check, level }) => `${level} ${check}`) };
}

async function config(server: RedisServer, ...pairs: string[]): Promise<void> {
  const client = new Redis(server.connection);
  try {
    await client.call('CONFIG', 'SET', ...pairs);
  } finally {
    client.disconnect();
  }
}

/** Until the test ends. */
async function plant(server: RedisServer, name: string, value: string): Promise<void> {
  const client = new Redis(server.connection);
  const before = (await client.config('GET', name)) as string[] | Record<string, string>;
  client.disconnect();
  onTestFinished(() => config(server, name, (Array.isArray(before) ? before[1] : before[name]) as string));
  await config(server, name, value);
}

/** The user of a service as deploy/redis/users.acl has it. */
function rulesOf(app: (typeof APPS)[number]): string[] {
  const line = readFileSync(new URL('../../../deploy/redis/users.acl', import.meta.url), 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`user spanbuf-${app} `));
  const [, , ...rules] = line?.match(/\([^)]*\)|\S+/g) ?? [];
  return rules;
}

describeWithKafka('spanbuf doctor', (brokers) => {
  let single: RedisServer;
  let servers: RedisClusterServers;
  /** By the port that each leads to. */
  const proxies = new Map<number, RewritingProxy>();
  let kafka: Kafka;

  beforeAll(async () => {
    const openDetour = async (port: number): Promise<number> => {
      const proxy = await RewritingProxy.open(port);
      proxies.set(port, proxy);
      return proxy.port;
    };
    [single, servers] = await Promise.all([
      startRedis({ args: HEALTHY }),
      startRedisCluster({ replicas: 1, args: HEALTHY, openDetour, nodeTimeoutMs: 30_000 }),
    ]);
    kafka = createKafka({ brokers: [brokers], clientId: 'doctor-test' });
    usual = await topics();
  });
  afterAll(async () => {
    for (const proxy of proxies.values()) proxy.close();
    await Promise.all([single?.stop(), servers?.stop(), kafka?.close()]);
  });

  /** As the cluster names it. */
  const nameOf = (node: RedisServer): string => `127.0.0.1:${proxies.get(node.port)?.port}`;

  type Configs = Partial<Record<'input' | 'deadLetter' | 'output', Record<string, string>>>;

  /** Topics of its own, in order but for what is given, and how the services would be told of them. */
  async function topics(configs: Configs = {}): Promise<Record<string, string>> {
    const id = randomBytes(6).toString('hex');
    const bytes = { input: MIB, deadLetter: 2 * MIB, output: 2 * MIB };
    await kafka.createTopics(
      (['input', 'deadLetter', 'output'] as const).map((name) => ({
        topic: `${name}-${id}`,
        partitionCount: 3,
        config: { 'max.message.bytes': `${bytes[name]}`, ...configs[name] },
      })),
    );
    return {
      SPANBUF_KAFKA_BROKERS: brokers,
      SPANBUF_INPUT_TOPIC: `input-${id}`,
      SPANBUF_DLQ_TOPIC: `deadLetter-${id}`,
      SPANBUF_OUTPUT_TOPIC: `output-${id}`,
    };
  }

  /** Those in order are made once. */
  let usual: Record<string, string>;
  const topicsOf = (configs: Configs | undefined) => (configs === undefined ? usual : topics(configs));
  const onSingle = async (configs?: Configs) => ({ ...(await topicsOf(configs)), SPANBUF_REDIS_URL: single.url });
  const onCluster = async (configs?: Configs) => ({ ...(await topicsOf(configs)), SPANBUF_REDIS_URL: servers.url });

  describe('a healthy system', () => {
    it.each([
      ['one node', onSingle],
      ['a cluster', onCluster],
    ])('has nothing wrong: %s', async (topology, env) => {
      const all = { SPANBUF_COMMIT: 'flushed' };
      const { diagnosis, wrong, findings } = await diagnose({ ...(await env()), ...all });
      expect({ diagnosis, wrong }).toEqual({ diagnosis: 'healthy', wrong: [] });
      const seen = new Set(findings.map(({ check }) => check));
      const elsewhere = ['redis-kind', 'redis-replicas', ...(topology === 'one node' ? ['redis-coverage'] : [])];
      expect(CHECKS.filter((check) => !seen.has(check))).toEqual(CHECKS.filter((check) => elsewhere.includes(check)));
    });

    it('is looked at for one of the services alone', async () => {
      const env = { ...(await onSingle()), SPANBUF_INPUT_TOPIC: 'no-such-topic' };
      const flusher = await diagnose(env, { raw: { app: 'flusher' } });
      expect(flusher).toMatchObject({ diagnosis: 'healthy', wrong: [] });
      expect((await diagnose(env, { raw: { app: 'consumer' } })).wrong).toEqual(['fault kafka-topic']);
    });

    it('changes nothing', async () => {
      const env = await onSingle();
      const client = new Redis(single.connection);
      onTestFinished(() => client.disconnect());
      await client.config('RESETSTAT');
      await diagnose(env);
      expect(await client.dbsize()).toBe(0);
      const writes = /^cmdstat_(set|hset|hdel|zadd|unlink|expire):calls=[1-9]/m;
      expect(await client.info('commandstats')).not.toMatch(writes);
    });
  });

  describe('Redis', () => {
    it.each([
      ['fault redis-eviction', 'maxmemory-policy', 'allkeys-lru'],
      ['fault redis-maxmemory', 'maxmemory', '0'],
      ['warning redis-lazyfree', 'lazyfree-lazy-expire', 'no'],
    ])('%s, on one node of a cluster', async (expected, name, value) => {
      const node = servers.nodes[1] as RedisServer;
      await plant(node, name, value);
      const { wrong, diagnosis, findings } = await diagnose(await onCluster());
      expect(wrong).toEqual([expected]);
      expect(diagnosis).toBe(expected.startsWith('fault') ? 'fault' : 'healthy');
      expect(findings[0]?.subject).toBe(nameOf(node));
    });

    it('is too old', async () => {
      const proxy = await RewritingProxy.open(single.port);
      onTestFinished(() => proxy.close());
      proxy.rewrite = (answer) => answer.replaceAll(/\b7\.0\.(\d+)/g, '6.2.$1');
      const env = { ...(await onSingle()), SPANBUF_REDIS_URL: `redis://127.0.0.1:${proxy.port}` };
      const { wrong, findings } = await diagnose(env);
      expect(wrong).toEqual(['fault redis-version']);
      expect(findings[0]?.detail).toMatch(/^it is Redis 6\.2\./);
    });

    it('is of another kind than the settings say', async () => {
      const node = { SPANBUF_REDIS_URL: single.url.replace('redis:', 'redis-cluster:') };
      expect((await diagnose({ ...(await onSingle()), ...node })).wrong).toEqual(['fault redis-kind']);
      const cluster = { SPANBUF_REDIS_URL: (servers.nodes[0] as RedisServer).url };
      expect((await diagnose({ ...(await onSingle()), ...cluster })).wrong).toEqual(['fault redis-kind']);
    });

    it('does not answer, which is no fault that was seen', async () => {
      const env = { ...(await onSingle()), SPANBUF_REDIS_URL: 'redis://127.0.0.1:1' };
      expect(await diagnose(env)).toMatchObject({ diagnosis: 'unknown', wrong: ['unknown redis-reach'] });
      const cluster = { ...env, SPANBUF_REDIS_URL: 'redis-cluster://127.0.0.1:1,127.0.0.1:2' };
      expect(await diagnose(cluster)).toMatchObject({ diagnosis: 'unknown', wrong: ['unknown redis-reach'] });
    });

    it('has a node that does not answer', async () => {
      const master = servers.nodes[0] as RedisServer;
      await master.kill();
      onTestFinished(async () => {
        await master.restart();
        await servers.settled();
      });
      const { wrong, findings } = await diagnose(await onCluster());
      expect(wrong).toEqual(['fault redis-reach']);
      expect(findings[0]).toMatchObject({ subject: nameOf(master), detail: expect.stringContaining('this master') });
    });

    it('has slots that nobody serves', async () => {
      const onAll = async (command: string) => {
        for (const node of servers.nodes) {
          const client = new Redis(node.connection);
          await client.call('CLUSTER', command, '5').catch(() => undefined);
          client.disconnect();
        }
      };
      for (const node of servers.nodes) await plant(node, 'cluster-require-full-coverage', 'no');
      const owner = await servers.ownerOf(5);
      onTestFinished(async () => {
        const client = new Redis(owner.connection);
        await client.call('CLUSTER', 'ADDSLOTS', '5');
        client.disconnect();
        await servers.settled();
      });
      await onAll('DELSLOTS');
      const { wrong, findings } = await diagnose(await onCluster());
      expect(wrong).toEqual(['fault redis-coverage']);
      expect(findings[0]?.detail).toContain('1 of 16384 slots are served by no node');
    });

    it('has fewer replicas than a batch waits for', async () => {
      const env = await onCluster();
      const few = await diagnose({ ...env, SPANBUF_WAIT_REPLICAS: '2' });
      expect(few.wrong).toEqual(Array(3).fill('fault redis-replicas'));
      expect((await diagnose({ ...env, SPANBUF_WAIT_REPLICAS: '1' })).wrong).toEqual([]);
    });

    it.each([
      [5, 'warning'],
      [-5, 'warning'],
      [40, 'fault'],
      [-40, 'fault'],
    ])('has another time than this machine, by %i s: %s', async (aheadSeconds, level) => {
      const { wrong, findings } = await diagnose(await onCluster(), { aheadSeconds });
      expect(wrong).toEqual([`${level} redis-clock`]);
      expect(findings[0]).toMatchObject({ subject: 'this machine' });
      expect(findings[0]?.detail).toMatch(aheadSeconds > 0 ? /ahead of/ : /behind/);
    });

    it('has a node whose clock is not as that of the others', async () => {
      const proxy = proxies.get((servers.nodes[0] as RedisServer).port) as RewritingProxy;
      onTestFinished(() => {
        proxy.rewrite = (answer) => answer;
      });
      const shifted = (seconds: string) => `$10\r\n${Number(seconds) - 100}\r\n$`;
      proxy.rewrite = (answer) => answer.replaceAll(/\$10\r\n(\d{10})\r\n\$/g, (_, seconds) => shifted(seconds));
      const { wrong, findings } = await diagnose(await onCluster());
      expect(wrong).toEqual(['fault redis-clock']);
      expect(findings[0]).toMatchObject({ subject: `127.0.0.1:${proxy.port}` });
      expect(findings[0]?.detail).toMatch(/^its clock is (99\.9|100\.0) s behind the others$/);
    });

    it('lets what is stored live for less than an outage may take', async () => {
      const env = { ...(await onSingle()), SPANBUF_REDIS_TTL_SECONDS: '600' };
      expect(await diagnose(env)).toMatchObject({ diagnosis: 'healthy', wrong: ['warning redis-ttl'] });
    });
  });

  describe('permissions', () => {
    async function asUser(app: (typeof APPS)[number], server = single) {
      const admin = new Redis(server.connection);
      onTestFinished(async () => {
        await admin.acl('DELUSER', 'someone');
        admin.disconnect();
      });
      const set = (...rules: string[]) => admin.call('ACL', 'SETUSER', 'someone', ...rules);
      await set('reset', ...rulesOf(app), '>secret');
      return { set, env: { SPANBUF_REDIS_USERNAME: 'someone', SPANBUF_REDIS_PASSWORD: 'secret' } };
    }

    it.each(APPS)('are enough where they are those of users.acl: %s', async (app) => {
      const { env } = await asUser(app);
      const { wrong, diagnosis, findings } = await diagnose({ ...(await onSingle()), ...env }, { raw: { app } });
      expect({ wrong, diagnosis }).toEqual({ wrong: [], diagnosis: 'healthy' });
      // As with managed ones, CONFIG GET is not permitted.
      expect(findings.find(({ check }) => check === 'redis-lazyfree')?.detail).toMatch(/^could not look/);
    });

    it.each(APPS)('are those of users.acl, no more and no fewer: %s', (app) => {
      const { writes, reads, commands, on } = NEEDS[app];
      const needed = [
        ...commands.map((name) => `+${name}`),
        ...writes.map((keys) => `~span-buf:${keys}*`),
        ...reads.map((keys) => `%R~span-buf:${keys}*`),
        ...on.map(([name, keys]) => `(+${name} ~span-buf:${keys}*)`),
      ];
      const given = rulesOf(app).filter((rule) => /^[+~%(]/.test(rule));
      expect(needed.sort()).toEqual(given.sort());
    });

    it.each(APPS)('are missed one by one: %s', async (app) => {
      const { set } = await asUser(app);
      const rules = rulesOf(app).filter((rule) => /^[+~%(]/.test(rule));
      const found: [string, string[]][] = [];
      for (const rule of rules) {
        const others = rulesOf(app).filter((each) => each !== rule);
        await set('reset', ...others, '>secret');
        const client = new Redis({
          ...single.connection,
          username: 'someone',
          password: 'secret',
          disableClientInfo: true,
        });
        found.push([rule, await missingRights(client, app, { isCluster: false })]);
        client.disconnect();
      }
      const elsewhere = ['+cluster|slots', '+cluster|info', '+asking'];
      // Where the keys that commands are tried with are not permitted, only they are named.
      expect(found).toEqual(rules.map((rule) => [rule, elsewhere.includes(rule) ? [] : [rule]]));
    });

    it('are missed on the node of a cluster that lacks them', async () => {
      for (const node of servers.nodes) {
        const { set } = await asUser('consumer', node);
        if (node === servers.nodes[2]) await set('-hset', '-asking');
      }
      const env = { SPANBUF_REDIS_USERNAME: 'someone', SPANBUF_REDIS_PASSWORD: 'secret' };
      const { wrong, findings } = await diagnose({ ...(await onCluster()), ...env }, { raw: { app: 'consumer' } });
      expect(wrong).toEqual(['fault redis-rights']);
      expect(findings[0]?.detail).toMatch(/lacks what a consumer needs: \+asking \+hset$/);
    });

    it('to ask how full it is are missed', async () => {
      const { set, env } = await asUser('flusher');
      await set('-info');
      const { wrong, diagnosis } = await diagnose({ ...(await onSingle()), ...env }, { raw: { app: 'flusher' } });
      expect(diagnosis).toBe('fault');
      expect(wrong).toEqual(['fault redis-rights', 'unknown redis-eviction', 'unknown redis-maxmemory']);
    });
  });

  describe('Kafka', () => {
    it('does not answer, which is no fault that was seen', async () => {
      const env = { ...(await onSingle()), SPANBUF_KAFKA_BROKERS: '127.0.0.1:1' };
      expect(await diagnose(env)).toMatchObject({ diagnosis: 'unknown', wrong: ['unknown kafka-reach'] });
    });

    it.each(['INPUT', 'DLQ', 'OUTPUT'])('lacks a topic: %s', async (name) => {
      const env = { ...(await onSingle()), [`SPANBUF_${name}_TOPIC`]: 'no-such-topic' };
      const { wrong, findings } = await diagnose(env);
      expect(wrong).toEqual(['fault kafka-topic']);
      expect(findings[0]).toMatchObject({
        subject: 'no-such-topic',
        remedy: expect.stringContaining(`SPANBUF_${name}_TOPIC`),
      });
    });

    it.each<[string, Configs, Record<string, string>, string]>([
      [
        'shorter messages than are asked for',
        {},
        { SPANBUF_MAX_MESSAGE_BYTES: `${2 * MIB}` },
        'fault kafka-message-size',
      ],
      ['shorter messages than spans', { output: { 'max.message.bytes': `${MIB}` } }, {}, 'warning kafka-span-size'],
      [
        'shorter dead letters than spans',
        { deadLetter: { 'max.message.bytes': `${MIB}` } },
        {},
        'warning kafka-dead-letters',
      ],
      ['segments to be compacted', { output: { 'cleanup.policy': 'compact' } }, {}, 'fault kafka-cleanup'],
      ['spans to be compacted', { input: { 'cleanup.policy': 'compact,delete' } }, {}, 'fault kafka-cleanup'],
      [
        'fewer replicas than it wants in sync',
        { output: { 'min.insync.replicas': '2' } },
        {},
        'fault kafka-partitions',
      ],
      [
        'spans for less than they may be open',
        { input: { 'retention.ms': '60000' } },
        { SPANBUF_COMMIT: 'flushed' },
        'fault kafka-retention',
      ],
      [
        'spans by bytes',
        { input: { 'retention.bytes': '1000000' } },
        { SPANBUF_COMMIT: 'flushed' },
        'warning kafka-retention',
      ],
    ])('takes or keeps %s', async (_, configs, env, expected) => {
      const { wrong, diagnosis } = await diagnose({ ...(await onSingle(configs)), ...env });
      expect(wrong).toEqual([expected]);
      expect(diagnosis).toBe(expected.startsWith('fault') ? 'fault' : 'healthy');
    });

    it('need keep spans no longer than a consumer reads them, where nothing is to be read again', async () => {
      const configs = { input: { 'retention.ms': '60000' } };
      expect(await diagnose(await onSingle(configs))).toMatchObject({ wrong: [] });
    });
  });

  it('says in words what is wrong, why it matters and how to mend it, the worst first', async () => {
    await plant(single, 'maxmemory-policy', 'volatile-ttl');
    await plant(single, 'lazyfree-lazy-expire', 'no');
    const stdout = new PassThrough();
    const { signal } = new AbortController();
    await runDoctor({}, { env: await onSingle(), stdout, signal, clockMs: Date.now });
    const lines = String(stdout.read()).trimEnd().split('\n');
    expect(lines[0]).toMatch(/^fault {4}redis-eviction {2}127\.0\.0\.1:\d+: maxmemory-policy is volatile-ttl$/);
    expect(lines[1]).toMatch(/^ {9}why: /);
    expect(lines[2]).toMatch(/^ {9}mend: CONFIG SET maxmemory-policy noeviction/);
    expect(lines[3]).toMatch(/^warning {2}redis-lazyfree/);
    expect(lines[6]).toMatch(/^ok {7}/);
    expect(lines.at(-1)).toMatch(/^1 fault, 1 warning, 0 not looked at, \d+ ok$/);
  });
});

describe('spanbuf doctor', () => {
  it('refuses settings that are wrong, all of them on one line', async () => {
    const env = { SPANBUF_REDIS_URL: 'http://x', SPANBUF_LAYOUT: 'y' };
    await expect(diagnose(env, { raw: { app: 'z' } })).rejects.toThrow(
      /^--app must be one of consumer, flusher.*; SPANBUF_REDIS_URL must be .*; SPANBUF_KAFKA_BROKERS is missing.*; SPANBUF_LAYOUT must be/,
    );
  });

  it('takes the same defaults as the buffer', () => {
    expect(parseSettings(flowSettings, {}).maxSpanBytes).toBe(DEFAULT_MAX_SPAN_BYTES);
  });
});
