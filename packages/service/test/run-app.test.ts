import { createServer } from 'node:http';
import { Writable } from 'node:stream';
import { SpanbufError } from '@spanbuf/keys';
import { describe, expect, it } from 'vitest';
import {
  type AppDefinition,
  defineApp,
  InvalidSettingsError,
  type ProcessHost,
  positiveSeconds,
  type RunningApp,
  runApp,
  type StopSignal,
  secretText,
  serviceSettings,
  setting,
} from '../src/index.ts';

class UnreachableError extends SpanbufError {
  readonly code = 'SPANBUF_TEST_UNREACHABLE';
  readonly retriable = true;
}

const settings = {
  ...serviceSettings,
  pauseSeconds: setting('SPANBUF_PAUSE_SECONDS', positiveSeconds(10).default(1), 'A pause.'),
  token: setting('SPANBUF_TOKEN', secretText(), 'A secret.', { secret: 'whole' }),
};
const metrics = { turns: { name: 'test_turns_total', type: 'counter', help: 'Turns.' } } as const;
type TestApp = AppDefinition<typeof settings, typeof metrics>;

/** An app that works until it is stopped; parts of it can be replaced. */
function anApp(parts: Partial<TestApp> = {}, running: Partial<RunningApp> = {}): TestApp {
  return defineApp({
    name: 'test-app',
    version: '1.2.3',
    description: 'Does nothing.',
    settings,
    metrics,
    start: async () => aRun(running),
    check: async () => undefined,
    ...parts,
  });
}

function aRun(parts: Partial<RunningApp> = {}): RunningApp {
  return {
    ended: new Promise(() => undefined),
    liveProblems: () => [],
    readyProblems: () => [],
    stop: async () => undefined,
    ...parts,
  };
}

/** Resolves when it is told to. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

class TestHost implements ProcessHost {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly exitCodes: number[] = [];
  out = '';
  err = '';
  #onSignal: (signal: StopSignal) => void = () => expect.unreachable('nobody listens to signals');
  #onCrash: (error: unknown) => void = () => expect.unreachable('nobody listens to crashes');

  constructor(argv: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    this.argv = argv;
    this.env = { SPANBUF_TOKEN: 'hunter2', SPANBUF_HTTP_PORT: '0', SPANBUF_HTTP_HOST: '127.0.0.1', ...env };
    this.stdout = this.#collector((text) => {
      this.out += text;
    });
    this.stderr = this.#collector((text) => {
      this.err += text;
    });
  }

  onSignal(listener: (signal: StopSignal) => void): void {
    this.#onSignal = listener;
  }

  onCrash(listener: (error: unknown) => void): void {
    this.#onCrash = listener;
  }

  exit(code: number): void {
    this.exitCodes.push(code);
  }

  clockMs(): number {
    return Date.UTC(2030, 0, 2);
  }

  randomId(): string {
    return 'abc123';
  }

  signal(signal: StopSignal): void {
    this.#onSignal(signal);
  }

  crash(error: unknown): void {
    this.#onCrash(error);
  }

  get lines(): Record<string, unknown>[] {
    return this.out
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  }

  /** Waits for a log line with this message, or the beginning of it. */
  async logged(message: string): Promise<Record<string, unknown>> {
    const find = () => this.lines.find(({ msg }) => String(msg).startsWith(message));
    await expect.poll(find, { timeout: 10_000 }).toBeDefined();
    return find() as Record<string, unknown>;
  }

  async get(path: string, method = 'GET'): Promise<{ status: number; body: string; type: string | null }> {
    const { port } = await this.logged('serving health and metrics');
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { connection: 'close' } });
    return { status: response.status, body: await response.text(), type: response.headers.get('content-type') };
  }

  #collector(take: (text: string) => void): Writable {
    return new Writable({
      write: (chunk, _encoding, done) => {
        take(String(chunk));
        done();
      },
    });
  }
}

/** Runs to the end. */
async function ranWith(
  argv: readonly string[],
  env: Record<string, string>,
  app: TestApp = anApp(),
): Promise<TestHost> {
  const host = new TestHost(argv, env);
  await runApp(app, host);
  return host;
}

describe('the command line of an app', () => {
  it('explains itself', async () => {
    const { out, err, exitCodes } = await ranWith(['--help'], { SPANBUF_TOKEN: '' });
    expect({ err, exitCodes }).toEqual({ err: '', exitCodes: [0] });
    for (const text of [
      'test-app',
      'Does nothing.',
      '--check-config',
      'SPANBUF_PAUSE_SECONDS',
      'A pause.',
      'default 1',
    ])
      expect(out).toContain(text);
    expect(out).toMatch(/Exit codes: 0 .*; 1 .*; 2 .*; 70 /);
  });

  it('tells its version', async () => {
    expect(await ranWith(['--version'], {})).toMatchObject({ out: '1.2.3\n', err: '', exitCodes: [0] });
  });

  it('prints what is in force, with nothing to connect to', async () => {
    const start = () => expect.unreachable();
    const { out, exitCodes } = await ranWith(
      ['--print-config'],
      { SPANBUF_HTTP_PORT: '1' },
      anApp({ start, check: start }),
    );
    expect(exitCodes).toEqual([0]);
    expect(out).toContain('SPANBUF_TOKEN=******\n');
    expect(out).toContain('SPANBUF_HTTP_PORT=1\n');
    expect(out).toContain('SPANBUF_SHUTDOWN_SECONDS=25\n');
    expect(out).not.toContain('hunter2');
  });

  it.each([
    ['an argument that it does not know', ['--verbose'], /^error: unknown argument "--verbose"; --help lists all\n$/],
    ['a name of every object', ['constructor'], /^error: unknown argument "constructor"/],
    ['two arguments', ['--version', '--help'], /^error: more than one argument/],
  ])('refuses %s', async (_name, argv, message) => {
    expect(await ranWith(argv, {})).toMatchObject({ out: '', err: expect.stringMatching(message), exitCodes: [2] });
  });

  it.each([[[]], [['--print-config']], [['--check-config']]])(
    'lists all that is wrong with the settings, %j',
    async (argv) => {
      const host = await ranWith(argv, { SPANBUF_TOKEN: '', SPANBUF_HTTP_PORT: 'x', SPANBUF_PAUSE: '1' });
      expect(host).toMatchObject({ out: '', exitCodes: [2] });
      expect(host.err).toBe(
        [
          'error: SPANBUF_HTTP_PORT must be an integer from 0 to 65535, got "x"',
          'error: SPANBUF_TOKEN is missing: at most 1024 characters',
          'error: SPANBUF_PAUSE is not a setting; did you mean SPANBUF_PAUSE_SECONDS?\n',
        ].join('\n'),
      );
    },
  );
});

describe('--check-config', () => {
  it('ends with 0 when everything was reached', async () => {
    let seconds = 0;
    const check: TestApp['check'] = async (context) => {
      seconds = context.settings.pauseSeconds;
      context.metrics.turns.inc();
    };
    const host = await ranWith(['--check-config'], { SPANBUF_PAUSE_SECONDS: '2' }, anApp({ check }));
    expect(host).toMatchObject({ out: 'ok\n', err: '', exitCodes: [0] });
    expect(seconds).toBe(2);
  });

  it('ends with 1 and one line when something cannot be reached', async () => {
    const check = () => Promise.reject(new UnreachableError('cannot use it\nat all'));
    const host = await ranWith(['--check-config'], {}, anApp({ check }));
    expect(host).toMatchObject({ out: '', err: 'error: cannot use it\\u000aat all\n', exitCodes: [1] });
  });

  it('does not wait for ever', async () => {
    const check = () => new Promise<void>(() => undefined);
    const host = await ranWith(['--check-config'], { SPANBUF_START_SECONDS: '0.05' }, anApp({ check }));
    expect(host).toMatchObject({
      err: expect.stringMatching(/^error: not checked within 0\.15\d* s\n$/),
      exitCodes: [1],
    });
  });
});

describe('a running app', () => {
  it('logs lines that say who, when and how bad', async () => {
    const host = new TestHost();
    const app = anApp({ start: async ({ log }) => aRun({ stop: async () => log.warn({ left: 2 }, 'left over') }) });
    const running = runApp(app, host);
    await host.logged('started');
    host.signal('SIGTERM');
    await running;
    expect(await host.logged('left over')).toEqual({
      level: 'warn',
      time: '2030-01-02T00:00:00.000Z',
      app: 'test-app',
      instance: 'test-app-abc123',
      version: '1.2.3',
      left: 2,
      msg: 'left over',
    });
    expect(host.exitCodes).toEqual([0]);
  });

  it('is live while it starts, ready once it works, and not ready while it stops', async () => {
    const host = new TestHost();
    const [starting, stopping] = [gate(), gate()];
    const start = () => starting.opened.then(() => aRun({ stop: () => stopping.opened }));
    const running = runApp(anApp({ start }), host);
    expect(await host.get('/livez')).toMatchObject({ status: 200, body: 'ok\n' });
    expect(await host.get('/readyz')).toMatchObject({ status: 503, body: 'starting\n' });
    expect((await host.get('/metrics')).body).toContain('\nspanbuf_ready 0\n');
    starting.open();
    await host.logged('started');
    expect(await host.get('/readyz')).toMatchObject({ status: 200, body: 'ok\n' });
    expect((await host.get('/metrics')).body).toContain('\nspanbuf_ready 1\n');
    host.signal('SIGTERM');
    await host.logged('stopping');
    expect(await host.get('/readyz')).toMatchObject({ status: 503, body: 'stopping\n' });
    expect(await host.get('/livez')).toMatchObject({ status: 200 });
    stopping.open();
    await running;
    expect(host.exitCodes).toEqual([0]);
    await expect(host.get('/livez')).rejects.toThrow();
  });

  it('says what its problems are', async () => {
    const host = new TestHost();
    const app = anApp({}, { liveProblems: () => ['stuck'], readyProblems: () => ['Redis is away', 'lag of 400 s'] });
    const running = runApp(app, host);
    await host.logged('started');
    expect(await host.get('/livez')).toMatchObject({ status: 503, body: 'stuck\n' });
    expect(await host.get('/readyz?verbose')).toMatchObject({ status: 503, body: 'Redis is away\nlag of 400 s\n' });
    host.signal('SIGINT');
    await running;
  });

  it('shows its metrics, and answers nothing else', async () => {
    const host = new TestHost();
    const start: TestApp['start'] = async (context) => {
      context.metrics.turns.inc(7);
      return aRun();
    };
    const running = runApp(anApp({ start }), host);
    await host.logged('started');
    const scrape = await host.get('/metrics');
    expect(scrape).toMatchObject({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' });
    expect(scrape.body).toContain('test_turns_total 7\n');
    expect(scrape.body).toContain('nodejs_version_info');
    expect(await host.get('/metrics', 'HEAD')).toMatchObject({ status: 200, body: '' });
    expect(await host.get('/metrics', 'POST')).toMatchObject({ status: 405 });
    for (const path of ['/', '/health', '/constructor', '/livez/x'])
      expect(await host.get(path)).toMatchObject({ status: 404 });
    host.signal('SIGTERM');
    await running;
  });

  it('stops once, at the first signal, and ends with 0', async () => {
    const host = new TestHost();
    let stops = 0;
    const stop = async () => {
      stops += 1;
    };
    const running = runApp(anApp({}, { stop }), host);
    await host.logged('started');
    host.signal('SIGINT');
    await running;
    expect({ stops, codes: host.exitCodes }).toEqual({ stops: 1, codes: [0] });
    expect(host.lines.map(({ msg }) => msg)).toEqual(['serving health and metrics', 'started', 'stopping', 'stopped']);
  });

  it('ends with 1 and says so when the work in hand takes too long', async () => {
    const host = new TestHost([], { SPANBUF_SHUTDOWN_SECONDS: '0.05' });
    const running = runApp(anApp({}, { stop: () => new Promise(() => undefined) }), host);
    await host.logged('started');
    host.signal('SIGTERM');
    await running;
    expect(host.exitCodes).toEqual([1]);
    expect(await host.logged('not drained')).toMatchObject({
      level: 'fatal',
      msg: 'not drained: the work in hand did not end within 0.05 s',
    });
  });

  it('ends with 1 when stopping fails', async () => {
    const host = new TestHost();
    const running = runApp(anApp({}, { stop: () => Promise.reject(new UnreachableError('not committed')) }), host);
    await host.logged('started');
    host.signal('SIGTERM');
    await running;
    expect(host.exitCodes).toEqual([1]);
    await host.logged('not drained: not committed');
  });

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('ends at once at a second signal, %s', async (signal, code) => {
    const host = new TestHost();
    const stopping = gate();
    const running = runApp(anApp({}, { stop: () => stopping.opened }), host);
    await host.logged('started');
    host.signal('SIGTERM');
    expect(host.exitCodes).toEqual([]);
    host.signal(signal);
    expect(host.exitCodes).toEqual([code]);
    stopping.open();
    await running;
    expect(host.exitCodes).toEqual([code]);
  });

  it('gives back what it has and ends with 1 when it cannot go on', async () => {
    const host = new TestHost();
    let stops = 0;
    const ended = gate();
    const app = anApp(
      {},
      {
        ended: ended.opened.then(() => Promise.reject(new UnreachableError('the group is gone'))),
        stop: async () => {
          stops += 1;
        },
      },
    );
    const running = runApp(app, host);
    await host.logged('started');
    ended.open();
    await running;
    expect({ stops, codes: host.exitCodes }).toEqual({ stops: 1, codes: [1] });
    expect(await host.logged('cannot go on')).toMatchObject({
      level: 'fatal',
      code: 'SPANBUF_TEST_UNREACHABLE',
      msg: 'cannot go on: the group is gone',
    });
  });

  it('ends with 1 when it ends without having been asked to', async () => {
    const host = await ranWith([], {}, anApp({}, { ended: Promise.resolve() }));
    expect(host.exitCodes).toEqual([1]);
    await host.logged('cannot go on: it ended by itself');
  });

  it('ends with 70 when nobody caught an error', async () => {
    const host = new TestHost();
    const running = runApp(anApp(), host);
    await host.logged('started');
    const error = new TypeError('x is not a function', { cause: new Error('because') });
    host.crash(Object.assign(error, { command: { name: 'auth', args: ['app', 'hunter2'] } }));
    expect(host.exitCodes).toEqual([70]);
    expect(await host.logged('this should not happen')).toMatchObject({
      level: 'fatal',
      err: { type: 'TypeError', message: 'x is not a function', cause: { message: 'because' } },
    });
    expect(host.out).not.toContain('hunter2');
    host.signal('SIGTERM');
    await running;
  });
});

describe('an app that does not start', () => {
  it('ends with 1 and one line', async () => {
    const start = () => Promise.reject(new UnreachableError('cannot use redis://h:1: nobody there'));
    const host = await ranWith([], {}, anApp({ start }));
    expect(host.exitCodes).toEqual([1]);
    expect(host.lines.at(-1)).toMatchObject({
      level: 'fatal',
      msg: 'cannot start: cannot use redis://h:1: nobody there',
    });
    expect(host.lines.at(-1)).not.toHaveProperty('err');
    expect(host.err).toBe('');
  });

  it('ends with 2 and plain lines when a setting turns out to be wrong', async () => {
    const start = () => Promise.reject(new InvalidSettingsError(['SPANBUF_A is wrong', 'SPANBUF_B is wrong']));
    const host = await ranWith([], {}, anApp({ start }));
    expect(host).toMatchObject({ err: 'error: SPANBUF_A is wrong\nerror: SPANBUF_B is wrong\n', exitCodes: [2] });
  });

  it('does not try for ever', async () => {
    const start = () => new Promise<RunningApp>(() => undefined);
    const host = await ranWith([], { SPANBUF_START_SECONDS: '0.05' }, anApp({ start }));
    expect(host.exitCodes).toEqual([1]);
    expect(host.lines.at(-1)?.['msg']).toMatch(/^cannot start: it did not start within 0\.15\d* s$/);
  });

  it('ends with 0, at once, when it is told to stop before', async () => {
    const host = new TestHost();
    const running = runApp(anApp({ start: () => new Promise(() => undefined) }), host);
    await host.logged('serving health and metrics');
    host.signal('SIGTERM');
    await running;
    expect(host.exitCodes).toEqual([0]);
  });

  it('names the port that somebody else has', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as { port: number };
    const start = () => expect.unreachable();
    const host = await ranWith([], { SPANBUF_HTTP_PORT: String(port) }, anApp({ start }));
    expect(host.exitCodes).toEqual([1]);
    expect(host.lines.map(({ msg }) => msg)).toEqual([
      `cannot start: cannot serve health and metrics on 127.0.0.1:${port}: the port is in use`,
    ]);
    other.close();
  });
});
