import { randomBytes } from 'node:crypto';
import type { Writable } from 'node:stream';

export type StopSignal = 'SIGTERM' | 'SIGINT';

/** What an app needs of the process it runs in. */
export interface ProcessHost {
  /** Arguments of the command line, without program and script. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Calls `listener` for every SIGTERM and SIGINT; until then they end the process at once. */
  onSignal(listener: (signal: StopSignal) => void): void;
  /** Calls `listener` with what nobody caught. */
  onCrash(listener: (error: unknown) => void): void;
  /** Ends the process. */
  exit(code: number): void;
  /** Unix time, milliseconds. */
  clockMs(): number;
  /** Different with every call, also of other processes; letters and digits. */
  randomId(): string;
}

/** The process itself, for main.ts. */
export function processHost(process: NodeJS.Process): ProcessHost {
  // A log that nobody reads any more is no reason to stop.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  return {
    argv: process.argv.slice(2),
    env: process.env,
    stdout: process.stdout,
    stderr: process.stderr,
    onSignal: (listener) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => listener(signal));
    },
    onCrash: (listener) => {
      process.on('uncaughtException', listener).on('unhandledRejection', listener);
    },
    exit: (code) => process.exit(code),
    clockMs: Date.now,
    randomId: () => randomBytes(6).toString('hex'),
  };
}
