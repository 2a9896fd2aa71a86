import type { Logger } from 'pino';
import { pause } from './retry.ts';

interface Turn {
  startedMs: number;
  succeededMs: number;
  isRunning: boolean;
}

/** Work that a service repeats for as long as it runs, and what the probes want to know of it. */
export class BackgroundLoops {
  readonly #log: Logger;
  readonly #clockMs: () => number;
  readonly #stopping = new AbortController();
  readonly #turns = new Map<string, Turn>();
  readonly #ended: Promise<void>[] = [];

  constructor({ log, clockMs }: { readonly log: Logger; readonly clockMs: () => number }) {
    this.#log = log;
    this.#clockMs = clockMs;
  }

  /** Aborts when the loops are to end. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /**
   * Runs `task` again and again, with a pause after each turn. A turn that fails is logged, and tried again after the pause.
   * @param task - Answers, if it likes, how long the pause is to be, milliseconds.
   */
  start(name: string, pauseMs: number, task: () => Promise<number | undefined> | Promise<void>): void {
    const turn: Turn = { startedMs: this.#clockMs(), succeededMs: this.#clockMs(), isRunning: false };
    this.#turns.set(name, turn);
    this.#ended.push(this.#run(name, pauseMs, task, turn));
  }

  async #run(
    name: string,
    pauseMs: number,
    task: () => Promise<number | undefined> | Promise<void>,
    turn: Turn,
  ): Promise<void> {
    const { signal } = this;
    while (!signal.aborted) {
      turn.startedMs = this.#clockMs();
      turn.isRunning = true;
      let wantedMs: number | undefined;
      try {
        wantedMs = (await task()) ?? undefined;
        turn.succeededMs = this.#clockMs();
      } catch (error) {
        if (!signal.aborted) this.#log.warn({ loop: name, error: (error as Error).message }, 'failed, will try again');
      }
      turn.isRunning = false;
      await pause(wantedMs ?? pauseMs, signal);
    }
  }

  /** Says that a turn that takes long gets on: what {@link stuckProblems} counts begins anew. */
  progress(name: string): void {
    const turn = this.#turns.get(name);
    if (turn !== undefined) turn.startedMs = this.#clockMs();
  }

  /** Since the last turn of this loop that succeeded, or since its start. 0 for a loop that was not started. */
  secondsSinceSuccess(name: string): number {
    const turn = this.#turns.get(name);
    return turn === undefined ? 0 : (this.#clockMs() - turn.succeededMs) / 1_000;
  }

  /** A line for each loop whose turn has gone on for longer than anything in it may take, without any progress. */
  stuckProblems(limitSeconds: number): string[] {
    return [...this.#turns].flatMap(([name, { startedMs, isRunning }]) => {
      const seconds = Math.round((this.#clockMs() - startedMs) / 1_000);
      return isRunning && seconds > limitSeconds ? [`loop ${name} is stuck for ${seconds} s`] : [];
    });
  }

  /** Resolves when all turns that were running have ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#ended);
  }
}
