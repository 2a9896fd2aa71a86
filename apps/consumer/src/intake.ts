/**
 * How much may be taken over until the next look at Redis, over all partitions: nothing while reading is paused, though
 * messages wait that were fetched before, and never more than there is room for.
 */
export class Intake {
  readonly #waiting = new Set<() => void>();
  #leftBytes = 0;

  /** Replaces what was left of the time before. Infinity: no limit. */
  allow(bytes: number): void {
    this.#leftBytes = bytes;
    if (bytes > 0) for (const wake of [...this.#waiting]) wake();
  }

  /**
   * Takes once something may be taken, perhaps more than is left: a batch is taken whole.
   * @returns undefined, with nothing taken, when the signal came first.
   */
  async take<B extends { readonly bytes: number }>(cut: () => B, signal: AbortSignal): Promise<B | undefined> {
    while (this.#leftBytes <= 0 && !signal.aborted) await this.#change(signal);
    if (signal.aborted) return undefined;
    // In one go with the look at what is left: several are woken at once.
    const batch = cut();
    this.#leftBytes -= batch.bytes;
    return batch;
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}
