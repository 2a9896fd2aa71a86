/** One Redis server process: see redis-servers.ts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export const HOST = '127.0.0.1';
export const START_TIMEOUT_MS = 10_000;
const START_ATTEMPTS = 5;

/** Below the ports that Linux and macOS give to outgoing connections, so that no client takes the port of a dead server. */
const PORTS = { first: 12_000, last: 32_000 };
const portsInUse = new Set<number>();

/**
 * `exec` turns the shell into redis-server, so the child's process id is the server's. The subshell stays behind as the
 * watchdog: it reads from a pipe whose other end only the parent holds. A line means "the server is gone, go too"; the
 * end of the pipe without a line means that the parent died.
 */
const LAUNCHER = `
dir=$1; shift
( read -r line || { kill -KILL $$; rm -rf "$dir"; } ) <&3 >/dev/null 2>&1 &
exec redis-server "$@" 3<&-
`;

/** One redis-server process. After `kill()` it can be started again with `restart()`, on the same port and directory. */
export class RedisServer {
  readonly port: number;
  /** Of a cluster node: the port that the other nodes talk to. */
  readonly busPort: number | undefined;
  readonly url: string;
  /** Connection options for ioredis. */
  readonly connection: { readonly host: string; readonly port: number };
  /** Made at the first start. */
  #directory: string | undefined;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #paused = false;

  /** Use `startRedis` instead. */
  constructor(port: number, busPort: number | undefined, args: readonly string[]) {
    this.port = port;
    this.busPort = busPort;
    this.url = `redis://${HOST}:${port}`;
    this.connection = { host: HOST, port };
    const own = ['--port', `${port}`, '--bind', HOST, '--save', '', '--appendonly', 'no'];
    const bus = busPort === undefined ? [] : ['--cluster-enabled', 'yes', '--cluster-port', `${busPort}`];
    this.#args = [...own, ...bus, ...args];
  }

  /** The process id. Throws while the server is not running. */
  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`the Redis server on port ${this.port} is not running`);
    return this.#child.pid;
  }

  /** Whether the process is there and not paused. */
  get running(): boolean {
    return this.#child !== undefined && !this.#paused;
  }

  /** What the server printed since it was started last. */
  get output(): string {
    return this.#directory === undefined ? '' : readFileSync(join(this.#directory, 'redis.log'), 'utf8');
  }

  /** Stops the server at once and removes its directory. Does nothing the second time. */
  async stop(): Promise<void> {
    await this.kill('SIGKILL');
    if (this.#directory !== undefined) rmSync(this.#directory, { recursive: true, force: true });
    this.#directory = undefined;
    portsInUse.delete(this.port);
    if (this.busPort !== undefined) portsInUse.delete(this.busPort);
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

  /** Kills the process if it runs, starts it again and waits until it answers. Data is lost; a cluster node keeps its identity. */
  async restart(): Promise<void> {
    await this.kill('SIGKILL');
    const child = this.#spawn();
    await until(`redis-server on port ${this.port} answers`, START_TIMEOUT_MS, async () => {
      if (child.exitCode === 127) throw new Error('redis-server is not installed: apt-get install redis-server');
      if (this.#child !== child) throw new Error(`redis-server did not start:\n${this.output}`);
      const reply = await firstReply(this.port, 'INFO server\r\n');
      return reply.includes(`process_id:${child.pid}\r\n`) || reply.startsWith('-NOAUTH');
    });
  }

  #spawn(): ChildProcess {
    this.#directory ??= mkdtempSync(join(tmpdir(), 'spanbuf-redis-'));
    const log = openSync(join(this.#directory, 'redis.log'), 'w');
    // Detached: a signal to the parent's process group must not end the watchdog before it has done its work.
    const child = spawn(
      '/bin/sh',
      ['-c', LAUNCHER, 'redis', this.#directory, '--dir', this.#directory, ...this.#args],
      {
        stdio: ['ignore', log, log, 'pipe'],
        detached: true,
      },
    );
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
}

/** Starts a server, as a cluster node if asked, with other ports when somebody else was quicker to take one. */
export async function startServer(args: readonly string[], clusterNode = false): Promise<RedisServer> {
  for (let attempt = 1; ; attempt += 1) {
    const server = new RedisServer(await freePort(), clusterNode ? await freePort() : undefined, args);
    try {
      await server.restart();
      return server;
    } catch (error) {
      await server.stop();
      if (attempt === START_ATTEMPTS || !/already in use|Failed listening/i.test(String(error))) throw error;
    }
  }
}

/** Polls until the condition holds. Throws when it does not in time, and what the condition throws. */
export async function until(what: string, timeoutMs: number, condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not so after ${timeoutMs} ms: ${what}`);
    await delay(10);
  }
}

async function freePort(): Promise<number> {
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

/** Sends an inline command on a new connection; '' when nobody answers within a second. */
function firstReply(port: number, command: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST, () => socket.write(command));
    const finish = (reply: string) => {
      socket.destroy();
      resolve(reply);
    };
    socket.setTimeout(1_000, () => finish(''));
    socket.on('data', (chunk) => finish(chunk.toString()));
    socket.on('error', () => finish(''));
    socket.on('close', () => resolve(''));
  });
}
