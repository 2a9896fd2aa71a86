import { grouped, type Summary } from './summary.ts';

/** Lines refused that are printed; after them only counts. */
const PRINTED_REFUSALS = 20;
const PROGRESS_MS = 100;
const REASON_CHARACTERS = 600;

export interface ReporterOptions {
  readonly write: (text: string) => void;
  /** Whether a line may be written over: a terminal. */
  readonly isTerminal: boolean;
  /** Monotonic, milliseconds. */
  readonly clockMs: () => number;
}

/** What is said on stderr while the work goes on. */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #startedMs: number;
  #progressMs: number;
  #hasProgress = false;
  #refusals = 0;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#startedMs = this.#progressMs = options.clockMs();
  }

  get elapsedSeconds(): number {
    return (this.#options.clockMs() - this.#startedMs) / 1000;
  }

  /** One line that stays. */
  say(text: string): void {
    this.#clear();
    this.#options.write(`${text}\n`);
  }

  /** The first few are printed, then the count each time it has another digit. */
  refused(line: number, reason: string): void {
    this.#refusals += 1;
    if (this.#refusals <= PRINTED_REFUSALS) this.say(`line ${line}: ${printable(reason)}`);
    if (this.#refusals === PRINTED_REFUSALS) this.say('further lines that are not spans are only counted');
    if (this.#refusals > PRINTED_REFUSALS && /^10+$/.test(String(this.#refusals)))
      this.say(`${grouped(this.#refusals)} lines refused so far`);
  }

  /** A line that the next one replaces, on a terminal, ten times a second at most. */
  progress({ spansIn, segments }: Summary): void {
    const { isTerminal, clockMs, write } = this.#options;
    if (!isTerminal || clockMs() - this.#progressMs < PROGRESS_MS) return;
    this.#progressMs = clockMs();
    const rate = Math.round(spansIn / this.elapsedSeconds);
    write(`\r\x1b[K${grouped(spansIn)} spans read, ${grouped(segments)} segments written, ${grouped(rate)} spans/s`);
    this.#hasProgress = true;
  }

  #clear(): void {
    if (this.#hasProgress) this.#options.write('\r\x1b[K');
    this.#hasProgress = false;
  }
}

/** Bounded, on one line, and without what steers a terminal. */
export function printable(text: string): string {
  const short = text.length > REASON_CHARACTERS ? `${text.slice(0, REASON_CHARACTERS)}…` : text;
  return short.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}
