import type { SealReason, StoredSpan } from './segment-store.ts';

/**
 * What became of every message of the input, by partition: the books that must balance. An offset gets a receipt once its end
 * is certain, and is counted then; a second receipt for it changes nothing, so that counts are right whatever is repeated.
 *
 * At any moment, of each partition and source: `takenOffset` - `baseOffset` = all `counts` + `openCount`. What is open is held,
 * parked, or lost.
 * @throws {@link StoreUnavailableError} when Redis does not answer in time. Retriable; every call may be repeated.
 */
export interface Ledger {
  /**
   * Begins the books of partitions at an offset, where there are none yet. What is read from an offset below is left out of
   * account. Answers those whose books it has begun.
   */
  open(entries: readonly LedgerPosition[]): Promise<LedgerPosition[]>;

  /**
   * Notes how far partitions have been read. Answers those that have no books: never opened, or lost by Redis.
   */
  take(entries: readonly LedgerPosition[]): Promise<LedgerPosition[]>;

  /** Gives offsets their receipts. Without effect where no books are open. Cost: a script call for each chunk of 65,536 offsets. */
  settle(receipts: readonly Receipt[]): Promise<void>;

  /**
   * The books of partitions, of all sources. Cost: two round trips, and one for each chunk that turns out to have no open
   * offset where it was looked for.
   * @param from - By partition, from where to look for the first open offset; by default from the start of the books.
   */
  read(partitions: readonly number[], from?: ReadonlyMap<number, bigint>): Promise<PartitionBooks[]>;

  /** Which of some offsets have a receipt. Cost: two reads for each chunk they are in. */
  settledAmong(partition: number, source: string, offsets: readonly bigint[]): Promise<Set<bigint>>;

  /** Copies the receipts of partitions, of all sources, to be kept elsewhere. Cost: 8 KiB for each chunk that has open offsets. */
  copy(partitions: readonly number[]): Promise<ReceiptsCopy[]>;

  /** Begins the books of a partition anew, where Redis has lost them, with the receipts of a copy, as `restored`. */
  restore(copy: ReceiptsCopy): Promise<void>;
}

/** Receipts of one partition as they were at one moment. Opaque but for what they are of. */
export interface ReceiptsCopy {
  readonly partition: number;
  readonly source: string;
  readonly baseOffset: bigint;
  readonly takenOffset: bigint;
  /** Up to which chunk of 65,536 offsets there are any. */
  readonly highChunk: bigint;
  /** A bit for each offset, of the chunks that have open ones; all others are full. */
  readonly bitmaps: ReadonlyMap<bigint, Buffer>;
}

/** A place in the log. */
export interface LedgerPosition {
  readonly partition: number;
  /** The log in which offsets count, as in `StoredSpan`. */
  readonly source: string;
  readonly offset: bigint;
}

/**
 * How a message ended. A seal reason: its span was produced with a generation of that reason. `invalid`: it is no span, and is in the
 * dead-letter topic. `dropped:<rule>`: a rule left it out. `absent`: there is no message at that offset. `deleted`: it was
 * parked, and an operator deleted it. `lost`: it was written off. `restored`: it had come to one of these ends before Redis
 * lost the books.
 */
export type Fate = SealReason | 'invalid' | `dropped:${string}` | 'absent' | 'deleted' | 'lost' | 'restored';

/** That offsets from `fromOffset` up to, not including, `toOffset` have come to an end. */
export interface Receipt {
  readonly partition: number;
  readonly source: string;
  readonly fromOffset: bigint;
  readonly toOffset: bigint;
  readonly fate: Fate;
}

export interface PartitionBooks {
  readonly partition: number;
  readonly source: string;
  /** Where the books begin. */
  readonly baseOffset: bigint;
  /** What lies below it has been read. */
  readonly takenOffset: bigint;
  /** The lowest offset without a receipt from where it was looked for; `takenOffset` or higher when there is none below. */
  readonly firstOpenOffset: bigint;
  /** Offsets by how they ended. */
  readonly counts: ReadonlyMap<string, number>;
  /** Offsets that were read, and have no receipt. */
  readonly openCount: number;
  /** Receipts for offsets that had one: what was produced twice, or told twice. */
  readonly againCount: number;
}

/** Receipts for spans that have come to the same end: one for offsets that follow each other. Spans without an offset get none. */
export function receiptsOf(spans: readonly StoredSpan[], fate: Fate): Receipt[] {
  const receipts: { -readonly [Field in keyof Receipt]: Receipt[Field] }[] = [];
  let last: (typeof receipts)[0] | undefined;
  for (const { partition, source = '', offset } of spans) {
    if (offset === undefined) continue;
    if (last?.toOffset === offset && last.partition === partition && last.source === source) {
      last.toOffset = offset + 1n;
      continue;
    }
    last = { partition, source, fromOffset: offset, toOffset: offset + 1n, fate };
    receipts.push(last);
  }
  return receipts;
}
