import type { Ledger, Receipt, ReceiptsCopy } from './ledger.ts';
import {
  addBits,
  addReceipt,
  bitsBelow,
  type ChunkBits,
  clipped,
  lacking,
  rangesOf,
  united,
  withBits,
} from './receipt-bits.ts';

/** What is known of the books of one partition and source. */
interface Known {
  readonly partition: number;
  readonly source: string;
  /** Everything that was seen in them, and given before the last look. Absent: they were not seen yet. */
  copy: ReceiptsCopy | undefined;
  /** Since the last look. */
  given: ChunkBits;
  /** In a row, in which nothing was given, or no books were there. */
  looks: number;
}

/** Looks after which a partition is forgotten that gets no more receipts. */
const QUIET_LOOKS = 1_000;
/** The same where books were never seen: nobody keeps any, or they are about to be restored by somebody who has seen them. */
const LOOKS_WITHOUT_BOOKS = 100;

/** What a look has given back. */
export interface GivenBack {
  readonly partition: number;
  /** How many were not there; `undefined` when the books were gone as a whole, or had been begun anew. */
  readonly receiptCount: number | undefined;
}

/**
 * Remembers receipts outside of Redis, for when Redis loses them: those that this process has given, and those that it has seen in the
 * books. At each look the books are compared with that, and what they lack is given again, as `restored`. A receipt, once given,
 * stays true, so anybody may do this, at any time.
 *
 * What is lost in spite of it: receipts of a process that dies before it looks again, and before anybody else has seen them.
 */
export class ReceiptsKeeper {
  readonly #ledger: Ledger;
  readonly #quietLooks: number;
  readonly #known = new Map<string, Known>();

  constructor(ledger: Ledger, { quietLooks = QUIET_LOOKS }: { readonly quietLooks?: number } = {}) {
    this.#ledger = ledger;
    this.#quietLooks = quietLooks;
  }

  /** That offsets have their receipts, or should have them: their end is certain. */
  given(receipts: readonly Receipt[]): void {
    for (const receipt of receipts) {
      const known = this.#of(receipt);
      if (known.copy !== undefined) known.looks = 0;
      addReceipt(known.given, receipt);
    }
  }

  /**
   * Compares the books with what is known, gives back what they lack, and remembers what else is in them.
   * @param partitions - Looked at besides those for which this process has given receipts of late.
   * @returns Where something was given back.
   * @throws {@link StoreUnavailableError} when Redis does not answer in time. Retriable; nothing is forgotten.
   * @remarks Cost: that of `Ledger.copy`; where something is given back, that of `Ledger.restore` or `Ledger.settle`.
   */
  async look(partitions: readonly number[] = []): Promise<GivenBack[]> {
    const looked = new Set([...partitions, ...[...this.#known.values()].map(({ partition }) => partition)]);
    // What is given from now on may not be in the copies.
    const given = new Map([...this.#known.values()].map((known) => [known, known.given]));
    for (const known of given.keys()) known.given = new Map();
    try {
      const found = new Map((await this.#ledger.copy([...looked])).map((copy) => [keyOf(copy), clipped(copy)]));
      for (const copy of found.values()) this.#of(copy);
      const back: GivenBack[] = [];
      for (const [key, known] of this.#known) {
        if (!looked.has(known.partition)) continue;
        const lost = await this.#compare(known, given.get(known) ?? new Map(), found.get(key));
        given.delete(known);
        if (lost !== undefined) back.push(lost);
      }
      this.#forget(new Set(partitions));
      return back;
    } finally {
      for (const [known, bits] of given) addBits(known.given, bits);
    }
  }

  /** Answers what it has given back. */
  async #compare(known: Known, given: ChunkBits, found: ReceiptsCopy | undefined): Promise<GivenBack | undefined> {
    const { partition, source } = known;
    const seen = known.copy && found ? united(known.copy, found) : (known.copy ?? found);
    if (seen === undefined) {
      addBits(known.given, given);
      return undefined;
    }
    const wanted = withBits(seen, given);
    // At once: should what follows fail, the next look finds it missing again.
    known.copy = wanted;
    // Somebody may have begun the books too late after a loss, and somebody else know where they really began.
    addBits(known.given, bitsBelow(given, wanted.baseOffset));
    if (found === undefined || found.baseOffset > wanted.baseOffset) {
      await this.#ledger.restore(wanted);
      return { partition, receiptCount: undefined };
    }
    const ranges = rangesOf(lacking(wanted, found));
    await this.#ledger.settle(ranges.map((range) => ({ partition, source, ...range, fate: 'restored' })));
    if (wanted.takenOffset > found.takenOffset)
      await this.#ledger.take([{ partition, source, offset: wanted.takenOffset }]);
    const count = ranges.reduce((sum, { fromOffset, toOffset }) => sum + toOffset - fromOffset, 0n);
    return count === 0n ? undefined : { partition, receiptCount: Number(count) };
  }

  #forget(asked: ReadonlySet<number>): void {
    for (const [key, known] of this.#known) {
      const isQuiet = !asked.has(known.partition) || known.copy === undefined;
      known.looks = isQuiet ? known.looks + 1 : 0;
      if (known.looks > (known.copy === undefined ? LOOKS_WITHOUT_BOOKS : this.#quietLooks)) this.#known.delete(key);
    }
  }

  #of({ partition, source }: Pick<Known, 'partition' | 'source'>): Known {
    const key = keyOf({ partition, source });
    let known = this.#known.get(key);
    if (known === undefined) {
      known = { partition, source, copy: undefined, given: new Map(), looks: 0 };
      this.#known.set(key, known);
    }
    return known;
  }
}

function keyOf({ partition, source }: Pick<Known, 'partition' | 'source'>): string {
  return `${partition} ${source}`;
}
