/** Messages that decide together what time it is. */
const WINDOW_MESSAGES = 64;
/** So many of them may have a clock that is ahead without any effect. */
const TOLERATED_AHEAD = 3;
/** Messages that are all far older than those before them: the input has gone back. */
const IN_A_ROW = 8;
/** What is older has no time stamp, or a broken clock. */
const EARLIEST_MS = Date.UTC(2000);
/** How far a message may be ahead of this machine's clock. What is further ahead has a broken clock. */
const MAX_AHEAD_SECONDS = 60;

/**
 * Message time of one partition, Unix seconds. It is that of the newest messages, but for a few that may have broken clocks:
 * were it further behind them at one time than at another, it would leap when it catches up, and what was due a moment
 * after a span would come before its siblings. It goes back only when the input does, by more than `maxBackSeconds`. It
 * moves on once a batch is applied, never before, and with the wall clock while there is nothing left to read.
 */
export class PartitionClock {
  readonly #maxBackSeconds: number;
  /** Time stamps of the messages read last, in their order. */
  #window: readonly number[] = [];
  /** Of the messages last read. */
  #readSeconds: number | undefined;
  #messageSeconds: number | undefined;
  /** Wall time up to which `#messageSeconds` accounts for everything. */
  #atSeconds: number | undefined;
  #isCaughtUp = false;

  constructor({ maxBackSeconds }: { readonly maxBackSeconds: number }) {
    this.#maxBackSeconds = maxBackSeconds;
  }

  /** How far the partition has been applied; undefined before anything is known. */
  get messageSeconds(): number | undefined {
    return this.#messageSeconds;
  }

  /** Message time of what was read last, applied or not. */
  get readSeconds(): number | undefined {
    return this.#readSeconds;
  }

  /** Where to start: what the reader before has noted. Without effect once something is known. */
  seed(messageSeconds: number, wallSeconds: number): void {
    if (this.#messageSeconds !== undefined) return;
    this.#messageSeconds = messageSeconds;
    this.#atSeconds = wallSeconds;
  }

  /** Takes the time stamps of a batch, Unix milliseconds, into account. Answers the time with which to apply it. */
  read(timestampsMs: readonly number[], wallSeconds: number): number {
    const credible = timestampsMs.slice(-WINDOW_MESSAGES).filter((timestampMs) => timestampMs >= EARLIEST_MS);
    this.#window = [...this.#window, ...credible].slice(-WINDOW_MESSAGES);
    const before = this.#messageSeconds;
    // Single messages with broken clocks are nothing new; so many in a row are an input that begins anew.
    const last = this.#window.slice(-IN_A_ROW);
    const earliestSeconds = (before ?? 0) - this.#maxBackSeconds;
    const isBack = last.length === IN_A_ROW && last.every((timestampMs) => timestampMs / 1_000 < earliestSeconds);
    if (isBack) this.#window = last;
    const seconds =
      this.#window.length === 0
        ? (before ?? wallSeconds)
        : Math.min(newest(this.#window) / 1_000, wallSeconds + MAX_AHEAD_SECONDS);
    this.#readSeconds = before === undefined || seconds > before || isBack ? seconds : before;
    this.#isCaughtUp = false;
    return this.#readSeconds;
  }

  /** The batch read last is applied. */
  applied(wallSeconds: number): void {
    this.#messageSeconds = this.#readSeconds;
    this.#atSeconds = wallSeconds;
  }

  /** Everything that was in the partition at `wallSeconds` is applied. */
  caughtUp(wallSeconds: number): void {
    this.#messageSeconds =
      this.#messageSeconds === undefined || this.#atSeconds === undefined
        ? wallSeconds
        : this.#messageSeconds + Math.max(0, wallSeconds - this.#atSeconds);
    this.#atSeconds = Math.max(this.#atSeconds ?? wallSeconds, wallSeconds);
    this.#isCaughtUp = true;
  }

  /** There is something that is not applied. */
  fellBehind(): void {
    this.#isCaughtUp = false;
  }

  /** How far message time is behind the wall clock; 0 while it goes with it. */
  behindSeconds(wallSeconds: number): number {
    if (this.#isCaughtUp || this.#messageSeconds === undefined) return 0;
    return Math.max(0, wallSeconds - this.#messageSeconds);
  }
}

/** The largest but a few; of a handful, the middle one. */
function newest(timestamps: readonly number[]): number {
  const rank = Math.min(TOLERATED_AHEAD, Math.floor(timestamps.length / 2));
  return timestamps.toSorted((a, b) => b - a)[rank] as number;
}
