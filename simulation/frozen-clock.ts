import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const SOURCE = join(import.meta.dirname, 'frozen-clock.c');

/** The wall time of servers, which stands still between two calls of {@link set}. */
export class FrozenClock {
  readonly #file: number;
  /** What a server needs in its environment to live by this clock. */
  readonly env: Readonly<Record<string, string>>;
  #nowMs = 0;

  /** @param directory - where its file is made. */
  constructor(directory: string) {
    const path = join(directory, 'clock');
    this.#file = openSync(path, 'w+');
    this.env = { LD_PRELOAD: compiled(), FROZEN_CLOCK: path };
    this.set(Date.now());
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** @param nowMs - Unix time, whole milliseconds. */
  set(nowMs: number): void {
    this.#nowMs = nowMs;
    const micros = Buffer.alloc(8);
    micros.writeBigInt64LE(BigInt(nowMs) * 1000n);
    writeSync(this.#file, micros, 0, 8, 0);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Path of the library that makes a server live by the clock. */
function compiled(): string {
  const digest = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 12);
  const directory = join(import.meta.dirname, '../node_modules/.cache/frozen-clock');
  const library = join(directory, `${digest}.so`);
  if (existsSync(library)) return library;
  mkdirSync(directory, { recursive: true });
  // Others may be compiling it, too.
  const made = `${library}.${process.pid}`;
  execFileSync('cc', ['-shared', '-fPIC', '-O2', '-nostdlib', '-o', made, SOURCE]);
  renameSync(made, library);
  return library;
}
