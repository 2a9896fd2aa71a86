interface Sample {
  readonly offset: bigint;
  readonly messageSeconds: number;
}

const MOST_SAMPLES = 4_096;

/**
 * How far what is committed of one partition is behind what is applied: in message time, and where nothing comes any more, in
 * time since then.
 */
export class CommitLag {
  /** By offset. */
  readonly #samples: Sample[] = [];
  /** When the last of them was taken. */
  #lastSeconds = 0;

  /**
   * Everything below `offset` is applied, and was sent by `messageSeconds`.
   * @param nowSeconds - Since any fixed moment; never goes back.
   */
  applied(offset: bigint, messageSeconds: number, nowSeconds: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && last.offset >= offset) return;
    this.#samples.push({ offset, messageSeconds });
    this.#lastSeconds = nowSeconds;
    // Every other one, from the second on: what is long behind is known less precisely.
    if (this.#samples.length > MOST_SAMPLES) this.#samples.splice(0, MOST_SAMPLES, ...thinned(this.#samples));
  }

  /** Seconds from the message time of the first sample above `offset` to that of now; 0 where there is none. */
  secondsBehind(offset: bigint, nowSeconds: number): number {
    const first = this.#samples.findIndex((sample) => sample.offset > offset);
    this.#samples.splice(0, first < 0 ? this.#samples.length : first);
    const [oldest, newest] = [this.#samples[0], this.#samples.at(-1)];
    if (oldest === undefined || newest === undefined) return 0;
    return Math.max(0, newest.messageSeconds - oldest.messageSeconds) + nowSeconds - this.#lastSeconds;
  }
}

function thinned(samples: readonly Sample[]): Sample[] {
  return samples.slice(0, MOST_SAMPLES).filter((_, i) => i % 2 === 0);
}
