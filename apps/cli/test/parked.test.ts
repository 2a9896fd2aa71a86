/** `spanbuf parked` as a process, on real Redis, with what a flusher has parked there. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRedisStore, type StoredSpan } from '@spanbuf/store';
import { connectCluster } from '@spanbuf/tooling/redis-clients';
import { startRedis } from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis } from 'ioredis';
import { beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'apps/cli/dist/main.js');
const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000_000 };
const T0 = 1_700_000_000;
const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];
const REASON = 'the message is\ntoo large';

beforeAll(() => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
}, 120_000);

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, 'parked', ...args], { env: { ...process.env, ...env } });
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

interface Segment {
  readonly projectId: string;
  readonly partition?: number;
  readonly payloads?: readonly [string, string, string];
}

const PAYLOADS = ['{"name":"GET /cart","id":90071992547409931}', '{"name":"SELECT\\u001b carts"}', 'nonsense'] as const;

/** A slice of its own, with segments that are parked. */
async function begin(segments: readonly Segment[], client: Redis | Cluster = aCluster(), url?: string) {
  const sliceId = randomInt(1, 2 ** 24);
  const store = createRedisStore(client, { sliceId });
  const names: string[] = [];
  for (const { projectId, partition = 0, payloads = PAYLOADS } of segments) {
    const trace = { projectId, traceId: randomBytes(16).toString('hex') };
    const spans = [
      [A, A],
      [B, A],
      [C, B],
    ].map(([spanId = '', parentId = ''], i): StoredSpan => {
      const payload = Buffer.from(payloads[i] ?? '');
      return { spanId, parentId, partition, offset: BigInt(names.length * 3 + i), source: 'topic', payload };
    });
    await store.add([{ ...trace, subsegments: [{ topId: A, hasRoot: true, spans }] }], POLICY, { now: T0 });
    names.push(`${trace.projectId}:${trace.traceId}:${A}.1`);
  }
  const generations = await store.claim({ now: T0 + 10, limit: 100 });
  expect(generations).toHaveLength(segments.length);
  await store.park(generations.map((generation) => ({ generation, reason: REASON })));
  const env = { SPANBUF_REDIS_URL: url ?? inject('redisClusterUrl'), SPANBUF_SLICE_ID: `${sliceId}` };
  return {
    store,
    sliceId,
    names,
    parked: (...args: string[]) => run(args, env),
    parkedNames: async () => {
      const { stdout } = await run(['list', '--json'], env);
      return linesOf(stdout)
        .map((line) => JSON.parse(line).name)
        .sort();
    },
  };
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '');

function aCluster(): Cluster {
  const client = connectCluster(inject('redisClusterUrl'));
  onTestFinished(() => client.disconnect());
  return client;
}

/** Something went wrong that is nobody's bug: one line. */
function expectError({ code, stdout, stderr }: Ended, text: string | RegExp): void {
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^error: [^\n]+\n$/);
  expect(stderr).toMatch(text);
}

describe('spanbuf parked', () => {
  it('lists what is parked, by shard, project and trace, no more than asked for', async () => {
    const { names, parked } = await begin([
      { projectId: '1' },
      { projectId: '1', partition: 3 },
      { projectId: 'two', partition: 3 },
    ]);
    const all = await parked('list');
    expect(all).toMatchObject({ code: 0, stderr: '' });
    const [head, ...rows] = linesOf(all.stdout);
    expect(head).toMatch(/^PARKED +SHARD +SPANS +BYTES +NAME +REASON$/);
    expect(rows).toHaveLength(3);
    for (const row of rows)
      expect(row).toMatch(/^\d{4}-\d\d-\d\dT[\d:]{8}Z +[03] +3 +\d+ +\S+ +the message is\\u\{a\}too large$/);
    const namesOf = async (...args: string[]) =>
      linesOf((await parked('list', '--json', ...args)).stdout).map((line) => JSON.parse(line).name);
    expect((await namesOf()).sort()).toEqual([...names].sort());
    expect((await namesOf('--shard', '3')).sort()).toEqual(names.slice(1).sort());
    expect(await namesOf('--project', '1', '--shard', '3')).toEqual([names[1]]);
    const uuid = names[0]?.split(':')[1]?.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') as string;
    expect(await namesOf('--trace', uuid.toUpperCase())).toEqual([names[0]]);
    expect(await namesOf('--limit', '2')).toHaveLength(2);
    expect((await parked('list', '--limit', '2')).stdout).toMatch(/there are more than 2: see --limit\n$/);
  });

  it('shows the spans as a tree, and as they were received', async () => {
    const { names, parked } = await begin([{ projectId: '1' }]);
    const [name = ''] = names;
    const tree = await parked('show', name);
    expect(tree).toMatchObject({ code: 0, stderr: '' });
    expect(linesOf(tree.stdout)).toEqual([
      name,
      expect.stringMatching(/^ {2}parked {2}20.*Z, in shard 0$/),
      '  reason  the message is\\u{a}too large',
      expect.stringMatching(/^ {2}spans {3}3, \d+ bytes$/),
      `    ${A}  GET /cart`,
      `      ${B}  SELECT\\u{1b} carts`,
      `        ${C}  (not JSON)`,
    ]);
    const { stdout } = await parked('show', '--json');
    expect(linesOf(stdout)).toHaveLength(1);
    // Digits that no number of JavaScript holds.
    expect(stdout).toContain(`"payload":${PAYLOADS[0]}`);
    expect(JSON.parse(stdout)).toMatchObject({
      name,
      project_id: '1',
      segment_id: A,
      generation: 1,
      span_count: 3,
      reason: REASON,
      unreadable: [],
      spans: expect.arrayContaining([
        {
          span_id: B,
          parent_id: A,
          partition: 0,
          source: 'topic',
          offset: '1',
          payload: { name: 'SELECT\u001b carts' },
        },
        expect.objectContaining({ span_id: C, payload: Buffer.from('nonsense').toString('base64') }),
      ]),
    });
  });

  it('says what of a segment cannot be read', async () => {
    const client = aCluster();
    const { names, parked } = await begin([{ projectId: '1' }], client);
    const [, traceId = ''] = names[0]?.split(':') ?? [];
    const nodes = client.nodes('master');
    const found = await Promise.all(nodes.map((node) => node.keys(`span-buf:s:*${traceId}*`)));
    await Promise.all(found.flat().map((key) => client.set(key, Buffer.from([200, 1, 2]), 'KEEPTTL')));
    const { code, stdout } = await parked('show');
    expect(code).toBe(0);
    expect(stdout).toMatch(/spans {3}3, \d+ bytes; 3 are not there or cannot be read\n {2}cannot be read: .+\n$/);
  });

  it('puts back what is named, and everything when it is told to', async () => {
    const { store, names, parked, parkedNames } = await begin([
      { projectId: '1' },
      { projectId: '1' },
      { projectId: '2' },
    ]);
    expect(await parked('retry', names[0] as string)).toEqual({
      code: 0,
      stdout: 'put back: 1 parked segment with 3 spans\n',
      stderr: '',
    });
    expect((await store.claim({ now: 0, limit: 10 })).map(({ traceId }) => traceId)).toEqual([names[0]?.split(':')[1]]);
    expectError(await parked('retry'), '--all');
    expect((await parked('retry', '--all')).stdout).toBe('put back: 2 parked segments with 6 spans\n');
    expect(await store.claim({ now: 0, limit: 10 })).toHaveLength(2);
    expect(await parkedNames()).toEqual([]);
    expect((await parked('retry', '--all')).stdout).toBe('nothing is parked\n');
  });

  it('deletes what is named, and more only when it is told twice', async () => {
    const { store, names, parked, parkedNames } = await begin([
      { projectId: '1' },
      { projectId: '1' },
      { projectId: '2' },
    ]);
    expect((await parked('delete', names[0] as string)).stdout).toBe('deleted: 1 parked segment with 3 spans\n');
    expectError(
      await parked('delete', '--project', '1'),
      'this deletes 1 parked segment with 3 spans for good: add --yes',
    );
    expect(await parkedNames()).toEqual(names.slice(1).sort());
    const { stdout } = await parked('delete', '--project', '1', '--yes', '--json');
    expect(linesOf(stdout).map((line) => JSON.parse(line).name)).toEqual([names[1]]);
    expect(await parkedNames()).toEqual([names[2]]);
    expect(await store.claim({ now: T0 + 1_000_000, limit: 10, drain: true })).toEqual([]);
  });

  it('has nothing to say where nothing is parked', async () => {
    const { parked } = await begin([]);
    expect(await parked('list')).toEqual({ code: 0, stdout: 'nothing is parked\n', stderr: '' });
    expect(await parked('list', '--json')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await parked('show')).toEqual({ code: 0, stdout: 'nothing is parked\n', stderr: '' });
  });

  it.each([
    ['options out of range', ['list', '--shard', 'x', '--trace', 'y', '--limit', '0'], /--shard.*--trace.*--limit/],
    ['a name that is none', ['show', '1:2'], '<project>:<trace>:<segment>.<generation>'],
    ['a name that is not parked', ['delete', `1:${'0'.repeat(32)}:${A}.1`], 'nothing of this name is parked'],
    ['a name and a selection', ['retry', `1:${'0'.repeat(32)}:${A}.1`, '--all'], 'not both'],
    ['nothing to delete', ['delete', '--yes'], 'name what to delete'],
    ['a Redis that is not one', ['list', '--redis', 'http://localhost'], '--redis must be redis://'],
    ['a slice that is none', ['list', '--slice', 'x'], '--slice must be an integer'],
    ['a Redis that is away', ['list', '--redis', 'redis://127.0.0.1:1'], /cannot use .*ECONNREFUSED/],
  ])('ends with 2 and one line for %s', async (_name, args, text) => {
    const { parked } = await begin([]);
    expectError(await parked(...args), text);
  });

  it('ends with 2 and one line without a Redis', async () => {
    expectError(await run(['list'], { SPANBUF_REDIS_URL: '' }), 'neither --redis nor SPANBUF_REDIS_URL is given');
  });

  it('works as the user that deploy/redis/users.acl has for operators, and with no less', async () => {
    const server = await startRedis();
    const admin = new Redis(server.url);
    onTestFinished(async () => {
      admin.disconnect();
      await server.stop();
    });
    const users = readFileSync(join(ROOT, 'deploy/redis/users.acl'), 'utf8').split('\n');
    const rules =
      users
        .find((line) => line.startsWith('user spanbuf-operator '))
        ?.split(' ')
        .slice(2) ?? [];
    await admin.call('ACL', ['SETUSER', 'spanbuf-operator', 'reset', ...rules, '>secret', '-hscan']);
    const url = server.url.replace('redis://', 'redis://spanbuf-operator:secret@');
    const { parked } = await begin([{ projectId: '1' }, { projectId: '2' }], admin, url);
    const refused = await parked('list');
    expectError(refused, 'NOPERM');
    expect(refused.stderr).not.toContain('secret');
    await admin.call('ACL', ['SETUSER', 'spanbuf-operator', '+hscan']);
    expect((await parked('show')).code).toBe(0);
    expect((await parked('retry', '--project', '1')).stdout).toContain('put back: 1');
    expect((await parked('delete', '--all', '--yes')).stdout).toContain('deleted: 1');
  });
});
