/** Bytes that wait in memory, over all partitions. */
export class ByteBudget {
  readonly #limitBytes: number;
  readonly #waiting = new Set<() => void>();
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  take(bytes: number): void {
    this.#usedBytes += bytes;
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
    for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves once there is room, once `isEnough` holds, or when the signal aborts. */
  async room(isEnough: () => boolean, signal: AbortSignal): Promise<void> {
    while (this.#usedBytes >= this.#limitBytes && !isEnough() && !signal.aborted) {
      await new Promise<void>((resolve) => {
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
}
