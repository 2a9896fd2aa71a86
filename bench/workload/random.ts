/** Random numbers that are the same in every run: mulberry32. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 up to, not including, `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return (((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * end;
  }

  int(end: number): number {
    return Math.floor(this.below(end));
  }

  /** Both ends included. */
  between([least, most]: readonly [number, number]): number {
    return least + this.int(most - least + 1);
  }

  hex(digits: number): string {
    let hex = '';
    while (hex.length < digits) hex += (this.int(0xffff_fffe) + 1).toString(16).padStart(8, '0');
    return hex;
  }

  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [items[i], items[j]] = [items[j] as T, items[i] as T];
    }
    return items;
  }
}
