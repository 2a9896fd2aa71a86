/** Ids that were seen lately: at most `maxCount`, for at most `seconds`. The oldest are forgotten first. */
export class RecentIds {
  readonly #seconds: number;
  readonly #maxCount: number;
  /** Id -> when it was first seen, in that order. */
  readonly #seen = new Map<string, number>();

  constructor(seconds: number, maxCount: number) {
    this.#seconds = seconds;
    this.#maxCount = maxCount;
  }

  /** Notes an id. @returns Whether it was new. @param now - Never less than before. */
  add(id: string, now: number): boolean {
    this.#forget(now);
    if (this.#seen.has(id)) return false;
    this.#seen.set(id, now);
    if (this.#seen.size > this.#maxCount) this.#seen.delete(this.#seen.keys().next().value ?? '');
    return true;
  }

  #forget(now: number): void {
    for (const [id, seenAt] of this.#seen) {
      if (seenAt + this.#seconds > now) return;
      this.#seen.delete(id);
    }
  }
}
