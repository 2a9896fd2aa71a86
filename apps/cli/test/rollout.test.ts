/** `spanbuf rollout` as a process, on Redis servers of its own. */
import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createBufferControl, createRedisStore, type LayoutName } from '@spanbuf/store';
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

let single: RedisServer;
let servers: RedisClusterServers;
let onSingle: Redis;
let onCluster: Cluster;

beforeAll(async () => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
  [single, servers] = await Promise.all([
    startRedis({ args: ['--maxmemory', '100mb'] }),
    startRedisCluster({ masters: 3 }),
  ]);
  onSingle = new Redis(single.connection);
  onCluster = connectCluster(servers.url);
}, 120_000);
afterAll(async () => {
  onSingle.disconnect();
  onCluster.disconnect();
  await Promise.all([single.stop(), servers.stop()]);
});

async function rollout(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [MAIN, 'rollout', ...args], { env: { ...process.env, ...env } });
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

/** A slice of its own, with one consumer and one flusher, and a segment that was written in some layout. */
async function system(client: Redis | Cluster, layout: LayoutName, heldIn = layout) {
  const sliceId = randomInt(1, 2 ** 24);
  const control = createBufferControl(client, { sliceId });
  const at = { version: '1.2.3', layout };
  const writes = { maxAgeSeconds: 600, shards: [0] };
  await control.announceProcess({ id: 'consumer-1', app: 'spanbuf-consumer', ...at, writes }, 600);
  await control.announceProcess({ id: 'flusher-1', app: 'spanbuf-flusher', ...at, reads: { leaseSeconds: 60 } }, 600);
  const store = createRedisStore(client, { sliceId, layout: heldIn });
  const span = { spanId: A, parentId: A, partition: 0, payload: Buffer.from('{}') };
  const trace = {
    projectId: '42',
    traceId: randomInt(2 ** 40)
      .toString(16)
      .padStart(32, '0'),
  };
  const add = () =>
    store.add([{ ...trace, subsegments: [{ topId: A, hasRoot: true, spans: [span] }] }], POLICY, { now: T0 });
  await add();
  const flush = async () => store.complete(await store.claim({ now: T0 + 1_000, limit: 10 }));
  return { sliceId, flush };
}

describe('spanbuf rollout', () => {
  it('shows who runs in which layout, and where what is held lies', async () => {
    const { sliceId } = await system(onSingle, 'dual-read-colocated');
    const { code, stdout, stderr } = await rollout(['status', '--redis', single.url, '--slice', `${sliceId}`]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const time = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
    expect(stdout.split('\n').map((line) => line.replace(time, 'TIME'))).toEqual([
      'APP               VERSION  LAYOUT               SINCE                 PROCESS',
      'spanbuf-consumer  1.2.3    dual-read-colocated  TIME  consumer-1',
      'spanbuf-flusher   1.2.3    dual-read-colocated  TIME  flusher-1',
      'written: dual-read-colocated until now',
      'held: 1 segment; looked at 1: 1 in both',
      '',
    ]);
  });

  it('refuses a layout until it is safe, says why and until when, and then allows it', async () => {
    const { sliceId, flush } = await system(onCluster, 'dual-read-colocated', 'colocated');
    const env = { SPANBUF_REDIS_URL: servers.url, SPANBUF_SLICE_ID: `${sliceId}` };
    const refused = await rollout(['check', 'dual-read-distributed'], env);
    expect(refused).toMatchObject({ code: 1, stderr: '' });
    const lines = refused.stdout.split('\n');
    expect(lines[0]).toBe('dual-read-distributed cannot be entered yet');
    expect(lines[1]).toMatch(/^unread-held: 1 held segment with payloads that are not in both places$/);
    expect(lines[2]).toMatch(/^ {2}wait until/);
    expect(lines[3]).toMatch(/^ {2}until \d{4}.*Z at the latest, in (29|30) min$/);
    const tooFar = await rollout(['check', 'distributed'], env);
    expect(tooFar).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('first bring all to dual-read-distributed'),
    });

    await flush();
    // Without a name, it is the next one.
    const allowed = await rollout(['check'], env);
    expect(allowed).toMatchObject({ code: 0, stderr: '' });
    expect(allowed.stdout).toMatch(/^dual-read-distributed can be entered\n/);
  });

  it('tells of memory where payloads will be written twice', async () => {
    const { sliceId } = await system(onSingle, 'colocated');
    const { code, stdout } = await rollout(['check', '--redis', single.url, '--slice', `${sliceId}`]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/note: dual-read-colocated writes payloads twice.* is at \d+ % of maxmemory/);
  });

  it('writes one JSON object on request', async () => {
    const { sliceId } = await system(onCluster, 'distributed');
    const env = { SPANBUF_REDIS_URL: servers.url, SPANBUF_SLICE_ID: `${sliceId}` };
    const held = { segment_count: 1, looked_at_count: 1, distributed: 1 };
    expect(JSON.parse((await rollout(['status', '--json'], env)).stdout)).toMatchObject({
      processes: [
        { id: 'consumer-1', layout: 'distributed', is_writer: true, is_reader: false },
        { id: 'flusher-1', layout: 'distributed', is_writer: false, is_reader: true },
      ],
      held,
    });
    const { code, stdout } = await rollout(['check', 'colocated', '--json', '--sample', '10'], env);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      layout: 'colocated',
      is_safe: false,
      obstacles: expect.arrayContaining([expect.objectContaining({ kind: 'unread-writes' })]),
      status: { held },
    });
  });

  it('does with the rights of the user that is made for it', async () => {
    const { sliceId } = await system(onSingle, 'distributed');
    const [, name = '', ...rules] =
      readFileSync(join(ROOT, 'deploy/redis/users.acl'), 'utf8')
        .split('\n')
        .find((line) => line.startsWith('user spanbuf-operator '))
        ?.split(' ') ?? [];
    await onSingle.call('ACL', ['SETUSER', name, 'reset', ...rules]);
    const password = rules.find((rule) => rule.startsWith('>'))?.slice(1) ?? '';
    const env = { SPANBUF_REDIS_USERNAME: name, SPANBUF_REDIS_PASSWORD: password };
    const args = ['check', 'dual-read-distributed', '--redis', single.url, '--slice', `${sliceId}`];
    expect(await rollout(args, env)).toMatchObject({ code: 0, stderr: '' });
  });

  it.each([
    [['status', '--redis', 'redis://127.0.0.1:1'], /127\.0\.0\.1:1/],
    [
      ['check', 'nowhere', '--sample', 'x', '--redis', 'redis://127.0.0.1:1'],
      /LAYOUT must be one of .*; --sample must be/,
    ],
    [['status'], /--redis/],
  ])('ends with 2 and one line when it cannot do its work: %s', async (args, text) => {
    const { code, stdout, stderr } = await rollout(args, { SPANBUF_REDIS_URL: '' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toMatch(text);
  });

  it.each([
    ['distributed', /distributed is the last layout/],
    [undefined, /no process has announced itself/],
  ] as const)('wants to be told which layout where there is no next one: %s', async (layout, text) => {
    const sliceId = layout === undefined ? 1 : (await system(onSingle, layout)).sliceId;
    const { code, stderr } = await rollout(['check', '--redis', single.url, '--slice', `${sliceId}`]);
    expect(code).toBe(2);
    expect(stderr).toMatch(text);
  });
});
