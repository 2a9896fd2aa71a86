import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * `exec` turns the shell into the program, so the child's process id is the program's. The subshell stays behind as the
 * watchdog: it reads from a pipe whose other end only the parent holds. A line means "the program is gone, go too"; the
 * end of the pipe without a line means that the parent died. It works on a frozen program as well.
 */
const LAUNCHER = `
( read -r line || kill -KILL $$ ) <&3 >/dev/null 2>&1 &
exec "$@" 3<&-
`;
/** What is remembered of each stream. */
const MAX_LINES = 2_000;

export interface ProgramOptions {
  /** For messages about it. */
  readonly name: string;
  /** Path of a JavaScript file, run with this Node. */
  readonly main: string;
  readonly args?: readonly string[];
  /** Options of Node itself. */
  readonly nodeArgs?: readonly string[];
  /** All it gets, beside PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called for each line on stderr. */
  readonly onStderr?: (line: string) => void;
}

/** How a program ended: `code` is null when a signal ended it. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A Node program as a child process, which ends with its parent, however that ends. */
export class ChildProgram {
  readonly name: string;
  readonly pid: number;
  /** Resolves when it has ended and all it wrote was read. */
  readonly ended: Promise<Ended>;
  /** What it wrote, the latest lines. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  readonly #child: ChildProcess;
  #hasEnded = false;

  /** Starts it. */
  constructor({ name, main, args = [], nodeArgs = [], env = {}, onStderr }: ProgramOptions) {
    this.name = name;
    const { PATH = '', HOME = '' } = process.env;
    this.#child = spawn('/bin/sh', ['-c', LAUNCHER, name, process.execPath, ...nodeArgs, main, ...args], {
      env: { PATH, HOME, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      // Ctrl-C in a terminal reaches the parent alone, which then ends everything in its order.
      detached: true,
    });
    if (this.#child.pid === undefined) throw new Error(`${name} cannot be started`);
    this.pid = this.#child.pid;
    this.stdout = this.#linesOf(this.#child.stdout, (line) => this.onLine(line));
    this.stderr = this.#linesOf(this.#child.stderr, onStderr);
    const lifeline = this.#child.stdio[3] as Socket;
    lifeline.on('error', () => undefined);
    this.#child.once('exit', () => {
      this.#hasEnded = true;
      lifeline.end('\n');
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => resolve({ code, signal }));
    });
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** The last lines that it wrote, for the message of an error. */
  get lastWords(): string {
    return [...this.stdout.slice(-20), ...this.stderr.slice(-20)].join('\n');
  }

  /** Called for every line on stdout. */
  protected onLine(_line: string): void {}

  /** Asks it to end (SIGTERM), and waits until it has. */
  async stop(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<Ended> {
    if (!this.#hasEnded) this.#child.kill(signal);
    return this.ended;
  }

  /** Ends it without warning. */
  async kill(): Promise<Ended> {
    if (!this.#hasEnded) this.#child.kill('SIGKILL');
    return this.ended;
  }

  /** Stops it where it stands (SIGSTOP): connections stay open and nothing answers, until `thaw()`. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  #linesOf(stream: NodeJS.ReadableStream | null, onLine?: (line: string) => void): string[] {
    const lines: string[] = [];
    if (stream === null) return lines;
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
      lines.push(line);
      if (lines.length > 2 * MAX_LINES) lines.splice(0, lines.length - MAX_LINES);
      onLine?.(line);
    });
    return lines;
  }
}

/** Polls until the condition holds. Throws when it does not in time, and what the condition throws. */
export async function until(
  what: string,
  timeoutSeconds: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + timeoutSeconds * 1_000;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`not so after ${timeoutSeconds} s: ${what}`);
    await delay(50);
  }
}
