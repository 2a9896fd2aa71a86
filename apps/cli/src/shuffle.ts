/** Puts `items` in an order that `seed`, 0 to 2^32 - 1, alone decides (Fisher-Yates), in place. */
export function shuffle<T>(items: T[], seed: number): void {
  const random = mulberry32(seed);
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [items[last], items[other]] = [items[other] as T, items[last] as T];
  }
}

/** Tommy Ettinger's Mulberry32: 32 bits of state; from 0 to below 1. Good enough to shuffle, useless for secrets. */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
