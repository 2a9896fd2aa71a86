import zlib from 'node:zlib';
import { UnreadablePayloadError } from './errors.ts';
import type { StoredSpan } from './segment-store.ts';

export type Compression = 'none' | 'zstd';

/**
 * Raw payload bytes of one blob, unless a single span has more. Small enough that the blobs of one large trace spread
 * evenly over the nodes: 100 MB are some 3,000 blobs, whose shares of three nodes differ by about 2 %.
 */
export const BLOB_BYTES = 32_768;

/** Below this zstd's fixed cost per call (some 20 microseconds each way) buys little. */
const COMPRESS_FROM_BYTES = 2_048;

const PLAIN = 1;
const ZSTD = 2;
const IS_ROOT = 1;
const HAS_OFFSET = 2;
const HAS_PLACES = 4;
const ID_BYTES = 8;
const MAX_VARINT_BYTES = 10;
/** No more than this is unpacked from one blob: a bound against a damaged length, far above any real one. */
const MAX_UNPACKED_BYTES = 2 ** 30;

/**
 * The spans of one subsegment as one value: a format byte (1 plain, 2 zstd), then
 *
 *     count, source length, source, partition                             varints and UTF-8
 *     per span: flags, id (8 bytes), [parent (8)], [offset - offset of the one before], payload length, [2 places]
 *     the payloads, one after the other
 *
 * All of them have the same source and partition. Cost: one copy of the payloads.
 */
export function encodeBlob(spans: readonly StoredSpan[], compression: Compression): Buffer {
  const first = spans[0] as StoredSpan;
  const source = Buffer.from(first.source ?? '');
  let size = 1 + 3 * MAX_VARINT_BYTES + source.length;
  for (const span of spans) size += 1 + 2 * ID_BYTES + 4 * MAX_VARINT_BYTES + span.payload.length;
  const out = Buffer.allocUnsafe(size);
  out[0] = PLAIN;
  let at = writeVarint(out, spans.length, 1);
  at = writeVarint(out, source.length, at);
  at += source.copy(out, at);
  at = writeVarint(out, first.partition, at);
  let lastOffset = 0n;
  for (const span of spans) {
    const isRoot = span.parentId === span.spanId;
    const { places } = span;
    out[at++] =
      (isRoot ? IS_ROOT : 0) | (span.offset === undefined ? 0 : HAS_OFFSET) | (places === undefined ? 0 : HAS_PLACES);
    at += out.write(isRoot ? span.spanId : span.spanId + span.parentId, at, 'hex');
    if (span.offset !== undefined) {
      at = writeBigVarint(out, span.offset - lastOffset, at);
      lastOffset = span.offset;
    }
    at = writeVarint(out, span.payload.length, at);
    if (places !== undefined) at = writeVarint(out, places[1], writeVarint(out, places[0], at));
  }
  for (const span of spans) {
    out.set(span.payload, at);
    at += span.payload.length;
  }
  const blob = out.subarray(0, at);
  if (compression === 'none' || blob.length < COMPRESS_FROM_BYTES) return blob;
  const packed = zlib.zstdCompressSync(blob.subarray(1), { params: { [zlib.constants.ZSTD_c_compressionLevel]: 1 } });
  return packed.length + 1 < blob.length ? Buffer.concat([Buffer.of(ZSTD), packed]) : blob;
}

/**
 * Inverse of {@link encodeBlob}. The payloads are views on one buffer.
 * @throws {@link UnreadablePayloadError} when the bytes are not such a blob.
 */
export function decodeBlob(blob: Buffer): StoredSpan[] {
  try {
    return decode(unpack(blob));
  } catch (error) {
    throw new UnreadablePayloadError(`a payload of ${blob.length} bytes cannot be read: ${String(error)}`, {
      cause: error,
    });
  }
}

function unpack(blob: Buffer): Buffer {
  if (blob[0] === PLAIN) return blob.subarray(1);
  if (blob[0] === ZSTD) return zlib.zstdDecompressSync(blob.subarray(1), { maxOutputLength: MAX_UNPACKED_BYTES });
  throw new RangeError(`unknown format ${blob[0]}`);
}

function decode(body: Buffer): StoredSpan[] {
  const cursor = { body, at: 0 };
  const count = readVarint(cursor);
  const source = readBytes(cursor, readVarint(cursor)).toString();
  const partition = readVarint(cursor);
  const spans: Writable<StoredSpan>[] = [];
  const lengths: number[] = [];
  let lastOffset = 0n;
  for (let i = 0; i < count; i++) {
    const flags = readByte(cursor);
    const ids = readHex(cursor, flags & IS_ROOT ? ID_BYTES : 2 * ID_BYTES);
    const spanId = ids.slice(0, 2 * ID_BYTES);
    const parentId = flags & IS_ROOT ? spanId : ids.slice(2 * ID_BYTES);
    const span: Writable<StoredSpan> = { spanId, parentId, partition, payload: body };
    if (flags & HAS_OFFSET) {
      lastOffset += readBigVarint(cursor);
      span.offset = lastOffset;
    }
    if (source !== '') span.source = source;
    spans.push(span);
    lengths.push(readVarint(cursor));
    if (flags & HAS_PLACES) span.places = [readVarint(cursor), readVarint(cursor)];
  }
  for (const [i, span] of spans.entries()) span.payload = readBytes(cursor, lengths[i] as number);
  if (cursor.at !== body.length) throw new RangeError(`${body.length - cursor.at} bytes too many`);
  return spans;
}

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

interface Cursor {
  readonly body: Buffer;
  at: number;
}

function readBytes(cursor: Cursor, length: number): Buffer {
  const end = cursor.at + length;
  if (end > cursor.body.length) throw new RangeError('it ends too early');
  const bytes = cursor.body.subarray(cursor.at, end);
  cursor.at = end;
  return bytes;
}

function readByte(cursor: Cursor): number {
  if (cursor.at >= cursor.body.length) throw new RangeError('it ends too early');
  return cursor.body[cursor.at++] as number;
}

function readHex(cursor: Cursor, length: number): string {
  const start = cursor.at;
  if (start + length > cursor.body.length) throw new RangeError('it ends too early');
  cursor.at = start + length;
  return cursor.body.toString('hex', start, cursor.at);
}

function readBigVarint(cursor: Cursor): bigint {
  const start = cursor.at;
  const low = readVarint(cursor);
  if (Number.isSafeInteger(low)) return BigInt(low);
  cursor.at = start;
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = readByte(cursor);
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

function readVarint(cursor: Cursor): number {
  let value = 0;
  for (let scale = 1, i = 0; i < MAX_VARINT_BYTES; i++, scale *= 128) {
    const byte = readByte(cursor);
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
  }
  throw new RangeError('a number is too long');
}

function writeVarint(out: Buffer, value: number, from: number): number {
  let at = from;
  let rest = value;
  while (rest >= 0x80) {
    out[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  out[at++] = rest;
  return at;
}

function writeBigVarint(out: Buffer, value: bigint, from: number): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return writeVarint(out, Number(value), from);
  let at = from;
  let rest = value;
  while (rest >= 0x80n) {
    out[at++] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
  }
  out[at++] = Number(rest);
  return at;
}
