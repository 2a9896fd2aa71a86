/** `npm run stack`, as a process, once everything is built. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { describe, expect, it, onTestFinished } from 'vitest';

const MAIN = fileURLToPath(new URL('../../../stack/main.ts', import.meta.url));

interface Ended {
  readonly code: number;
  readonly output: string;
}

function stack(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], (_error, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, output: stdout + stderr });
    });
  });
}

/** Processes that a process has started, and those that these have started. */
function descendantsOf(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`);
  const children = threads.flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}

function isThere(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

describe('the command line of the stack', () => {
  it('explains itself', async () => {
    expect(await stack('--help')).toMatchObject({ code: 0, output: expect.stringContaining('--consumers N') });
  });

  it.each([
    [['--spans', '0'], '--spans must be a number from 1'],
    [['--consumers', '1.5'], '--consumers must be an integer'],
    [['--quick'], "Unknown option '--quick'"],
    [['--consumer-env', 'X'], '--consumer-env must be NAME=VALUE'],
  ])('refuses %s', async (args, text) => {
    expect(await stack(...args)).toMatchObject({ code: 2, output: expect.stringContaining(text) });
  });
});

describeWithKafka('the stack', () => {
  it('sends a load through everything, judges what comes out, and leaves nothing behind', async () => {
    const timeouts = ['ROOT_TIMEOUT_SECONDS=5', 'TIMEOUT_SECONDS=15'].flatMap((text) => [
      '--consumer-env',
      `SPANBUF_${text}`,
    ]);
    const load = ['--spans', '3000', '--invalid-share', '0.02', '--late-share', '0'];
    const { code, output } = await stack(...load, '--consumers', '2', '--flushers', '2', ...timeouts);
    expect(code, output).toBe(0);
    expect(output).toContain('in:  3,000 messages: 2,940 spans, 60 broken\n');
    expect(output).toContain('verified: every span once, in its segment');
    expect(output).toContain('sent 3,000 = out 2,940 + dead-lettered 60 + dropped 0 + held 0 + not read 0');
    expect(output).toMatch(/ 0 of them in several generations/);
    expect(output).toMatch(/stopped\n$/);
  }, 180_000);

  it('runs until Ctrl-C, which is no failure and leaves nothing behind', async () => {
    const child = spawn(process.execPath, [MAIN, '--rate', '100', '--partitions', '2'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const ended = once(child, 'close');
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    // What it has sent goes through.
    await expect.poll(() => output, { timeout: 120_000 }).toMatch(/ stored [1-9]/);
    const started = descendantsOf(child.pid as number);
    // Redis, Kafka, apps and load, each with its watchdog.
    expect(started.length).toBeGreaterThanOrEqual(2 * 7);
    child.kill('SIGINT');
    expect(await ended).toEqual([0, null]);
    expect(output).toMatch(/stopped\n$/);
    await expect.poll(() => started.filter(isThere)).toEqual([]);
  }, 180_000);
});
