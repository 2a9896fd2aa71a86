/** The built program, as a process. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startRedis } from '@spanbuf/tooling/redis-servers';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { aLine, hex, spanIdsIn } from './spans.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'apps/cli/dist/main.js');
const SAMPLE = join(ROOT, 'samples/spans.ndjson');
const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-cli-'));

beforeAll(() => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
}, 120_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env }, cwd: scratch });
}

async function ended(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, stdout, stderr };
}

async function spanbuf(args: readonly string[], input = ''): Promise<Ended> {
  const child = start(args);
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  return ended(child);
}

/** Something went wrong that is nobody's bug: one line. */
function expectError({ code, stdout, stderr }: Ended, text: string | RegExp): void {
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^error: [^\n]+\n$/);
  expect(stderr).toMatch(text);
}

describe('spanbuf', () => {
  it('assembles a file onto stdout', async () => {
    const { code, stdout, stderr } = await spanbuf(['assemble', SAMPLE]);
    expect(code).toBe(0);
    expect(stdout.endsWith('\n')).toBe(true);
    expect(spanIdsIn(stdout.trimEnd().split('\n'))).toHaveLength(2_634);
    expect(stderr).toContain('spans in: 2,634, refused: 0, spans out: 2,634, unaccounted: 0\n');
  });

  it('assembles stdin into a file, in Redis, with the same result', async () => {
    const output = join(scratch, 'segments.ndjson');
    const args = ['assemble', '-', '--output', output, '--store', inject('redisClusterUrl'), '--shuffle', '1'];
    const { code, stdout } = await spanbuf(args, readFileSync(SAMPLE, 'utf8'));
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    const direct = await spanbuf(['assemble', SAMPLE]);
    expect(readFileSync(output, 'utf8').split('\n').sort()).toEqual(direct.stdout.split('\n').sort());
  });

  it('ends with 1 when lines were refused, and writes all others', async () => {
    const { code, stdout, stderr } = await spanbuf(['assemble'], `${aLine('1')}\nnonsense\n${aLine('2', '1')}`);
    expect(code).toBe(1);
    expect(spanIdsIn(stdout.trimEnd().split('\n'))).toEqual([hex('1'), hex('2')]);
    expect(stderr).toMatch(/^line 2: not a span: .*\nspans in: 3, refused: 1, spans out: 2, unaccounted: 0\n/);
  });

  it('has nothing against an empty input', async () => {
    expect(await spanbuf(['assemble'])).toMatchObject({ code: 0, stdout: '' });
  });

  it('explains itself', async () => {
    const help = await spanbuf(['assemble', '--help']);
    expect(help.code).toBe(0);
    for (const option of ['--store', '--layout', '--shuffle', '--max-message-bytes', 'Exit codes'])
      expect(help.stdout).toContain(option);
    expect(await spanbuf(['--version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    expect((await spanbuf([])).code).toBe(2);
  });

  it.each([
    ['an option that is not one', ['assemble', '--quick'], /--quick/],
    ['values out of range', ['assemble', '--batch-size', '0', '--layout', 'flat'], /--layout.*--batch-size/],
    ['too many files', ['assemble', 'a', 'b'], /argument/],
    ['a file that is not there', ['assemble', 'nowhere.ndjson'], 'cannot read nowhere.ndjson: no such file'],
    ['a folder as input', ['assemble', '.'], 'cannot read .: illegal operation on a directory'],
    ['a folder as output', ['assemble', '--output', '/'], 'cannot write /: illegal operation on a directory'],
    ['a full disk', ['assemble', SAMPLE, '--output', '/dev/full'], 'cannot write /dev/full: no space left'],
  ])('ends with 2 and one line for %s', async (_name, args, text) => {
    expectError(await spanbuf(args), text);
  });

  it('does not overwrite its own input', async () => {
    const file = join(scratch, 'same.ndjson');
    writeFileSync(file, aLine('1'));
    expectError(
      await spanbuf(['assemble', file, '--output', `${scratch}/../${file.split('/').at(-2)}/same.ndjson`]),
      'it is the input',
    );
    expect(readFileSync(file, 'utf8')).toBe(aLine('1'));
  });

  it('ends quietly when nobody reads on', async () => {
    const child = start(['assemble', SAMPLE]);
    child.stdout?.destroy();
    expect(await ended(child)).toMatchObject({ code: 141, stderr: '' });
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stops on %s while it waits for input', async (signal, code) => {
    const child = start(['assemble', '--batch-size', '1']);
    child.stdin?.write('nonsense\n');
    await once(child.stderr as NodeJS.EventEmitter, 'data');
    child.kill(signal);
    expect(await ended(child)).toMatchObject({ code, stdout: '' });
  });
});

describe('spanbuf and a Redis it cannot use', () => {
  const assembleIn = (store: string): Promise<Ended> => spanbuf(['assemble', SAMPLE, '--store', store]);

  it.each(['redis', 'rediss', 'redis-cluster'])('names it: nobody at %s://', async (scheme) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    server.close();
    expectError(await assembleIn(`${scheme}://127.0.0.1:${port}`), /cannot use .*ECONNREFUSED/);
  });

  it('names it: a server that never answers', async () => {
    const server = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    try {
      expectError(await assembleIn(`redis://127.0.0.1:${port}`), 'cannot use redis://127.0.0.1');
    } finally {
      server.close();
    }
  });

  it('names it: a wrong password, which it does not tell', async () => {
    const { url, stop } = await serverWithPassword();
    try {
      const wrong = await assembleIn(url.replace('redis://', 'redis://:wrong-secret@'));
      expectError(wrong, 'WRONGPASS');
      expect(wrong.stderr).not.toContain('wrong-secret');
      expectError(await assembleIn(url), 'it wants a password');
      expect(await assembleIn(url.replace('redis://', 'redis://:right@'))).toMatchObject({ code: 0 });
    } finally {
      await stop();
    }
  });

  it('names it: one node where a cluster should be, and the other way round', async () => {
    expectError(await assembleIn(inject('redisUrl').replace('redis:', 'redis-cluster:')), 'not a cluster');
    const [first] = inject('redisClusterUrl').split(',');
    expectError(await assembleIn((first as string).replace('redis-cluster:', 'redis:')), 'a node of a cluster');
  });

  async function serverWithPassword(): Promise<{ url: string; stop: () => Promise<void> }> {
    const { Redis } = await import('ioredis');
    const server = await startRedis();
    const client = new Redis(server.url);
    await client.config('SET', 'requirepass', 'right');
    client.disconnect();
    return { url: server.url, stop: () => server.stop() };
  }
});

describe('spanbuf and an input larger than its memory', () => {
  const MEGABYTES = 200;

  it('keeps to a small heap, with a line of 50 MB in the middle', async () => {
    const child = start(['assemble', '--output', '/dev/null'], { NODE_OPTIONS: '--max-old-space-size=96' });
    const ending = ended(child);
    let peakKilobytes = 0;
    let spans = 0;
    for (let megabyte = 0; megabyte < MEGABYTES; megabyte++) {
      const lines = Array.from({ length: 500 }, () => traceSpan(spans++));
      if (megabyte === MEGABYTES / 2) lines.push(`${'x'.repeat(50_000_000)}\n`);
      if (!child.stdin?.write(lines.join(''))) await once(child.stdin as NodeJS.EventEmitter, 'drain');
      peakKilobytes = peakOf(child) ?? peakKilobytes;
    }
    child.stdin?.end();
    const { code, stderr } = await ending;
    expect(stderr).toContain(`refused: 1, spans out: ${spans.toLocaleString('en-US')}, unaccounted: 0`);
    expect(code).toBe(1);
    expect(peakKilobytes).toBeGreaterThan(0);
    expect(peakKilobytes).toBeLessThan(330_000);
  }, 120_000);

  /** 2 kB. A hundred traces under way at once, 200 spans a second, children before their roots. */
  function traceSpan(index: number): string {
    const generation = Math.floor(index / 1_000);
    const [trace, step] = [generation * 100 + (index % 100), Math.floor((index % 1_000) / 100)];
    const isRoot = step === 9;
    return `${JSON.stringify({
      project_id: 1,
      trace_id: (trace + 1).toString(16).padStart(32, '0'),
      span_id: hex((trace * 10 + (isRoot ? 1 : step + 2)).toString(16)),
      parent_span_id: isRoot ? null : hex((trace * 10 + 1).toString(16)),
      received: 1_795_382_071 + index / 200,
      attributes: { padding: { type: 'string', value: 'p'.repeat(1_800) } },
    })}\n`;
  }

  function peakOf({ pid }: ChildProcess): number | undefined {
    try {
      return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    } catch {
      return undefined;
    }
  }
});
