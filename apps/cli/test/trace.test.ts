/** `spanbuf trace` as a process, on a real Redis. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTraceWatch, MAX_WATCHED_TRACES } from '@spanbuf/store';
import { type RedisServer, startRedis } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'apps/cli/dist/main.js');
const TRACE = '0af7651916cd43dd8448eb211c80319c';

let server: RedisServer;
let client: Redis;
beforeAll(async () => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
  server = await startRedis();
  client = new Redis(server.connection);
}, 120_000);
afterAll(async () => {
  client.disconnect();
  await server.stop();
});
beforeEach(() => client.flushall());

async function trace(args: readonly string[], redis = server.url) {
  const child = spawn(process.execPath, [MAIN, 'trace', ...args, '--redis', redis, '--slice', '7']);
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

describe('spanbuf trace', () => {
  const watch = () => createTraceWatch(client, { sliceId: 7 });

  it('watches a trace for as long as it is told, and then no longer', async () => {
    expect(await trace(['on', '42', TRACE.toUpperCase(), '--for', '90m'])).toEqual({
      code: 0,
      stdout: `trace ${TRACE} of project 42 is watched for 1h 30m: look for "traceId":"${TRACE}" in the logs of consumers and flushers\n`,
      stderr: '',
    });
    const [watched] = await watch().read();
    expect(watched).toMatchObject({ projectId: '42', traceId: TRACE });
    expect(watched?.leftSeconds).toBeGreaterThan(5_300);
    expect((await trace(['list'])).stdout).toMatch(new RegExp(`^42 ${TRACE}  for (1h 30m|1h 29m \\d+s)\n$`));
    const listed = JSON.parse((await trace(['list', '--json'])).stdout);
    expect(listed).toEqual({ project_id: '42', trace_id: TRACE, left_seconds: expect.any(Number) });
    expect((await trace(['off', '42', TRACE])).stdout).toBe(`trace ${TRACE} of project 42 is no longer watched\n`);
    expect(await trace(['off', '42', TRACE])).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('not watched'),
    });
    expect((await trace(['list'])).stdout).toBe('no trace is watched\n');
  });

  it('says in one line what is wrong', async () => {
    const wrong = await trace(['on', 'a b', 'xyz', '--for', '3d']);
    expect(wrong).toMatchObject({ code: 2, stdout: '' });
    expect(wrong.stderr).toBe(
      'error: PROJECT must be 1 to 64 of 0-9 A-Z a-z _ -, got "a b"; TRACE must be 32 hex digits, got "xyz"; ' +
        '--for must be seconds, or 90s, 10m, 2h, from 1s to 24h, got "3d"\n',
    );
    const away = await trace(['on', '42', TRACE], 'redis://127.0.0.1:1');
    expect(away.code).toBe(2);
    expect(away.stderr).toMatch(/^error: .*127\.0\.0\.1:1.*\n$/);
  });

  it('watches no more than a log can take', async () => {
    for (let i = 0; i < MAX_WATCHED_TRACES; i++)
      await watch().watch({ projectId: '1', traceId: randomBytes(16).toString('hex') }, 60);
    const refused = await trace(['on', '42', TRACE]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/^error: 32 traces are watched already.*\n$/);
  });
});
