import { setTimeout as sleep } from 'node:timers/promises';
import { pagesOf } from '../redis/grouping.ts';
import type { Suspects, Suspicion } from './suspicion.ts';

/** Things that wait for their second look at most: they are kept in memory. */
const MOST_WAITING = 10_000;
/** Things that are looked at again at once. */
const AT_ONCE = 32;

/**
 * Where what looks wrong waits until it is looked at again: what is in the middle of a change looks wrong as well. What is
 * still wrong, and as it was, is certain.
 */
export class SecondLook {
  readonly #minAgeMs: number;
  readonly #onCertain: (suspicion: Suspicion) => Promise<void>;
  #waiting: { readonly suspects: Suspects; readonly fromMs: number }[] = [];

  constructor(minAgeSeconds: number, onCertain: (suspicion: Suspicion) => Promise<void>) {
    this.#minAgeMs = minAgeSeconds * 1000;
    this.#onCertain = onCertain;
  }

  /** Takes what a first look found. Looks again at what has waited long enough, and waits for it where there is too much. */
  async add(found: readonly Suspects[]): Promise<void> {
    const fromMs = performance.now() + this.#minAgeMs;
    for (const suspects of found) this.#waiting.push({ suspects, fromMs });
    await this.#lookAtRipe();
    while (this.#waiting.length > MOST_WAITING) await this.#waitForFirst();
  }

  /** Looks again at everything that waits. */
  async end(): Promise<void> {
    while (this.#waiting.length > 0) await this.#waitForFirst();
  }

  async #waitForFirst(): Promise<void> {
    const leftMs = (this.#waiting[0]?.fromMs ?? 0) - performance.now();
    if (leftMs > 0) await sleep(leftMs + 1);
    await this.#lookAtRipe();
  }

  async #lookAtRipe(): Promise<void> {
    const nowMs = performance.now();
    const ripe = this.#waiting.filter(({ fromMs }) => fromMs <= nowMs);
    this.#waiting = this.#waiting.slice(ripe.length);
    for (const page of pagesOf(ripe, AT_ONCE)) {
      const looks = await Promise.all(page.map(({ suspects }) => suspects.again()));
      for (const [i, { suspects }] of page.entries()) {
        const now = new Map((looks[i] ?? []).map((suspicion) => [suspicion.fingerprint, suspicion]));
        for (const { fingerprint } of suspects.suspicions) {
          const certain = now.get(fingerprint);
          if (certain !== undefined) await this.#onCertain(certain);
        }
      }
    }
  }
}
