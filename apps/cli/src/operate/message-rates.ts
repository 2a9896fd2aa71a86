import type { PartitionTotals } from '@spanbuf/store';

/** Why a generation was sealed: what went out to the output topic. */
const PRODUCED = new Set(['root-idle', 'idle', 'max-age', 'max-bytes', 'drain']);

/** Messages a second, between two readings of the books. */
export interface MessageRates {
  readonly seconds: number;
  readonly readPerSecond: number;
  readonly producedPerSecond: number;
  /** Of them, by why their segments were sealed; most first, as everywhere here. */
  readonly produced: readonly FateRate[];
  /** All that ended otherwise. */
  readonly others: readonly FateRate[];
  /** Receipts for what had one: produced twice, or told twice. */
  readonly againPerSecond: number;
}

/** How messages ended, and how many did in a second. */
export type FateRate = readonly [fate: string, perSecond: number];

interface Reading {
  readonly atMs: number;
  readonly totals: ReadonlyMap<string, PartitionTotals>;
}

/** The consumers note once a second how far they are, so rates are of some seconds together. */
const WINDOW_MS = 10_000;

/** Rates over the last ten seconds. */
export class RateWindow {
  #readings: Reading[] = [];

  /** @returns `undefined` at the first reading. */
  add(atMs: number, totals: readonly PartitionTotals[]): MessageRates | undefined {
    const latest: Reading = { atMs, totals: new Map(totals.map((each) => [`${each.partition} ${each.source}`, each])) };
    this.#readings.push(latest);
    while ((this.#readings[1]?.atMs ?? atMs) <= atMs - WINDOW_MS) this.#readings.shift();
    const first = this.#readings[0] as Reading;
    return first === latest ? undefined : ratesBetween(first, latest);
  }
}

function ratesBetween(first: Reading, latest: Reading): MessageRates {
  const seconds = (latest.atMs - first.atMs) / 1_000;
  let [read, again] = [0, 0];
  const fates = new Map<string, number>();
  for (const [name, now] of latest.totals) {
    const before = first.totals.get(name);
    // Books that were begun anew meanwhile count from the next reading on.
    if (before === undefined || before.baseOffset !== now.baseOffset || before.takenOffset > now.takenOffset) continue;
    read += Number(now.takenOffset - before.takenOffset);
    again += Math.max(0, now.againCount - before.againCount);
    for (const [fate, count] of now.counts)
      fates.set(fate, (fates.get(fate) ?? 0) + Math.max(0, count - (before.counts.get(fate) ?? 0)));
  }
  const byFate = [...fates]
    .filter(([, count]) => count > 0)
    .map(([fate, count]) => [fate, count / seconds] as const)
    .sort(([, a], [, b]) => b - a);
  const produced = byFate.filter(([fate]) => PRODUCED.has(fate));
  return {
    seconds,
    readPerSecond: read / seconds,
    producedPerSecond: produced.reduce((sum, [, rate]) => sum + rate, 0),
    produced,
    others: byFate.filter(([fate]) => !PRODUCED.has(fate)),
    againPerSecond: again / seconds,
  };
}
