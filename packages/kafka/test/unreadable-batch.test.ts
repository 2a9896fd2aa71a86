import zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { MAX_BATCH_BYTES } from '../src/compression.ts';
import { crc32c } from '../src/crc32c.ts';
import { decodeRecordBatches } from '../src/decode-record-batch.ts';
import { encodeRecordBatch, toRecord } from '../src/encode-record-batch.ts';

const NOW_MS = 1_700_000_000_000;
const HEADER_BYTES = 61;
const GZIP = 1;

function aBatch(offset: bigint, values: readonly Buffer[]): Promise<Buffer> {
  const records = values.map((value) => toRecord({ key: 'k', value }, NOW_MS));
  return encodeRecordBatch(records, 'none').then((batch) => {
    batch.writeBigInt64BE(offset);
    return batch;
  });
}

/** A batch as a broken, or hostile, producer writes it: all is well but what is in it. */
async function aBrokenBatch(offset: bigint, codec: number, body: Buffer, count = 3): Promise<Buffer> {
  const good = await aBatch(
    offset,
    Array.from({ length: count }, () => Buffer.from('x')),
  );
  const batch = Buffer.concat([good.subarray(0, HEADER_BYTES), body]);
  batch.writeInt32BE(batch.length - 12, 8);
  batch.writeInt16BE(codec, 21);
  batch.writeUInt32BE(crc32c(batch.subarray(21)), 17);
  return batch;
}

describe('a batch that was written so that it cannot be decoded', () => {
  it.each([
    ['is not what it says it is packed with', GZIP, Buffer.from('not gzip')],
    ['has an unknown compression', 7, Buffer.from('x')],
    ['holds garbage', 0, Buffer.alloc(100, 0xff)],
    ['holds more than fits into memory', GZIP, zlib.gzipSync(Buffer.alloc(MAX_BATCH_BYTES + 1), { level: 1 })],
  ])('is one message, and does not stop what comes after it: it %s', async (_, codec, body) => {
    const broken = await aBrokenBatch(5n, codec, body);
    const log = Buffer.concat([
      await aBatch(4n, [Buffer.from('before')]),
      broken,
      await aBatch(8n, [Buffer.from('after')]),
    ]);
    const { messages, nextOffset } = await decodeRecordBatches(log, 3, 4n, []);
    expect(messages.map(({ offset, unreadable }) => [offset, unreadable === undefined])).toEqual([
      [4n, true],
      [5n, false],
      [8n, true],
    ]);
    expect(messages[1]?.value).toEqual(broken);
    expect(nextOffset).toBe(9n);
    const alone = await decodeRecordBatches(broken, 3, 6n, []);
    expect(alone).toMatchObject({ messages: [{ offset: 5n }], nextOffset: 8n });
  });
});

describe('many messages in a few bytes', () => {
  it('are not delivered all at once', async () => {
    const large = await Promise.all(
      Array.from({ length: 8 }, (_, i) => aBatch(BigInt(i), [Buffer.alloc(1024 * 1024)])),
    );
    const first = await decodeRecordBatches(Buffer.concat(large), 3, 0n, []);
    expect(first.messages).toHaveLength(2);
    expect(first.nextOffset).toBe(2n);
    const second = await decodeRecordBatches(Buffer.concat(large), 3, first.nextOffset, []);
    expect(second.messages.map(({ offset }) => offset)).toEqual([2n, 3n]);
  });
});
