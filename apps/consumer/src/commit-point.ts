import type { Logger } from '@spanbuf/service';
import { type Ledger, type LedgerPosition, type LossWatch, type Receipt, ReceiptsKeeper } from '@spanbuf/store';

/** After so many commits partitions are forgotten that somebody else has. */
const QUIET_LOOKS = 5;

export interface CommitPointOptions {
  readonly ledger: Ledger;
  readonly losses: LossWatch;
  /** `buffered`: what is applied may be committed. `flushed`: what has its receipt. */
  readonly mode: 'buffered' | 'flushed';
  readonly log: Logger;
  /** Redis has lost receipts; what is remembered of them was given again. */
  readonly onReceiptsLost: () => void;
}

/** What is committed of an assignment, and in which epoch it works. */
export interface Committed {
  readonly committed: ReadonlyMap<number, bigint>;
  readonly epoch: number;
}

/** How far offsets may be committed; keeps the books that say so, and remembers their receipts for when Redis loses them. */
export class CommitPoint {
  readonly #options: CommitPointOptions;
  readonly #receipts: ReceiptsKeeper;

  constructor(options: CommitPointOptions) {
    this.#options = options;
    this.#receipts = new ReceiptsKeeper(options.ledger, { quietLooks: QUIET_LOOKS });
  }

  /** That messages of the input have come to an end without a flusher. */
  settled(receipts: readonly Receipt[]): void {
    this.#receipts.given(receipts);
  }

  /**
   * Begins with partitions at offsets. Books that Redis has lost are begun with what is remembered of them.
   * @returns By partition, below which offset everything was read before.
   */
  async open(entries: readonly LedgerPosition[]): Promise<Map<number, bigint>> {
    const sources = new Map(entries.map(({ partition, source }) => [partition, source]));
    await this.#begin(entries);
    const books = await this.#options.ledger.read([...sources.keys()]);
    return new Map(
      books
        .filter(({ partition, source }) => sources.get(partition) === source)
        .map(({ partition, takenOffset }) => [partition, takenOffset]),
    );
  }

  /** By partition, how far may be committed of what is applied. Enters into the books how far that is. */
  async reach(applied: readonly LedgerPosition[], { committed, epoch }: Committed): Promise<Map<number, bigint>> {
    const { ledger, losses, mode, log } = this.#options;
    const ends = new Map(applied.map(({ partition, offset }) => [partition, offset]));
    if (mode === 'buffered') {
      // Books are no reason to keep offsets from being committed.
      await this.#keep(applied).catch((error: Error) => log.warn({ error: error.message }, 'books are not kept'));
      return ends;
    }
    const lost = new Set((await ledger.take(applied)).map(({ partition }) => partition));
    if (lost.size > 0) await losses.suspect(epoch, `the books of partitions ${[...lost].join(', ')} are gone`);
    // What was open below the committed offset, nobody reads again.
    const books = await ledger.read([...ends.keys()], committed);
    await this.#look(applied);
    const open = new Map(books.map((each) => [`${each.partition} ${each.source}`, each.firstOpenOffset]));
    return new Map(
      applied.flatMap(({ partition, source, offset }): [number, bigint][] => {
        const firstOpen = lost.has(partition) ? undefined : open.get(`${partition} ${source}`);
        return firstOpen === undefined ? [] : [[partition, lower(firstOpen, offset)]];
      }),
    );
  }

  async #keep(applied: readonly LedgerPosition[]): Promise<void> {
    const { ledger, log } = this.#options;
    const lost = await ledger.take(applied);
    if (lost.length > 0) {
      log.warn(
        { partitions: lost.map(({ partition }) => partition) },
        'Redis has lost the books of partitions: they begin anew, with the receipts that are remembered',
      );
      await this.#begin(lost);
    }
    await this.#look(applied);
  }

  /** Remembers them from the beginning: the next loss may come before the next commit. */
  async #begin(entries: readonly LedgerPosition[]): Promise<void> {
    const { ledger } = this.#options;
    await this.#look(entries);
    await ledger.open(entries);
    // Books that were brought back may not know how far they had come.
    await ledger.take(entries);
    await this.#look(entries);
  }

  async #look(entries: readonly LedgerPosition[]): Promise<void> {
    const back = await this.#receipts.look(entries.map(({ partition }) => partition));
    if (back.length === 0) return;
    this.#options.onReceiptsLost();
    this.#options.log.warn({ back }, 'Redis has lost receipts: they are given again');
  }
}

function lower(a: bigint, b: bigint): bigint {
  return a > b ? b : a;
}
