/** `spanbuf audit` as a process, on real Redis servers of its own: it looks at everything there is. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLedger, createRedisStore } from '@spanbuf/store';
import { connectCluster } from '@spanbuf/tooling/redis-clients';
import {
  type RedisClusterServers,
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'apps/cli/dist/main.js');
const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000_000 };
const T0 = 1_700_000_000;
const A = 'a'.repeat(16);
const SOURCE = 'topic';

let single: RedisServer;
let servers: RedisClusterServers;
let onSingle: Redis;
let onCluster: Cluster;

beforeAll(async () => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
  [single, servers] = await Promise.all([startRedis(), startRedisCluster({ masters: 3 })]);
  onSingle = new Redis(single.connection);
  onCluster = connectCluster(servers.url);
}, 120_000);
afterAll(async () => {
  onSingle.disconnect();
  onCluster.disconnect();
  await Promise.all([single.stop(), servers.stop()]);
});

async function audit(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [MAIN, 'audit', ...args], { env: { ...process.env, ...env } });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

/** Ten spans were read: four are held, one is parked, three were produced, one was no span, one is missing. */
async function fill(client: Redis | Cluster) {
  const store = createRedisStore(client, { sliceId: 7 });
  const ledger = createLedger(client, { sliceId: 7 });
  await ledger.open([{ partition: 0, source: SOURCE, offset: 100n }]);
  const add = async (offset: bigint) => {
    const trace = { projectId: '42', traceId: randomBytes(16).toString('hex') };
    const span = { spanId: A, parentId: A, partition: 0, offset, source: SOURCE, payload: Buffer.from('{}') };
    await store.add([{ ...trace, subsegments: [{ topId: A, hasRoot: true, spans: [span] }] }], POLICY, { now: T0 });
    return trace;
  };
  for (const offset of [100n, 101n, 102n, 103n]) await add(offset);
  const [parked, ...produced] = await store.claim({ now: T0 + 10, limit: 100 });
  if (parked) await store.park([{ generation: parked, reason: 'refused' }]);
  const spans = await store.read(produced);
  await store.complete(
    produced,
    spans.map((some) => some ?? []),
  );
  const [held] = await Promise.all([104n, 105n, 106n, 107n].map(add));
  await ledger.settle([{ partition: 0, source: SOURCE, fromOffset: 108n, toOffset: 109n, fate: 'invalid' }]);
  const settle = () =>
    ledger.settle([{ partition: 0, source: SOURCE, fromOffset: 109n, toOffset: 110n, fate: 'dropped:noisy' }]);
  return { ledger, settle, traceKey: `span-buf:ssr:{42:${held?.traceId}}` };
}

describe('spanbuf audit', () => {
  it('says that the books balance, in words', async () => {
    await onSingle.flushall();
    const { settle } = await fill(onSingle);
    await settle();
    const { code, stdout, stderr } = await audit(['--redis', single.url, '--slice', '7', '--min-age', '0']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n').slice(0, 4)).toEqual([
      `partition 0, source ${SOURCE}, offsets 100 to 110: balanced`,
      '  10 in = 3 root-idle + 1 dropped:noisy + 1 invalid + 4 held + 1 parked',
      'shard 0: 4 spans held, 1 parked, in 5 segments',
      'nothing was found',
    ]);
  });

  it('finds, repairs on request and says what it did, on a cluster', async () => {
    for (const node of onCluster.nodes('master')) await node.flushall();
    const { ledger, traceKey } = await fill(onCluster);
    await ledger.take([{ partition: 0, source: SOURCE, offset: 110n }]);
    await onCluster.persist(traceKey);
    const env = { SPANBUF_REDIS_URL: servers.url, SPANBUF_SLICE_ID: '7' };
    const found = await audit(['--min-age', '0'], env);
    expect(found).toMatchObject({ code: 1, stderr: '' });
    expect(found.stdout).toContain(`key-without-ttl  ${traceKey}\n  it would stay for ever\n`);
    expect(found.stdout).toContain('(shard 0, offsets 109)\n');
    expect(found.stdout).toContain('offsets 100 to 110: NOT BALANCED: 1 missing\n');
    expect(await onCluster.ttl(traceKey)).toBe(-1);

    const repaired = await audit(['--min-age', '0', '--repair', '--json'], env);
    expect(repaired.code).toBe(1);
    const lines = repaired.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      { type: 'finding', kind: 'key-without-ttl', outcome: 'repaired', key: traceKey },
      {
        type: 'finding',
        kind: 'unaccounted-offsets',
        outcome: 'left',
        shard: 0,
        source: SOURCE,
        offsets: [{ from: '109', to: '110' }],
      },
      {
        type: 'report',
        is_clean: false,
        books: [
          {
            partition: 0,
            in_count: 10,
            counts: { 'root-idle': 3, invalid: 1 },
            held_count: 4,
            parked_count: 1,
            missing_count: 1,
            moving_count: 0,
            is_balanced: false,
          },
        ],
        counts: [
          { kind: 'key-without-ttl', found: 1, repaired: 1 },
          { kind: 'unaccounted-offsets', found: 1, repaired: 0 },
        ],
      },
    ]);
    expect(await onCluster.ttl(traceKey)).toBeGreaterThan(0);

    const writtenOff = await audit(['--min-age', '0', '--write-off'], env);
    expect(writtenOff.code).toBe(0);
    expect(writtenOff.stdout).toContain('repaired: written off as lost: 1\n');
    const after = await audit(['--min-age', '0'], env);
    expect(after.code).toBe(0);
    expect(after.stdout).toContain('10 in = 3 root-idle + 1 invalid + 1 lost + 4 held + 1 parked\n');
  });

  it('does with the rights of the user that is made for it', async () => {
    await onSingle.flushall();
    const { settle } = await fill(onSingle);
    await settle();
    const [, name = '', ...rules] =
      readFileSync(join(ROOT, 'deploy/redis/users.acl'), 'utf8')
        .split('\n')
        .find((line) => line.startsWith('user spanbuf-operator '))
        ?.split(' ') ?? [];
    await onSingle.call('ACL', ['SETUSER', name, 'reset', ...rules]);
    const password = rules.find((rule) => rule.startsWith('>'))?.slice(1) ?? '';
    const env = { SPANBUF_REDIS_USERNAME: name, SPANBUF_REDIS_PASSWORD: password };
    const args = ['--redis', single.url, '--slice', '7', '--min-age', '0', '--repair', '--write-off'];
    expect(await audit(args, env)).toMatchObject({ code: 0, stderr: '' });
  });

  it.each([
    [['--redis', 'redis://127.0.0.1:1'], /127\.0\.0\.1:1/],
    [
      ['--redis', 'redis://127.0.0.1:1', '--min-age', 'x', '--max-lease', '0'],
      /--min-age must be .*; --max-lease must be/,
    ],
    [['--redis', 'redis://127.0.0.1:1', '--slice', '-1'], /--slice must be/],
    [[], /--redis/],
  ])('ends with 2 and one line when it cannot do its work: %s', async (args, text) => {
    const { code, stdout, stderr } = await audit(args, { SPANBUF_REDIS_URL: '' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toMatch(text);
  });
});
