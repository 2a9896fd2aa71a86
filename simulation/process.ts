import type { RunnerClock } from '@spanbuf/store/testing/controlled';
import type { Chance } from './chance.ts';
import type { Command, Result } from './servers.ts';

/** A round trip that a process waits for. */
export interface Trip {
  readonly kind: 'trip';
  readonly process: SimulatedProcess;
  readonly node: number;
  readonly commands: readonly Command[];
  /** By the clock of the servers. */
  readonly sentMs: number;
  /** Of each partition: the offsets its worker was storing when this was sent. */
  readonly batches: ReadonlyMap<number, Batch>;
  /** Its sender has given it up. */
  readonly isLate?: boolean;
  readonly resolve: (results: Result[]) => void;
  readonly reject: (error: Error) => void;
}

/** A place in a program of ours where anything may happen before it goes on. */
export interface Turn {
  readonly kind: 'turn';
  readonly process: SimulatedProcess;
  readonly what: string;
  /** Whether there is anything to do. */
  readonly isReady: () => boolean;
  readonly resolve: () => void;
}

/** Offsets that are being stored since a time of the servers. */
export interface Batch {
  readonly offsets: readonly number[];
  readonly sinceMs: number;
}

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

/** Pauses of the store are shorter, its patience with a reply is longer. */
const PATIENCE_MS = 1_000;

/** A consumer or a flusher: its clock, what it waits for, and whether it lives. */
export class SimulatedProcess {
  readonly name: string;
  readonly chance: Chance;
  state: 'running' | 'frozen' | 'dead' = 'running';
  readonly waiting = new Set<Trip | Turn>();
  /** By partition: what it is storing. */
  readonly batches = new Map<number, Batch>();
  #nowMs = 0;
  #timers: Timer[] = [];

  constructor(name: string, chance: Chance) {
    this.name = name;
    this.chance = chance;
  }

  /** Stands still while nobody waits for it. */
  readonly clock: RunnerClock = {
    nowMs: () => this.#nowMs,
    after: (milliseconds, callback) => {
      const timer = { atMs: this.#nowMs + milliseconds, callback };
      this.#timers.push(timer);
      this.#timers.sort((a, b) => a.atMs - b.atMs);
      return () => {
        this.#timers = this.#timers.filter((one) => one !== timer);
      };
    },
  };

  get isPausing(): boolean {
    const next = this.#timers[0];
    return next !== undefined && next.atMs - this.#nowMs < PATIENCE_MS;
  }

  get hasTimer(): boolean {
    return this.#timers.length > 0;
  }

  /** Lets time pass until the next timer calls. */
  nextTimer(): void {
    const timer = this.#timers.shift();
    if (timer === undefined) return;
    this.#nowMs = Math.max(this.#nowMs, timer.atMs);
    timer.callback();
  }

  /** For good: nothing that it waits for comes any more. */
  die(): void {
    this.state = 'dead';
    this.waiting.clear();
    this.#timers = [];
  }
}
