/** Four hex digits each, `0000` to `ffff`: two look-ups make eight digits. */
const HEX = Array.from({ length: 0x10000 }, (_, value) => value.toString(16).padStart(4, '0'));
const MIXING_ROUNDS = 16;

/**
 * Random numbers that a seed alone decides: Chris Doty-Humphrey's sfc32, 128 bits of state, so that the ids of two seeds do
 * not meet. Useless for secrets.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param seed - An integer from 0 to 2^53 - 1. */
  constructor(seed: number) {
    this.#a = 0x5eed;
    this.#b = Math.floor(seed / 2 ** 32) | 0;
    this.#c = seed | 0;
    for (let i = 0; i < MIXING_ROUNDS; i++) this.#next();
  }

  /** 32 bits, as a signed integer. */
  #next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum;
  }

  /** From `low` to below `high`. */
  between(low: number, high: number): number {
    return low + ((this.#next() >>> 0) / 2 ** 32) * (high - low);
  }

  /** An integer from 0 to below `end`. */
  below(end: number): number {
    return Math.floor(((this.#next() >>> 0) / 2 ** 32) * end);
  }

  /** An integer from `low` to `high`, both included. */
  integer(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with a probability of `share`, 0 to 1. */
  chance(share: number): boolean {
    return this.between(0, 1) < share;
  }

  /** @param items - At least one. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** 16 hex digits, not all zero. */
  spanId(): string {
    // An id of zeros is not an id.
    return this.#hex8() + hexOf(this.#next() >>> 0 || 1);
  }

  /** 32 hex digits, not all zero. */
  traceId(): string {
    return this.#hex8() + this.#hex8() + this.spanId();
  }

  #hex8(): string {
    return hexOf(this.#next() >>> 0);
  }
}

function hexOf(bits: number): string {
  return (HEX[bits >>> 16] as string) + (HEX[bits & 0xffff] as string);
}
