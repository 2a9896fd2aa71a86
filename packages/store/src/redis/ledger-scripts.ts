import { formatLedgerKey, formatReceiptsKey, RECEIPTS_CHUNK } from '@spanbuf/keys';
import type { Fate, LedgerPosition, PartitionBooks, Receipt } from '../ledger.ts';
import { entryOf } from './grouping.ts';
import { evalsha, type RedisCommand, type RedisReply } from './redis-runner.ts';
import { loadScript } from './script.ts';

// Typed faces of the scripts on the books of a partition, in the order of their headers. Nothing else runs them.

const openBooks = loadScript('open-books');
const settleOffsets = loadScript('settle-offsets');
const takeOffsets = loadScript('take-offsets');

const CHUNK = BigInt(RECEIPTS_CHUNK);
/** Ranges that one call settles at most: some 0.5 ms of Redis. */
const RANGES_PAGE = 2_000;
const RANGE_BYTES = 4;
const PAGE_BYTES = RANGES_PAGE * RANGE_BYTES;

interface SliceRef {
  readonly sliceId?: number;
}

/** The books of one partition of a slice. */
interface BooksRef extends SliceRef {
  readonly partition: number;
  readonly source: string;
}

function ledgerKey({ partition, sliceId }: Omit<BooksRef, 'source'>): string {
  return formatLedgerKey(sliceId === undefined ? { shard: partition } : { shard: partition, sliceId });
}

function receiptsKey({ partition, source, sliceId }: BooksRef, chunk: bigint): string {
  return formatReceiptsKey({ shard: partition, source, chunk, ...(sliceId !== undefined && { sliceId }) });
}

export function openBooksCommand(
  slice: SliceRef,
  ttlSeconds: number,
  { partition, source, offset }: LedgerPosition,
): RedisCommand {
  const ref = { ...slice, partition, source };
  const chunk = offset / CHUNK;
  return evalsha(openBooks, [ledgerKey(ref), receiptsKey(ref, chunk)], [ttlSeconds, source, `${offset}`, `${chunk}`]);
}

/** Answers -1 without books. */
export function takeOffsetsCommand(
  slice: SliceRef,
  ttlSeconds: number,
  { partition, source, offset }: LedgerPosition,
): RedisCommand {
  return evalsha(takeOffsets, [ledgerKey({ ...slice, partition })], [ttlSeconds, source, `${offset}`]);
}

/** One call or more for each chunk and fate. */
export function settleOffsetsCommands(
  slice: SliceRef,
  ttlSeconds: number,
  receipts: readonly Receipt[],
): RedisCommand[] {
  const chunks = new Map<string, { ref: BooksRef; chunk: bigint; fate: Fate; ranges: number[]; start: bigint }>();
  // That of the receipt before: most are of the same.
  let last: ReturnType<(typeof chunks)['get']>;
  for (const { partition, source, fromOffset, toOffset, fate } of receipts) {
    for (let from = fromOffset; from < toOffset; ) {
      const isSame = last?.fate === fate && last.ref.partition === partition && last.ref.source === source;
      if (last === undefined || !isSame || from < last.start || from >= last.start + CHUNK) {
        const chunk = from / CHUNK;
        last = entryOf(chunks, `${partition} ${chunk} ${fate} ${source}`, () => {
          return { ref: { ...slice, partition, source }, chunk, fate, ranges: [], start: chunk * CHUNK };
        });
      }
      const { start, ranges } = last;
      const to = toOffset < start + CHUNK ? toOffset : start + CHUNK;
      ranges.push(Number(from - start) * RECEIPTS_CHUNK + Number(to - start) - 1);
      from = to;
    }
  }
  return [...chunks.values()].flatMap(({ ref, chunk, fate, ranges }) => {
    const keys = [ledgerKey(ref), receiptsKey(ref, chunk)];
    return packRanges(ranges).map((packed) =>
      evalsha(settleOffsets, keys, [ttlSeconds, ref.source, `${chunk}`, fate, packed]),
    );
  });
}

/**
 * Joined where they touch, in pages.
 * @param ranges - Of each its first offset in the chunk, times {@link RECEIPTS_CHUNK}, and its last.
 */
function packRanges(ranges: readonly number[]): Buffer[] {
  const packed = Buffer.allocUnsafe(ranges.length * RANGE_BYTES);
  let bytes = 0;
  // Of the range that stands last.
  let end = Number.NEGATIVE_INFINITY;
  for (const range of new Uint32Array(ranges).sort()) {
    const first = Math.floor(range / RECEIPTS_CHUNK);
    const last = range % RECEIPTS_CHUNK;
    const isApart = first > end + 1;
    if (isApart) bytes = packed.writeUInt16LE(first, bytes) + RANGE_BYTES / 2;
    end = isApart ? last : Math.max(end, last);
    packed.writeUInt16LE(end, bytes - RANGE_BYTES / 2);
  }
  const pages: Buffer[] = [];
  for (let at = 0; at < bytes; at += PAGE_BYTES) pages.push(packed.subarray(at, Math.min(at + PAGE_BYTES, bytes)));
  return pages;
}

export function readLedgerCommand(slice: SliceRef, partition: number): RedisCommand {
  const key = ledgerKey({ ...slice, partition });
  return { key, name: 'hgetall', args: [key] };
}

/** Books without what only bitmaps know. */
export interface LedgerFields extends Omit<PartitionBooks, 'firstOpenOffset'> {
  /** Highest chunk with receipts. */
  readonly high: bigint;
  /** Chunks up to it that have open offsets, in their order. */
  readonly parts: readonly bigint[];
}

export function parseLedgerReply(partition: number, reply: RedisReply): LedgerFields[] {
  // ioredis makes an object of the map that RESP3 answers.
  const fields = new Map(Object.entries(reply as unknown as Record<string, Buffer>));
  const offset = (name: string, source: string): bigint => BigInt(String(fields.get(`${name} ${source}`) ?? 0));
  return [...fields.keys()]
    .filter((field) => field.startsWith('base '))
    .map((field) => {
      const source = field.slice('base '.length);
      const [baseOffset, takenOffset] = [offset('base', source), offset('taken', source)];
      const named = (prefix: string): [rest: string, value: Buffer][] =>
        [...fields].flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : []));
      const counts = new Map(named(`n ${source} `).map(([fate, value]) => [fate, Number(value)]));
      const settled = [...counts.values()].reduce((sum, count) => sum + count, 0);
      return {
        partition,
        source,
        baseOffset,
        takenOffset,
        counts,
        openCount: Number(takenOffset - baseOffset) - settled,
        againCount: Number(offset('again', source)),
        high: offset('high', source),
        parts: named(`part ${source} `)
          .map(([chunk]) => BigInt(chunk))
          .sort((a, b) => (a < b ? -1 : 1)),
      };
    });
}

/** The first offset from `from` on that is not in a chunk in which every offset has a receipt. */
export function skipFull({ high, parts }: LedgerFields, from: bigint): bigint {
  const chunk = from / CHUNK;
  if (chunk > high) return from;
  const next = parts.find((part) => part >= chunk) ?? high + 1n;
  return next === chunk ? from : next * CHUNK;
}

/** Asks for the eight offsets around one, then for the first open one behind them, counted from the start of the chunk. */
export function firstOpenCommands(
  slice: SliceRef,
  { partition, source }: LedgerFields,
  offset: bigint,
): [RedisCommand, RedisCommand] {
  const key = receiptsKey({ ...slice, partition, source }, offset / CHUNK);
  const byte = Number(offset % CHUNK) >> 3;
  return [
    { key, name: 'bitfield_ro', args: [key, 'GET', 'u8', byte * 8] },
    { key, name: 'bitpos', args: [key, 0, byte + 1] },
  ];
}

/** The first open offset from `offset` on in its chunk, or the start of the next one. */
export function parseFirstOpen(offset: bigint, [byteReply, posReply]: readonly RedisReply[]): bigint {
  const start = offset - (offset % CHUNK);
  const bit = Number(offset - start);
  const [byte] = byteReply as readonly [number];
  for (let at = bit; at < (bit | 7) + 1; at++) if ((byte & (0x80 >> (at & 7))) === 0) return start + BigInt(at);
  // What lies behind the end of the bitmap is open; a bitmap that is gone was full, or never had a bit behind this one.
  const behind = (bit | 7) + 1;
  return start + BigInt(Math.max(behind, posReply as number));
}

/** Asks for the bits of offsets of one chunk, then where the books stand. */
export function chunkCommands(
  slice: SliceRef,
  ref: Omit<BooksRef, 'sliceId'>,
  chunk: bigint,
  offsets: readonly bigint[],
): RedisCommand[] {
  const { source } = ref;
  const key = ledgerKey({ ...slice, ...ref });
  const bitmap = receiptsKey({ ...slice, ...ref }, chunk);
  const bits = offsets.flatMap((offset) => ['GET', 'u1', Number(offset - chunk * CHUNK)]);
  return [
    // First: a chunk that becomes full is noted before its bitmap goes.
    { key: bitmap, name: 'bitfield_ro', args: [bitmap, ...bits] },
    { key, name: 'hmget', args: [key, `high ${source}`, `part ${source} ${chunk}`, `base ${source}`] },
  ];
}

/** Which of the offsets have a receipt. What lies below the books has none. */
export function parseChunkReplies(
  chunk: bigint,
  offsets: readonly bigint[],
  bits: RedisReply,
  fields: RedisReply,
): bigint[] {
  const [, , base] = fields as readonly (Buffer | null)[];
  if (base === null || base === undefined) return [];
  const isFull = isChunkFull(chunk, fields);
  const baseOffset = BigInt(String(base));
  return offsets.filter((offset, i) => offset >= baseOffset && (isFull || (bits as readonly number[])[i] === 1));
}

/** Asks for the bitmap of a chunk, then where the books stand; and lets the bitmap live on, as long as it has open offsets. */
export function readChunkCommands(
  slice: SliceRef,
  ttlSeconds: number,
  ref: Omit<BooksRef, 'sliceId'>,
  chunk: bigint,
): RedisCommand[] {
  const bitmap = receiptsKey({ ...slice, ...ref }, chunk);
  const [, fields] = chunkCommands(slice, ref, chunk, []) as [RedisCommand, RedisCommand];
  const keep = { key: bitmap, name: 'expire', args: [bitmap, ttlSeconds] };
  return [{ key: bitmap, name: 'getrange', args: [bitmap, 0, -1] }, fields, keep];
}

/** Where the books begin. `fields` is the reply to the second of {@link chunkCommands}. */
export function baseIn(fields: RedisReply): bigint | undefined {
  const [, , base] = fields as readonly (Buffer | null)[];
  return base === null || base === undefined ? undefined : BigInt(String(base));
}

/** `fields` as in {@link baseIn}. */
export function isChunkFull(chunk: bigint, fields: RedisReply): boolean {
  const [high, part] = fields as readonly (Buffer | null)[];
  return high !== null && high !== undefined && chunk <= BigInt(String(high)) && part === null;
}

/** Offsets of a chunk whose bits are set. */
export function rangesIn(chunk: bigint, bits: Buffer | 'full'): { fromOffset: bigint; toOffset: bigint }[] {
  const start = chunk * CHUNK;
  if (bits === 'full') return [{ fromOffset: start, toOffset: start + CHUNK }];
  const ranges: { fromOffset: bigint; toOffset: bigint }[] = [];
  let first: number | undefined;
  for (let bit = 0; bit <= 8 * bits.length; bit++) {
    const isSet = ((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0;
    if (isSet && first === undefined) first = bit;
    if (isSet || first === undefined) continue;
    ranges.push({ fromOffset: start + BigInt(first), toOffset: start + BigInt(bit) });
    first = undefined;
  }
  return ranges;
}

export function chunkOf(offset: bigint): bigint {
  return offset / CHUNK;
}
