import type { Finding } from '../auditor.ts';

/** What looks wrong at first sight. */
export interface Suspicion {
  readonly finding: Finding;
  /** The same when it is looked at again and nothing has changed. */
  readonly fingerprint: string;
  /** Mends it and says what it did. Safe however the moment has changed. Where it is left out: why nothing can be done. */
  readonly repair: (() => Promise<string>) | string;
}

/** Looks at some things, and says for each of them what looks wrong. Safe to repeat. */
export type Look<T> = (things: readonly T[]) => Promise<readonly (readonly Suspicion[])[]>;

/** What was found wrong at one thing, and how to look at that thing again. */
export interface Suspects {
  readonly suspicions: readonly Suspicion[];
  readonly again: () => Promise<readonly Suspicion[]>;
}

/** A first look at some things. */
export async function suspectsAmong<T>(things: readonly T[], look: Look<T>): Promise<Suspects[]> {
  const found = await look(things);
  return things.flatMap((thing, i) => {
    const suspicions = found[i] ?? [];
    if (suspicions.length === 0) return [];
    return [{ suspicions, again: async () => (await look([thing]))[0] ?? [] }];
  });
}
