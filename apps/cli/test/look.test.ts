/** `spanbuf inspect`, `queues` and `top` as processes, on real Redis with what consumers and flushers leave there. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createBufferControl, createLedger, createRedisStore, type StoredSpan } from '@spanbuf/store';
import { connect, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import { startRedis } from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis } from 'ioredis';
import { beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'apps/cli/dist/main.js');
const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000_000 };
const [A, B, C, D] = ['a', 'b', 'c', 'd'].map((digit) => digit.repeat(16)) as [string, string, string, string];

beforeAll(() => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
}, 120_000);

async function spanbuf(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } });
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

/**
 * A slice of its own. Of one trace: a segment that is parked, the next generation of it, whose root went out, and another
 * segment whose root has not come; D names B as its parent, which has not come either.
 */
async function fill(client: Redis | Cluster, url: string) {
  const sliceId = randomInt(1, 2 ** 24);
  const store = createRedisStore(client, { sliceId });
  const control = createBufferControl(client, { sliceId });
  const ledger = createLedger(client, { sliceId });
  const nowSeconds = Number((await client.time())[0]);
  const trace = { projectId: '42', traceId: randomBytes(16).toString('hex') };
  let offset = 100n;
  await ledger.open([{ partition: 0, source: 'topic', offset }]);
  const add = async (spanId: string, topId: string, span: object, of = trace) => {
    const payload = Buffer.from(JSON.stringify(span));
    const spans: StoredSpan[] = [{ spanId, parentId: topId, partition: 0, offset: offset++, source: 'topic', payload }];
    await store.add([{ ...of, subsegments: [{ topId, hasRoot: spanId === topId, spans }] }], POLICY, {
      now: nowSeconds,
    });
    await ledger.take([{ partition: 0, source: 'topic', offset }]);
  };
  await add(A, A, { name: 'GET /cart' });
  const [generation] = await store.claim({ now: nowSeconds + 10, limit: 1 });
  if (generation) await store.park([{ generation, reason: 'the message is\ntoo large' }]);
  await add(D, A, { name: 'SELECT \u001b carts', parent_span_id: B });
  await add('e'.repeat(16), A, { name: 'decode', parent_span_id: D });
  await add(C, 'f'.repeat(16), { name: 'orphan' });
  await control.markClocks(new Map([[0, { messageSeconds: nowSeconds, behindSeconds: 0 }]]));
  await control.announceFlusher('one', 60);
  const env = { SPANBUF_REDIS_URL: url, SPANBUF_SLICE_ID: `${sliceId}` };
  return { sliceId, store, ledger, trace, nowSeconds, env, add };
}

const urlOf = (topology: (typeof TOPOLOGIES)[number]) =>
  inject(topology === 'one node' ? 'redisUrl' : 'redisClusterUrl');

describe.each(TOPOLOGIES)('on %s', (topology) => {
  let client: Redis | Cluster;
  beforeAll(async () => {
    client = await connect(topology);
  });

  it('inspect shows what is held of a trace, and why it is not flushed yet', async () => {
    const { trace, env } = await fill(client, urlOf(topology));
    const { code, stdout, stderr } = await spanbuf(['inspect', trace.projectId, trace.traceId.toUpperCase()], env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [head = '', parked = '', live = '', orphan = '', ...others] = stdout.split('\n\n');
    expect(others).toEqual([]);
    expect(head).toMatch(
      new RegExp(
        `^trace ${trace.traceId} of project 42\n {2}key {4}span-buf:ssr:\\{42:${trace.traceId}\\}\n {2}node {3}127.0.0.1:\\d+, \\d+ fields, expires in [\\d.]+ . *\n {2}holds {2}2 live, 1 parked$`,
      ),
    );
    expect(parked).toContain(`segment ${A}, generation 1: parked, sealed for root-idle\n`);
    expect(parked).toMatch(/\n {2}why {6}parked at 20\d\d-[^ ]+Z: the message is\\u\{a\}too large\n/);
    expect(parked).toMatch(new RegExp(`\n {2}tree\n {4}${A} {2}GET /cart$`));
    expect(live).toContain(`segment ${A}, generation 2: live\n`);
    expect(live).toMatch(
      /\n {2}why {6}not due yet: 10\.0 s of message time to go, until 20[^ ]+Z; by the wall clock at /,
    );
    expect(live).toContain('\n  parents  2 missing\n');
    expect(live.slice(live.indexOf('  tree\n'))).toBe(
      [
        '  tree',
        `    ${A}  is missing: it is in generation 1`,
        `      ${B}  is missing`,
        `        ${D}  SELECT \\u{1b} carts`,
        `          ${'e'.repeat(16)}  decode`,
      ].join('\n'),
    );
    expect(live).toMatch(/\n {2}payloads 2 on 127\.0\.0\.1:\d+ \(\d\)/);
    expect(live).toMatch(
      new RegExp(`\n {4}127\\.0\\.0\\.1:\\d+ +\\d+ +1 {2}span-buf:s:\\{42:${trace.traceId}:${D}\\}:${D}:`),
    );
    expect(orphan).toMatch(/\n {2}root {5}has not come\n/);
    expect(orphan).toContain(`    ${'f'.repeat(16)}  is missing: the root, which has not come\n      ${C}  orphan`);
  });

  it('inspect gives all of it as one object of JSON', async () => {
    const { trace, env } = await fill(client, urlOf(topology));
    const { code, stdout } = await spanbuf(['inspect', '42', trace.traceId, '--json'], env);
    expect(code).toBe(0);
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    const inspected = JSON.parse(stdout);
    expect(inspected).toMatchObject({
      project_id: '42',
      trace_id: trace.traceId,
      is_whole: true,
      live_flushers: 1,
      shards: [{ shard: 0, queued_count: 2, parked_count: 1 }],
      segments: [
        {
          segment_id: A,
          generation: 1,
          state: 'parked',
          wait: { kind: 'parked', reason: 'the message is\ntoo large' },
        },
        {
          segment_id: A,
          generation: 2,
          state: 'live',
          wait: { kind: 'not-due' },
          span_count: 2,
          root_seen: true,
          missing_parents: [A, B],
        },
        { segment_id: 'f'.repeat(16), root_seen: false, missing_parents: ['f'.repeat(16)] },
      ],
    });
    const [payload] = inspected.segments[0].payloads;
    expect(payload).toMatchObject({ state: 'read', spans: [{ span_id: A, name: 'GET /cart', offset: '100' }] });
    expect(payload.places[0]).toMatchObject({ layout: 'distributed', node: expect.stringMatching(/^127\.0\.0\.1:/) });
  });

  it('queues shows a line for each shard, or an object a line', async () => {
    const { env, store, add, nowSeconds } = await fill(client, urlOf(topology));
    // In the same lane as the others.
    await add(A, A, {}, { projectId: `${42 + 16}`, traceId: randomBytes(16).toString('hex') });
    await store.claim({ now: nowSeconds + 10, limit: 1 });
    const { code, stdout, stderr } = await spanbuf(['queues'], env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^20\d\d-\S+Z {2}1 flusher alive, 1 shard$/);
    expect(lines[1]?.trim().split(/ {2,}/)).toEqual([
      'SHARD',
      'QUEUED',
      'DUE',
      'OVERDUE',
      'LANES',
      'IN FLIGHT',
      'LEASES OVER',
      'NEXT LEASE END',
      'TRIED',
      'PARKED',
      'CONSUMER',
    ]);
    const [shard, queued, due, overdue, lanes, inFlight, over, end, ...rest] = lines[2]?.trim().split(/ {2,}/) ?? [];
    expect([shard, queued, due, overdue, lanes, inFlight, over]).toEqual(['0', '2', '0', '-', '1', '1', '0']);
    expect(end).toMatch(/^(5\d\.\d|60\.0) s$/);
    expect(rest).toEqual(['0', '1', 'up to date']);
    const json = await spanbuf(['queues', '--json'], env);
    expect(JSON.parse(json.stdout)).toMatchObject({
      live_flushers: 1,
      shards: [{ shard: 0, queued_count: 2, in_flight_count: 1, parked_count: 1, lanes: [{ queued_count: 2 }] }],
    });
  });

  it('queues --watch goes on until it is stopped', async () => {
    const { env } = await fill(client, urlOf(topology));
    const args = ['queues', '--watch', '--interval', '0.5', '--json'];
    const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } });
    let lines = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      lines += String(chunk).split('\n').length - 1;
    });
    await expect.poll(() => lines, { timeout: 20_000 }).toBeGreaterThanOrEqual(3);
    child.kill('SIGTERM');
    expect(await once(child, 'close')).toEqual([143, null]);
  });

  it('top shows rates, lag, memory of each node, and what takes up most of the queues', async () => {
    const { env, add, ledger } = await fill(client, urlOf(topology));
    const child = spanbuf(['top', '--interval', '3'], env);
    const tokens = { projectId: '7', traceId: randomBytes(16).toString('hex') };
    let isOver = false;
    const top = child.finally(() => {
      isOver = true;
    });
    // Whenever it takes its two readings, something comes and goes in between.
    for (let i = 0n; !isOver; i++) {
      await add(randomBytes(8).toString('hex'), A, { name: 'x'.repeat(100) }, tokens);
      await ledger.settle([
        { partition: 0, source: 'topic', fromOffset: 200n + i, toOffset: 201n + i, fate: 'root-idle' },
      ]);
    }
    const { code, stdout, stderr } = await top;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [head = '', nodes = '', shards = '', projects = '', traces = ''] = stdout.split('\n\n');
    expect(head).toMatch(
      /^20\d\d-\S+Z {2}1 flusher alive\nmessages {2}in [\d.,]+\/s, out [\d.,]+\/s \(root-idle [\d.,]+\); over 3\.\d s\n/,
    );
    expect(head).toMatch(/\nsegments {2}3 queued, 0 due, 0 in flight, 1 parked, -?[\d,]+ spans without an end yet\n/);
    expect(head).toMatch(/\nlag {7}consumers behind: none, silent: [\d.]+ s \(shard 0\); segments overdue: none$/);
    expect(nodes.split('\n')).toHaveLength(topology === 'one node' ? 2 : 4);
    expect(nodes).toMatch(/\n127\.0\.0\.1:\d+ +[\d.]+ MiB /);
    expect(shards.split('\n')[1]).toMatch(/^ +0 +3 +0 /);
    expect(projects).toMatch(/ PROJECT \(of all 3 queued segments\)\n +1 .* %\s+7\n +2 .* %\s+42$/);
    expect(traces.split('\n')[1]).toMatch(new RegExp(`  7 ${tokens.traceId}$`));
  });
});

describe('with the rights of the user that is made for it', () => {
  it('all three do', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const admin = new Redis(server.connection);
    onTestFinished(() => admin.disconnect());
    const { env, trace } = await fill(admin, server.url);
    const [, name = '', ...rules] =
      readFileSync(join(ROOT, 'deploy/redis/users.acl'), 'utf8')
        .split('\n')
        .find((line) => line.startsWith('user spanbuf-operator '))
        ?.split(' ') ?? [];
    await admin.call('ACL', ['SETUSER', name, 'reset', ...rules]);
    const password = rules.find((rule) => rule.startsWith('>'))?.slice(1) ?? '';
    const own = { ...env, SPANBUF_REDIS_USERNAME: name, SPANBUF_REDIS_PASSWORD: password };
    for (const args of [['inspect', '42', trace.traceId], ['queues'], ['top', '--once', '--interval', '0.5']]) {
      const { code, stdout, stderr } = await spanbuf(args, own);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).not.toMatch(/no answer/);
    }
    await admin.call('ACL', ['SETUSER', name, '-zcount', '-hlen']);
    for (const args of [['inspect', '42', trace.traceId], ['queues'], ['top', '--once', '--interval', '0.5']]) {
      const { code, stdout, stderr } = await spanbuf(args, own);
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(stderr).toMatch(/^error: Redis refused: NOPERM [^\n]+\n$/);
    }
  });
});

describe('what cannot be done is one clear line:', () => {
  const trace = 'a'.repeat(32);

  it('a trace that Redis knows nothing of, with an exit code of its own', async () => {
    expect(await spanbuf(['inspect', '42', trace, '--slice', '1'], { SPANBUF_REDIS_URL: inject('redisUrl') })).toEqual({
      code: 1,
      stdout: '',
      stderr: `error: nothing is known of trace ${trace} of project 42: nothing of it came, or it was flushed and its dedupe window is over\n`,
    });
  });

  it('queues and top of a deployment that has nothing yet', async () => {
    const env = { SPANBUF_REDIS_URL: inject('redisUrl'), SPANBUF_SLICE_ID: `${randomInt(1, 2 ** 24)}` };
    const queues = await spanbuf(['queues'], env);
    expect(queues).toMatchObject({ code: 0, stderr: '' });
    expect(queues.stdout).toMatch(
      /Z {2}NO flusher alive, 0 shards\nnothing is queued, and no consumer has marked a clock\n$/,
    );
    const top = await spanbuf(['top', '--once', '--interval', '0.5'], env);
    expect(top).toMatchObject({ code: 0, stderr: '' });
    expect(top.stdout).toContain('\nmessages  rates are not known: no consumer keeps books here\n');
    expect(top.stdout).toMatch(/\nno shard has a queue\n\nno segment is queued\n$/);
  });

  it.each([
    [['inspect', '42', trace, '--redis', 'redis://127.0.0.1:1'], /cannot use redis:\/\/127\.0\.0\.1:1: /],
    [['queues', '--redis', 'redis://127.0.0.1:1'], /cannot use redis:\/\/127\.0\.0\.1:1: /],
    [['top', '--redis', 'redis://127.0.0.1:1'], /cannot use redis:\/\/127\.0\.0\.1:1: /],
    [
      ['inspect', '4 2', 'b7', '--payloads', '0'],
      /PROJECT must be .*; TRACE must be 32 hex digits.*; --payloads must be/,
    ],
    [['queues', '--interval', '0'], /--interval must be .*; --interval is of use with --watch alone/],
    [['top', '--sample', '0', '--interval', 'x'], /--interval must be .*; --sample must be/],
    [['queues'], /neither --redis nor SPANBUF_REDIS_URL is given/],
  ])('%s', async (args, text) => {
    const { code, stdout, stderr } = await spanbuf(args, { SPANBUF_REDIS_URL: '' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toMatch(text);
  });
});
