import { promisify } from 'node:util';
import zlib from 'node:zlib';
import lz4 from 'lz4-napi';
import snappy from 'snappy';
import type { Compression } from './log.ts';

interface Codec {
  /** As the attributes of a record batch name it. */
  readonly id: number;
  compress(bytes: Buffer): Promise<Buffer>;
  /** @throws when the bytes are damaged or would exceed {@link MAX_BATCH_BYTES}. */
  decompress(bytes: Buffer): Promise<Buffer>;
}

/** Most bytes that one batch may hold when unpacked: a few bytes of a hostile batch can stand for gigabytes. */
export const MAX_BATCH_BYTES = 64 * 1024 * 1024;

/** Handing fewer bytes to libuv's threads costs more than it saves. */
const SMALL_BYTES = 8 * 1024;

type Transform<R> = (bytes: Buffer) => R;

const unlessSmall = (now: Transform<Buffer>, inThread: Transform<Promise<Buffer>>): Transform<Promise<Buffer>> => {
  return async (bytes) => (bytes.length < SMALL_BYTES ? now(bytes) : inThread(bytes));
};

const [gzip, gunzip] = [promisify(zlib.gzip), promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.gunzip)];
const [zstd, unzstd] = [
  promisify<Buffer, zlib.ZstdOptions, Buffer>(zlib.zstdCompress),
  promisify<Buffer, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress),
];
/** Node packs and unpacks piece by piece, by default of 16 KiB, each a trip to a thread: three times slower. */
const pieceBytes = (expectedBytes: number): number => Math.min(Math.max(expectedBytes, 16 * 1024), 1024 * 1024);
/** Higher levels cost 15 % more and save 1 %, measured on spans, which are a tenth as long then. */
const packing = ({ length }: Buffer) => ({
  params: { [zlib.constants.ZSTD_c_compressionLevel]: 1 },
  chunkSize: pieceBytes(length >> 2),
});
const unpacking = ({ length }: Buffer) => ({
  maxOutputLength: MAX_BATCH_BYTES,
  chunkSize: pieceBytes(16 * length),
});

/** All that Kafka knows. */
const CODECS: Record<Exclude<Compression, 'none'>, Codec> = {
  gzip: {
    id: 1,
    compress: unlessSmall((bytes) => zlib.gzipSync(bytes), gzip),
    decompress: unlessSmall(
      (bytes) => zlib.gunzipSync(bytes, unpacking(bytes)),
      (bytes) => gunzip(bytes, unpacking(bytes)),
    ),
  },
  snappy: { id: 2, compress: compressSnappy, decompress: decompressSnappy },
  lz4: {
    id: 3,
    compress: unlessSmall(lz4.compressFrameSync, lz4.compressFrame),
    // LZ4 cannot grow by more than 255 times, so the size of a message bounds it.
    decompress: unlessSmall(lz4.decompressFrameSync, lz4.decompressFrame),
  },
  zstd: {
    id: 4,
    compress: unlessSmall(
      (bytes) => zlib.zstdCompressSync(bytes, packing(bytes)),
      (bytes) => zstd(bytes, packing(bytes)),
    ),
    decompress: unlessSmall(
      (bytes) => zlib.zstdDecompressSync(bytes, unpacking(bytes)),
      (bytes) => unzstd(bytes, unpacking(bytes)),
    ),
  },
};

/** Undefined for `none`. */
export function codecNamed(compression: Compression): Codec | undefined {
  return compression === 'none' ? undefined : CODECS[compression];
}

/** Undefined for 0, none. @throws RangeError when Kafka has no such compression. */
export function codecById(id: number): Codec | undefined {
  if (id === 0) return undefined;
  const codec = Object.values(CODECS).find((candidate) => candidate.id === id);
  if (codec === undefined) throw new RangeError(`unknown compression ${id}`);
  return codec;
}

/**
 * Java writes snappy in blocks, each with its length before it, after a header of its own ("xerial"); librdkafka and
 * others write one block as it is. Both are read everywhere. Written is the former.
 */
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);
const XERIAL_HEADER = Buffer.concat([XERIAL_MAGIC, Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])]);

async function compressSnappy(bytes: Buffer): Promise<Buffer> {
  const block = await snappy.compress(bytes);
  const length = Buffer.alloc(4);
  length.writeInt32BE(block.length);
  return Buffer.concat([XERIAL_HEADER, length, block]);
}

async function decompressSnappy(bytes: Buffer): Promise<Buffer> {
  if (!bytes.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) return decompressBlock(bytes, MAX_BATCH_BYTES);
  const blocks: Buffer[] = [];
  let leftBytes = MAX_BATCH_BYTES;
  for (let offset = XERIAL_HEADER.length; offset < bytes.length; ) {
    const length = bytes.readInt32BE(offset);
    offset += 4;
    if (length < 0 || offset + length > bytes.length) throw new RangeError('a snappy block ends too early');
    const block = await decompressBlock(bytes.subarray(offset, offset + length), leftBytes);
    leftBytes -= block.length;
    blocks.push(block);
    offset += length;
  }
  return Buffer.concat(blocks);
}

async function decompressBlock(block: Buffer, maxBytes: number): Promise<Buffer> {
  // A block begins with its unpacked length, a varint.
  let length = 0;
  for (let i = 0; i < 5; i++) {
    const byte = block[i] ?? 0;
    length += (byte & 0x7f) * 128 ** i;
    if (byte < 0x80) break;
  }
  if (length > maxBytes) throw new RangeError(`more than ${MAX_BATCH_BYTES} bytes unpacked`);
  return (await snappy.uncompress(block, { asBuffer: true })) as Buffer;
}
