import { grouped } from '../summary.ts';

const TERMINAL_MS = 100;
/** Between two lines where nobody writes over them. */
const LINE_MS = 10_000;

export interface ProgressOptions {
  readonly write: (text: string) => void;
  /** Whether a line may be written over. */
  readonly isTerminal: boolean;
  /** Monotonic, milliseconds. */
  readonly clockMs: () => number;
}

/** Says on stderr how far it has come. */
export class GenerateProgress {
  readonly #options: ProgressOptions;
  readonly #startedMs: number;
  #saidMs: number;
  #saidMessages = 0;
  #hasLine = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#startedMs = this.#saidMs = options.clockMs();
  }

  /** One line that stays. */
  say(text: string): void {
    this.#options.write(`${this.#hasLine ? '\r\x1b[K' : ''}${text}\n`);
    this.#hasLine = false;
  }

  /** @param messages - So far, in all. */
  report(messages: number): void {
    const { isTerminal, clockMs, write } = this.#options;
    const nowMs = clockMs();
    const elapsedMs = nowMs - this.#saidMs;
    if (elapsedMs < (isTerminal ? TERMINAL_MS : LINE_MS)) return;
    const text = `${grouped(messages)} spans, ${grouped(Math.round(((messages - this.#saidMessages) / elapsedMs) * 1000))} spans/s`;
    write(isTerminal ? `\r\x1b[K${text}` : `${text}\n`);
    this.#hasLine = isTerminal;
    this.#saidMs = nowMs;
    this.#saidMessages = messages;
  }

  /** `12.34 s, 5,678 spans/s` */
  timing(messages: number): string {
    const seconds = (this.#options.clockMs() - this.#startedMs) / 1000;
    return `${seconds.toFixed(2)} s, ${grouped(Math.round(messages / Math.max(seconds, 0.001)))} spans/s`;
  }
}
