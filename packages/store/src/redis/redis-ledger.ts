import type { Ledger, LedgerPosition, PartitionBooks, Receipt, ReceiptsCopy } from '../ledger.ts';
import { groupBy, pagesOf } from './grouping.ts';
import {
  baseIn,
  chunkCommands,
  chunkOf,
  firstOpenCommands,
  isChunkFull,
  type LedgerFields,
  openBooksCommand,
  parseChunkReplies,
  parseFirstOpen,
  parseLedgerReply,
  rangesIn,
  readChunkCommands,
  readLedgerCommand,
  settleOffsetsCommands,
  skipFull,
  takeOffsetsCommand,
} from './ledger-scripts.ts';
import { DAY_SECONDS } from './open-runner.ts';
import type { RedisReply, RedisRunner } from './redis-runner.ts';

/** How long books live that nobody writes in: as what is parked. */
export const BOOKS_TTL_SECONDS = 30 * DAY_SECONDS;

/** Calls of one pipeline. */
const CALLS_AT_ONCE = 256;

export class RedisLedger implements Ledger {
  readonly #runner: RedisRunner;
  readonly #slice: { readonly sliceId?: number };

  constructor(runner: RedisRunner, { sliceId }: { readonly sliceId: number | undefined }) {
    this.#runner = runner;
    this.#slice = sliceId === undefined ? {} : { sliceId };
  }

  async open(entries: readonly LedgerPosition[]): Promise<LedgerPosition[]> {
    const replies = await this.#runner.run(
      entries.map((entry) => openBooksCommand(this.#slice, BOOKS_TTL_SECONDS, entry)),
    );
    return entries.filter((_, i) => replies[i] === 1);
  }

  async take(entries: readonly LedgerPosition[]): Promise<LedgerPosition[]> {
    const replies = await this.#runner.run(
      entries.map((entry) => takeOffsetsCommand(this.#slice, BOOKS_TTL_SECONDS, entry)),
    );
    return entries.filter((_, i) => replies[i] === -1);
  }

  async settle(receipts: readonly Receipt[]): Promise<void> {
    const commands = settleOffsetsCommands(this.#slice, BOOKS_TTL_SECONDS, receipts);
    for (const page of pagesOf(commands, CALLS_AT_ONCE)) await this.#runner.run(page);
  }

  async read(partitions: readonly number[], from: ReadonlyMap<number, bigint> = new Map()): Promise<PartitionBooks[]> {
    const replies = await this.#runner.run(partitions.map((partition) => readLedgerCommand(this.#slice, partition)));
    const books = partitions.flatMap((partition, i) => parseLedgerReply(partition, replies[i] as RedisReply));
    return Promise.all(
      books.map(async ({ high, parts, ...facts }) => {
        const start = higher(facts.baseOffset, from.get(facts.partition) ?? 0n);
        return { ...facts, firstOpenOffset: await this.#firstOpen({ high, parts, ...facts }, start) };
      }),
    );
  }

  async #firstOpen(books: LedgerFields, from: bigint): Promise<bigint> {
    for (let offset = skipFull(books, from); ; ) {
      // Nothing has a receipt from here on.
      if (chunkOf(offset) > books.high) return offset;
      const found = parseFirstOpen(offset, await this.#runner.run(firstOpenCommands(this.#slice, books, offset)));
      if (chunkOf(found) === chunkOf(offset)) return found;
      offset = skipFull(books, found);
    }
  }

  async settledAmong(partition: number, source: string, offsets: readonly bigint[]): Promise<Set<bigint>> {
    const chunks = [...groupBy(offsets, chunkOf)];
    const ref = { partition, source };
    const replies = await this.#runner.run(
      chunks.flatMap(([chunk, some]) => chunkCommands(this.#slice, ref, chunk, some)),
    );
    const settled = chunks.flatMap(([chunk, some], i) =>
      parseChunkReplies(chunk, some, replies[2 * i] as RedisReply, replies[2 * i + 1] as RedisReply),
    );
    return new Set(settled);
  }

  async copy(partitions: readonly number[]): Promise<ReceiptsCopy[]> {
    const replies = await this.#runner.run(partitions.map((partition) => readLedgerCommand(this.#slice, partition)));
    const books = partitions.flatMap((partition, i) => parseLedgerReply(partition, replies[i] as RedisReply));
    const chunks = books.flatMap((each) => each.parts.map((chunk) => ({ of: each, chunk })));
    const found = new Map(books.map((each) => [each, new Map<bigint, Buffer>()]));
    const bases = new Map(books.map((each) => [each, each.baseOffset]));
    for (const page of pagesOf(chunks, CALLS_AT_ONCE)) {
      const bitmaps = await this.#runner.run(
        page.flatMap(({ of, chunk }) => readChunkCommands(this.#slice, BOOKS_TTL_SECONDS, of, chunk)),
      );
      for (const [i, { of, chunk }] of page.entries()) {
        const [bitmap, fields] = bitmaps.slice(3 * i, 3 * i + 2) as [Buffer, RedisReply];
        if (!isChunkFull(chunk, fields)) found.get(of)?.set(chunk, bitmap);
        // Books that were lost meanwhile, and begun anew later on, have the bits set of what lies below them.
        bases.set(of, higher(bases.get(of) ?? 0n, baseIn(fields) ?? 0n));
      }
    }
    return books.map((each) => {
      const { partition, source, takenOffset, high } = each;
      const baseOffset = bases.get(each) ?? each.baseOffset;
      return { partition, source, baseOffset, takenOffset, highChunk: high, bitmaps: found.get(each) ?? new Map() };
    });
  }

  async restore(copy: ReceiptsCopy): Promise<void> {
    const { partition, source, baseOffset, takenOffset, highChunk, bitmaps } = copy;
    await this.open([{ partition, source, offset: baseOffset }]);
    // Chunk by chunk: ranges take far more memory than bits.
    for (let chunk = chunkOf(baseOffset); chunk <= highChunk; chunk++) {
      const ranges = rangesIn(chunk, bitmaps.get(chunk) ?? 'full');
      await this.settle(ranges.map((range) => ({ partition, source, ...range, fate: 'restored' })));
    }
    await this.take([{ partition, source, offset: takenOffset }]);
  }
}

function higher(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
