import { RECEIPTS_CHUNK } from '@spanbuf/keys';
import type { Receipt, ReceiptsCopy } from './ledger.ts';
import { chunkOf, rangesIn } from './redis/ledger-scripts.ts';

// Sets of offsets, as bitmaps of chunks. A copy has no bitmap for a chunk in which every offset has a receipt.

const CHUNK = BigInt(RECEIPTS_CHUNK);
const CHUNK_BYTES = RECEIPTS_CHUNK / 8;

type Bits = Buffer | 'full';
/** By chunk. One that is not there has none. */
export type ChunkBits = Map<bigint, Bits>;

/** Adds the offsets of a receipt. */
export function addReceipt(bits: ChunkBits, { fromOffset, toOffset }: Receipt): void {
  for (let from = fromOffset; from < toOffset; ) {
    const chunk = chunkOf(from);
    const start = chunk * CHUNK;
    const to = toOffset < start + CHUNK ? toOffset : start + CHUNK;
    const own = bits.get(chunk);
    if (to - from === CHUNK) bits.set(chunk, 'full');
    else if (own !== 'full') bits.set(chunk, withRange(own, Number(from - start), Number(to - start)));
    from = to;
  }
}

function withRange(bitmap: Buffer | undefined, from: number, to: number): Buffer {
  const bytes = bitmap ?? Buffer.alloc(CHUNK_BYTES);
  for (let bit = from; bit < to; bit++) bytes[bit >> 3] = (bytes[bit >> 3] as number) | (0x80 >> (bit & 7));
  return bytes;
}

/** Adds all of the others. */
export function addBits(bits: ChunkBits, others: ChunkBits): void {
  for (const [chunk, other] of others) {
    const both = unionOf(bits.get(chunk), other);
    if (both !== undefined) bits.set(chunk, both);
  }
}

/** Without what lies below its beginning, of which Redis has the bits set. */
export function clipped(copy: ReceiptsCopy): ReceiptsCopy {
  const { baseOffset } = copy;
  const first = chunkOf(baseOffset);
  const below = Number(baseOffset % CHUNK);
  const bits = below === 0 ? undefined : bitsIn(copy, first);
  if (bits === undefined) return copy;
  return { ...copy, bitmaps: new Map([...copy.bitmaps, [first, withoutLowest(bits, below)]]) };
}

function withoutLowest(bits: Bits, count: number): Buffer {
  const bytes = bits === 'full' ? Buffer.alloc(CHUNK_BYTES, 0xff) : Buffer.from(bits);
  bytes.subarray(0, count >> 3).fill(0);
  if (count >> 3 < bytes.length) bytes[count >> 3] = (bytes[count >> 3] as number) & (0xff >> (count & 7));
  return bytes;
}

/** Those of offsets below one. */
export function bitsBelow(bits: ChunkBits, offset: bigint): ChunkBits {
  const below: ChunkBits = new Map();
  for (const [chunk, own] of bits) {
    if (chunk < chunkOf(offset)) below.set(chunk, own);
    if (chunk !== chunkOf(offset)) continue;
    const lowest = differenceOf(own, withoutLowest(own, Number(offset % CHUNK)));
    if (lowest !== undefined) below.set(chunk, lowest);
  }
  return below;
}

/** What either has, from the lower beginning on. Both {@link clipped}, and of the same log. */
export function united(one: ReceiptsCopy, other: ReceiptsCopy): ReceiptsCopy {
  const [earlier, later] = one.baseOffset <= other.baseOffset ? [one, other] : [other, one];
  const bitmaps = new Map<bigint, Buffer>();
  const chunks = new Set([...earlier.bitmaps.keys(), ...later.bitmaps.keys()]);
  for (let gap = earlier.highChunk + 1n; gap < chunkOf(later.baseOffset); gap++) chunks.add(gap);
  for (const chunk of chunks) {
    const both = unionOf(bitsIn(earlier, chunk), bitsIn(later, chunk)) ?? Buffer.alloc(0);
    if (both !== 'full') bitmaps.set(chunk, both);
  }
  return {
    ...earlier,
    takenOffset: higher(one.takenOffset, other.takenOffset),
    highChunk: higher(one.highChunk, other.highChunk),
    bitmaps,
  };
}

/** The copy with offsets that it lacks. Those below its beginning are left out of account. */
export function withBits(copy: ReceiptsCopy, bits: ChunkBits): ReceiptsCopy {
  let { highChunk, takenOffset } = copy;
  const bitmaps = new Map(copy.bitmaps);
  for (const [chunk, own] of [...bits].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (chunk < chunkOf(copy.baseOffset)) continue;
    for (; highChunk < chunk; highChunk++) bitmaps.set(highChunk + 1n, Buffer.alloc(0));
    const both = unionOf(bitmaps.get(chunk) ?? 'full', own) as Bits;
    if (both === 'full') bitmaps.delete(chunk);
    else bitmaps.set(chunk, both);
    takenOffset = higher(takenOffset, chunk * CHUNK + BigInt(lengthOf(own)));
  }
  return clipped({ ...copy, highChunk, takenOffset, bitmaps });
}

/** What the first has and the second does not, from the beginning of the second on. Both {@link clipped}. */
export function lacking(known: ReceiptsCopy, found: ReceiptsCopy): ChunkBits {
  const missing: ChunkBits = new Map();
  const chunks = [...found.bitmaps.keys()];
  // Of those in between everything has a receipt.
  for (let chunk = found.highChunk + 1n; chunk <= known.highChunk; chunk++) chunks.push(chunk);
  for (const chunk of chunks) {
    const bits = differenceOf(bitsIn(known, chunk), bitsIn(found, chunk));
    if (bits !== undefined) missing.set(chunk, bits);
  }
  return missing;
}

/** As ranges, in their order. */
export function rangesOf(bits: ChunkBits): { fromOffset: bigint; toOffset: bigint }[] {
  return [...bits].flatMap(([chunk, own]) => rangesIn(chunk, own));
}

function bitsIn({ baseOffset, highChunk, bitmaps }: ReceiptsCopy, chunk: bigint): Bits | undefined {
  if (chunk < chunkOf(baseOffset) || chunk > highChunk) return undefined;
  return bitmaps.get(chunk) ?? 'full';
}

function unionOf(one: Bits | undefined, other: Bits | undefined): Bits | undefined {
  if (one === 'full' || other === 'full') return 'full';
  if (one === undefined || other === undefined) return one ?? other;
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  const bytes = Buffer.from(long);
  for (const [i, byte] of short.entries()) bytes[i] = (bytes[i] as number) | byte;
  return bytes.length === CHUNK_BYTES && bytes.every((byte) => byte === 0xff) ? 'full' : bytes;
}

/** `undefined`: nothing. */
function differenceOf(known: Bits | undefined, found: Bits | undefined): Bits | undefined {
  if (known === undefined || found === 'full') return undefined;
  if (found === undefined) return known;
  const bytes = known === 'full' ? Buffer.alloc(CHUNK_BYTES, 0xff) : Buffer.from(known);
  for (let i = 0; i < Math.min(bytes.length, found.length); i++) {
    bytes[i] = (bytes[i] as number) & ~(found[i] as number);
  }
  return bytes.some((byte) => byte !== 0) ? bytes : undefined;
}

/** Up to and with the last bit that is set. */
function lengthOf(bits: Bits): number {
  if (bits === 'full') return RECEIPTS_CHUNK;
  const at = bits.findLastIndex((byte) => byte !== 0);
  if (at < 0) return 0;
  const byte = bits[at] as number;
  return 8 * at + 8 - Math.log2(byte & -byte);
}

function higher(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
