/**
 * A server as a child process, for tests: on loopback, in a temporary directory of its own, and never there longer than
 * the process that started it, even when that one is ended by SIGKILL.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export const HOST = '127.0.0.1';

/** Below the ports that Linux and macOS give to outgoing connections, so that no client takes the port of a dead server. */
const PORTS = { first: 12_000, last: 32_000 };
const portsInUse = new Set<number>();

/**
 * `exec` turns the shell into the server, so the child's process id is the server's. The subshell stays behind as the
 * watchdog: it reads from a pipe whose other end only the parent holds. A line means "the server is gone, go too"; the
 * end of the pipe without a line means that the parent died. A dying server may still write while its directory goes.
 */
const LAUNCHER = `
dir=$1; shift
( read -r line || { kill -KILL $$; for n in 1 2 3 4 5; do rm -rf "$dir" && break; sleep 0.2; done; } ) <&3 >/dev/null 2>&1 &
exec "$@" 3<&-
`;

/** One process at a time, with one directory and one log for all of them. */
export class ServerProcess {
  readonly #name: string;
  /** Made at the first start. */
  #directory: string | undefined;
  #child: ChildProcess | undefined;
  #paused = false;

  /** @param name - of the program: names the directory and the log. */
  constructor(name: string) {
    this.#name = name;
  }

  /** The temporary directory, made when it is asked for first and after `remove()`. */
  get directory(): string {
    this.#directory ??= mkdtempSync(join(tmpdir(), `spanbuf-${this.#name}-`));
    return this.#directory;
  }

  /** The process id. Throws while the process is not running. */
  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.#name} is not running`);
    return this.#child.pid;
  }

  /** Whether the process is there and not paused. */
  get running(): boolean {
    return this.#child !== undefined && !this.#paused;
  }

  /** What the process has printed since it was started last. */
  get output(): string {
    return this.#directory === undefined ? '' : readFileSync(this.#log, 'utf8');
  }

  get #log(): string {
    return join(this.directory, `${this.#name}.log`);
  }

  /** Starts the process, with `env` besides what this one has. Its exit code is 127 when there is no such program. */
  spawn(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const log = openSync(this.#log, 'w');
    // Detached: a signal to the parent's process group must not end the watchdog before it has done its work.
    const child = spawn('/bin/sh', ['-c', LAUNCHER, this.#name, this.directory, program, ...args], {
      stdio: ['ignore', log, log, 'pipe'],
      detached: true,
      env: { ...process.env, ...env },
    });
    closeSync(log);
    const lifeline = child.stdio[3] as Socket;
    lifeline.on('error', () => {});
    child.once('exit', () => {
      lifeline.end('\n');
      this.#child = undefined;
      this.#paused = false;
    });
    // A forgotten server must not keep the parent alive; the watchdog ends it then.
    child.unref();
    lifeline.unref();
    this.#child = child;
    return child;
  }

  /** Sends a signal that ends the process, and waits until it has ended. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' | 'SIGINT' = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.ref();
    const ended = once(child, 'exit');
    child.kill(signal);
    if (this.#paused && signal !== 'SIGKILL') this.resume();
    await ended;
  }

  /** Freezes the process (SIGSTOP): connections stay open and nothing answers, until `resume()`. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP');
    this.#paused = true;
  }

  /** Lets a paused process go on (SIGCONT). */
  resume(): void {
    process.kill(this.pid, 'SIGCONT');
    this.#paused = false;
  }

  /** Ends the process at once and removes its directory. Does nothing the second time. */
  async remove(): Promise<void> {
    await this.kill('SIGKILL');
    if (this.#directory !== undefined) rmSync(this.#directory, { recursive: true, force: true });
    this.#directory = undefined;
  }
}

/** Polls until the condition holds. Throws when it does not in time, and what the condition throws. */
export async function until(
  what: string,
  timeoutMs: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not so after ${timeoutMs} ms: ${what}`);
    await delay(10);
  }
}

/** A port that nobody listens on, and that this process gives to nobody else before `releasePort`. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.first, PORTS.last);
    if (portsInUse.has(port)) continue;
    portsInUse.add(port);
    const server = createServer();
    const listening = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, HOST, () => resolve(true));
    });
    if (listening) await new Promise((resolve) => server.close(resolve));
    if (listening) return port;
  }
}

export function releasePort(port: number): void {
  portsInUse.delete(port);
}
