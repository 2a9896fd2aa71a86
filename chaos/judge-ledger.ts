import type { LostSpan } from '@spanbuf/stack/verify';
import type { PartitionBooks, ReceiptsCopy } from '@spanbuf/store';

/** A partition of the input: what the ledger says of it, and what is in it. */
export interface BooksAndLog {
  readonly partition: number;
  /** Of the next message. */
  readonly highOffset: bigint;
  /** One for each log that the partition has been in. */
  readonly books: readonly PartitionBooks[];
  readonly receipts: readonly ReceiptsCopy[];
}

/** A place in the input. */
export interface Position {
  readonly partition: number;
  readonly offset: bigint;
}

/** By {@link nameOfPosition}: when the message at a place came out first, Unix milliseconds by the clock of the broker. */
export type EndTimes = ReadonlyMap<string, EndTime>;

export interface EndTime {
  readonly atMs: number;
  /** Which kind of app has told the broker. */
  readonly by: 'flusher' | 'consumer';
}

/** What came out although the ledger has no receipt for it. */
export interface ForgottenEnd {
  readonly partition: number;
  readonly offset: string;
  /** Unix milliseconds; absent: it was not found in any topic. */
  readonly atMs?: number;
  /** Who may have been the only one to know; '' where nothing explains it. */
  readonly reason: string;
}

export interface LedgerPartition {
  readonly partition: number;
  readonly baseOffset: number;
  readonly takenOffset: number;
  readonly highOffset: number;
  /** Read, and without an end. */
  readonly openCount: number;
  /** Spans that did not come out, by the topics. */
  readonly lostCount: number;
  /** Open ones that came out. */
  readonly forgottenCount: number;
}

/** What the ledger says once all is out, and what the topics say to that. */
export interface LedgerStatement {
  /** Messages that are in the books. */
  readonly readCount: number;
  /** By how they ended. */
  readonly counts: Readonly<Record<string, number>>;
  /** Held, parked or lost. */
  readonly openCount: number;
  /** Receipts for what had one. */
  readonly againCount: number;
  readonly partitions: readonly LedgerPartition[];
  /** Whether read = ended + open, in each partition, and just as many bits are not set as are open. */
  readonly isBalanced: boolean;
  /** Whether all was read, each lost span is open, and everything else that is open is forgotten for a reason. */
  readonly agrees: boolean;
  readonly forgotten: readonly ForgottenEnd[];
  /** Lost spans of which the ledger says that they came to an end. */
  readonly wronglyEndedCount: number;
  /** Lost spans below the beginning of the books, or of a partition that has none. */
  readonly unknownLostCount: number;
}

export interface JudgeableLedger {
  readonly books: readonly BooksAndLog[];
  /** Of the input, all that did not come out. */
  readonly lost: readonly LostSpan[];
  /** Of {@link openButOut}. */
  readonly ends: EndTimes;
  /** Why something may be forgotten that came out then; '' where nothing explains it. */
  readonly reasonFor: (end: EndTime) => string;
}

export function judgeLedger({ books: all, lost, ends, reasonFor }: JudgeableLedger): LedgerStatement {
  const counts: Record<string, number> = {};
  const books = all.flatMap((each) => each.books);
  for (const [fate, count] of books.flatMap((each) => [...each.counts])) counts[fate] = (counts[fate] ?? 0) + count;
  const forgotten = openButOut(all, lost).map(({ partition, offset }): ForgottenEnd => {
    const end = ends.get(nameOfPosition({ partition, offset }));
    const reason = end === undefined ? '' : reasonFor(end);
    return { partition, offset: String(offset), ...(end !== undefined && { atMs: end.atMs }), reason };
  });
  const isOf = (partition: number) => (one: { readonly partition: number }) => one.partition === partition;
  const partitions = all.flatMap(({ partition, highOffset, books: [own] }) =>
    own === undefined
      ? []
      : [
          {
            partition,
            baseOffset: Number(own.baseOffset),
            takenOffset: Number(own.takenOffset),
            highOffset: Number(highOffset),
            openCount: own.openCount,
            lostCount: lost.filter(isOf(partition)).length,
            forgottenCount: forgotten.filter(isOf(partition)).length,
          },
        ],
  );
  const wronglyEndedCount = lost.filter((span) => all.some((each) => hasReceipt(each, span))).length;
  const unknownLostCount = lost.filter((span) => !all.some((each) => isInBooks(each, span))).length;
  return {
    readCount: sum(books.map(readOf)),
    counts,
    openCount: sum(books.map(({ openCount }) => openCount)),
    againCount: sum(books.map(({ againCount }) => againCount)),
    partitions,
    forgotten,
    wronglyEndedCount,
    unknownLostCount,
    isBalanced:
      books.every((each) => readOf(each) === sum([...each.counts.values()]) + each.openCount) &&
      all.every((each) => each.books.length !== 1 || openIn(each).length === each.books[0]?.openCount),
    agrees:
      wronglyEndedCount === 0 &&
      unknownLostCount === 0 &&
      forgotten.every(({ reason }) => reason !== '') &&
      all.every(({ books: { length }, highOffset }) => length === (highOffset === 0n ? 0 : 1)) &&
      partitions.every((each) => each.takenOffset === each.highOffset) &&
      partitions.every((each) => each.openCount === each.lostCount + each.forgottenCount),
  };
}

export function nameOfPosition({ partition, offset }: Position): string {
  return `${partition}/${offset}`;
}

/** What is open in the books, and not lost. */
export function openButOut(all: readonly BooksAndLog[], lost: readonly LostSpan[]): Position[] {
  const missing = new Set(lost.map(nameOfPosition));
  return all.flatMap(openIn).filter((position) => !missing.has(nameOfPosition(position)));
}

function openIn(each: BooksAndLog): Position[] {
  const {
    partition,
    books: [own],
  } = each;
  const open: Position[] = [];
  if (own === undefined) return open;
  for (let offset = own.baseOffset; offset < own.takenOffset; offset++)
    if (!hasReceipt(each, { partition, offset })) open.push({ partition, offset });
  return open;
}

function isInBooks({ partition, books: [own] }: BooksAndLog, position: Position): boolean {
  return own !== undefined && position.partition === partition && position.offset >= own.baseOffset;
}

const CHUNK = 65_536n;

function hasReceipt({ partition, receipts: [own] }: BooksAndLog, position: Position): boolean {
  if (own === undefined || position.partition !== partition || position.offset < own.baseOffset) return false;
  const chunk = position.offset / CHUNK;
  if (chunk > own.highChunk) return false;
  const bitmap = own.bitmaps.get(chunk);
  if (bitmap === undefined) return true;
  const bit = Number(position.offset % CHUNK);
  return ((bitmap[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0;
}

function readOf({ baseOffset, takenOffset }: PartitionBooks): number {
  return Number(takenOffset - baseOffset);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
