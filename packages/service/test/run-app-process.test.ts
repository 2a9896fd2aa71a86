/** runApp in a process of its own: real signals, real streams. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const APP = fileURLToPath(new URL('./an-app.ts', import.meta.url));

beforeAll(() => {
  execFileSync(`${ROOT}node_modules/.bin/tsc`, ['-b', `${ROOT}packages/service`], { stdio: 'pipe' });
}, 120_000);

class AppProcess {
  readonly child: ChildProcess;
  readonly closed: Promise<unknown[]>;
  out = '';
  err = '';

  constructor(env: Record<string, string> = {}, argv: readonly string[] = []) {
    const settings = { SPANBUF_HTTP_PORT: '0', SPANBUF_HTTP_HOST: '127.0.0.1', ...env };
    this.child = spawn(process.execPath, [APP, ...argv], { env: { PATH: process.env['PATH'], ...settings } });
    this.child.stdout?.on('data', (chunk) => {
      this.out += chunk;
    });
    this.child.stderr?.on('data', (chunk) => {
      this.err += chunk;
    });
    this.closed = once(this.child, 'close');
  }

  async logged(text: string): Promise<void> {
    await expect.poll(() => this.out, { timeout: 20_000 }).toContain(text);
  }

  async ended(): Promise<{ code: unknown; signal: unknown }> {
    const [code, signal] = await this.closed;
    return { code, signal };
  }
}

const exit = (code: number) => ({ code, signal: null });

describe('the process of an app', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('drains and ends with 0 after %s', async (signal) => {
    const app = new AppProcess();
    await app.logged('"started"');
    app.child.kill(signal);
    expect(await app.ended()).toEqual(exit(0));
    expect(app.out.trim().split('\n').at(-1)).toContain('"stopped"');
    expect(app.err).toBe('');
  });

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('ends at once after a second %s', async (signal, code) => {
    const app = new AppProcess({ SPANBUF_BEHAVIOUR: 'hangs', SPANBUF_SHUTDOWN_SECONDS: '3600' });
    await app.logged('"started"');
    app.child.kill('SIGTERM');
    await app.logged('"stopping"');
    app.child.kill(signal);
    expect(await app.ended()).toEqual(exit(code));
  });

  it('ends with 1 when draining takes too long', async () => {
    const app = new AppProcess({ SPANBUF_BEHAVIOUR: 'hangs', SPANBUF_SHUTDOWN_SECONDS: '0.1' });
    await app.logged('"started"');
    app.child.kill('SIGTERM');
    expect(await app.ended()).toEqual(exit(1));
    expect(app.out).toContain('the work in hand did not end within 0.1 s');
  });

  it('ends with 0 when it is told to before it has started', async () => {
    const app = new AppProcess({ SPANBUF_BEHAVIOUR: 'never-starts', SPANBUF_START_SECONDS: '3600' });
    await app.logged('"serving health and metrics"');
    app.child.kill('SIGTERM');
    expect(await app.ended()).toEqual(exit(0));
  });

  it.each(['throws', 'rejects'])('ends with 70 and a stack when it %s and nobody catches', async (behaviour) => {
    const app = new AppProcess({ SPANBUF_BEHAVIOUR: behaviour });
    expect(await app.ended()).toEqual(exit(70));
    const fatal = app.out
      .trim()
      .split('\n')
      .find((line) => line.includes('"fatal"'));
    expect(JSON.parse(fatal ?? '')).toMatchObject({ err: { stack: expect.stringContaining('an-app.ts') } });
  });

  it('works on when nobody reads its log any more', async () => {
    const app = new AppProcess();
    await app.logged('"started"');
    app.child.stdout?.destroy();
    app.child.kill('SIGTERM');
    expect(await app.ended()).toEqual(exit(0));
  });

  it('says on stderr what is wrong with its settings', async () => {
    const app = new AppProcess({ SPANBUF_BEHAVIOUR: 'well', SPANBUF_HTTP_PORTS: '1' });
    expect(await app.ended()).toEqual(exit(2));
    expect(app.out).toBe('');
    expect(app.err).toMatch(
      /^error: SPANBUF_BEHAVIOUR must be [^\n]*\nerror: SPANBUF_HTTP_PORTS is not a setting; [^\n]*\n$/,
    );
  });

  it('checks its configuration without working', async () => {
    const app = new AppProcess({}, ['--check-config']);
    expect(await app.ended()).toEqual(exit(0));
    expect(app.out).toBe('ok\n');
  });
});
