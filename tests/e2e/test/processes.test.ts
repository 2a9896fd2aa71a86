/** What the end-to-end tests and the stack run apps with. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ChildProgram, parseMetrics, startApp, until } from '@spanbuf/stack/processes';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-processes-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let programs = 0;
function programOf(text: string): string {
  const path = join(scratch, `program-${programs++}.mjs`);
  writeFileSync(path, text);
  return path;
}

/** Logs and serves as an app does; not ready when asked for the first time; ends in order on SIGTERM. */
const APP = `
import { createServer } from 'node:http';
let asked = 0;
const server = createServer(({ url }, response) => {
  if (url === '/metrics') return response.end('# HELP x y\\nspanbuf_spans_total{outcome="a"} 3\\n');
  response.writeHead(asked++ > 0 ? 200 : 503).end('starting\\n');
}).listen(Number(process.env.SPANBUF_HTTP_PORT), process.env.SPANBUF_HTTP_HOST, () => {
  console.log(JSON.stringify({ level: 'info', port: server.address().port, msg: 'serving' }));
  console.log('not JSON');
});
process.on('SIGTERM', () => process.exit(Number(process.env.EXIT_CODE)));
`;

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('an app as a child process', () => {
  it('is started, asked and stopped', async () => {
    const lines: string[] = [];
    const app = await startApp({
      name: 'app',
      main: programOf(APP),
      env: { EXIT_CODE: '7' },
      onLog: ({ msg }) => lines.push(msg),
    });
    expect(await app.readyProblem()).toBe('');
    expect((await app.metrics()).sum('spanbuf_spans_total', { outcome: 'a' })).toBe(3);
    expect(app.findLog('serving')).toMatchObject({ level: 'info', port: expect.any(Number) });
    expect(app.hasEnded).toBe(false);
    expect(await app.stop()).toEqual({ code: 7, signal: null });
    expect(app.hasEnded).toBe(true);
    expect(await app.stop()).toEqual({ code: 7, signal: null });
    expect(lines).toEqual(['serving', 'not JSON']);
  });

  it('answers nothing while it is frozen, and goes on afterwards', async () => {
    const app = await startApp({ name: 'app', main: programOf(APP) });
    onTestFinished(() => void app.kill());
    app.freeze();
    await expect(fetch(`${app.url}/readyz`, { signal: AbortSignal.timeout(300) })).rejects.toThrow();
    app.thaw();
    await app.untilReady();
    app.freeze();
    expect(await app.kill()).toEqual({ code: null, signal: 'SIGKILL' });
  });

  it('that ends instead of getting ready says why', async () => {
    const main = programOf("console.log('one'); console.error('the reason'); process.exit(3)");
    await expect(startApp({ name: 'broken', main })).rejects.toThrow(/broken ended(.|\n)*one(.|\n)*the reason/);
  });

  it('that does not get ready is ended', async () => {
    const main = programOf(APP.replace('asked++ > 0', 'false'));
    await expect(startApp({ name: 'slow', main, startSeconds: 3 })).rejects.toThrow(
      /not so after 3 s: slow is ready: starting/,
    );
  });

  it('gets nothing of our environment but what it is given', async () => {
    const program = new ChildProgram({
      name: 'env',
      main: programOf('console.log(Object.keys(process.env).sort().join())'),
    });
    await program.ended;
    expect(
      program.stdout[0]?.split(',').filter((name) => !['HOME', 'PATH', 'PWD', '_', 'OLDPWD', 'SHLVL'].includes(name)),
    ).toEqual([]);
  });

  it('ends with the process that started it, frozen or not', async () => {
    const sleeper = programOf('setInterval(() => {}, 1000)');
    const parent = programOf(`
      import { ChildProgram } from ${JSON.stringify(join(ROOT, 'stack/processes.ts'))};
      const children = [1, 2].map(() => new ChildProgram({ name: 'sleeper', main: ${JSON.stringify(sleeper)} }));
      children[0].freeze();
      console.log(JSON.stringify(children.map(({ pid }) => pid)));
    `);
    const child = spawn(process.execPath, [parent], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [chunk] = await once(child.stdout, 'data');
    const pids: number[] = JSON.parse(String(chunk));
    expect(pids.map(isThere)).toEqual([true, true]);
    child.kill('SIGKILL');
    await until('both are gone', 20, () => !pids.some(isThere));
  });
});

describe('metrics', () => {
  it('are read with their labels', () => {
    const metrics = parseMetrics(`# TYPE a counter
a{x="1",y="with \\"quotes\\", commas and \\\\"} 2
a{x="2",y="b"} 3.5 1700000000
b 1e3
c_bucket{le="+Inf"} +Inf

`);
    expect(metrics.sum('a')).toBe(5.5);
    expect(metrics.sum('a', { x: '2' })).toBe(3.5);
    expect(metrics.sum('a', { x: '3' })).toBe(0);
    expect(metrics.valuesOf('a', { y: 'with "quotes", commas and \\' })).toEqual([2]);
    expect(metrics.sum('b')).toBe(1_000);
    expect(metrics.valuesOf('c_bucket')).toEqual([Number.POSITIVE_INFINITY]);
  });
});
