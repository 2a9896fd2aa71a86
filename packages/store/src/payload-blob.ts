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
const ID_DIGITS = 2 * ID_BYTES;
const MAX_VARINT_BYTES = 10;
/** No more than this is unpacked from one blob: a bound against a damaged length, far above any real one. */
const MAX_UNPACKED_BYTES = 2 ** 30;

/**
 * The spans of one subsegment as one value: a format byte (1 plain, 2 zstd), then
 *
 *     count, source length, source, partition                             varints and UTF-8
 *     flags of each span                                                  1 byte
 *     id of each span, [its parent]                                       8 bytes
 *     of each span [offset - offset of the one before], payload length, [2 places]
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
  let ids = '';
  for (const { spanId, parentId, offset, places } of spans) {
    const isRoot = parentId === spanId;
    out[at++] =
      (isRoot ? IS_ROOT : 0) | (offset === undefined ? 0 : HAS_OFFSET) | (places === undefined ? 0 : HAS_PLACES);
    ids += isRoot ? spanId : spanId + parentId;
  }
  // Together, as a call into the runtime for each costs more than the bytes do.
  at += out.write(ids, at, 'hex');
  let lastOffset = 0n;
  for (const { offset, payload, places } of spans) {
    if (offset !== undefined) {
      at = writeBigVarint(out, offset - lastOffset, at);
      lastOffset = offset;
    }
    at = writeVarint(out, payload.length, at);
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
  const flags = readBytes(cursor, count);
  const idCount = flags.reduce((sum, each) => sum + (each & IS_ROOT ? 1 : 2), 0);
  const ids = readBytes(cursor, idCount * ID_BYTES).toString('hex');
  const spans: Writable<StoredSpan>[] = [];
  const lengths: number[] = [];
  const idAt = (place: number): string => ids.slice(place * ID_DIGITS, (place + 1) * ID_DIGITS);
  let place = 0;
  let lastOffset = 0n;
  for (const each of flags) {
    const spanId = idAt(place++);
    const parentId = each & IS_ROOT ? spanId : idAt(place++);
    const span: Writable<StoredSpan> = { spanId, parentId, partition, payload: body };
    if (each & HAS_OFFSET) {
      lastOffset += readBigVarint(cursor);
      span.offset = lastOffset;
    }
    if (source !== '') span.source = source;
    spans.push(span);
    lengths.push(readVarint(cursor));
    if (each & HAS_PLACES) span.places = [readVarint(cursor), readVarint(cursor)];
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
