import { createRequire } from 'node:module';
import zlib from 'node:zlib';
import fc from 'fast-check';
import snappy from 'snappy';
import { describe, expect, it } from 'vitest';
import { MAX_BATCH_BYTES } from '../src/compression.ts';
import { crc32c } from '../src/crc32c.ts';
import { decodeRecordBatches, UndecodableBatchError } from '../src/decode-record-batch.ts';
import { encodeRecordBatch, toRecord } from '../src/encode-record-batch.ts';
import type { Compression, OutgoingMessage } from '../src/log.ts';

const require = createRequire(import.meta.url);
const COMPRESSIONS: Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const NOW_MS = 1_700_000_000_000;

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const messages = fc.array(
  fc.record({
    key: fc.option(bytes),
    value: fc.option(bytes),
    timestampMs: fc.integer({ min: 0, max: 4_102_444_800_000 }),
    headers: fc.dictionary(
      fc.string({ maxLength: 20 }),
      fc.oneof(bytes, fc.constant(undefined), fc.array(bytes, { minLength: 2, maxLength: 3 })),
    ),
  }),
  { minLength: 1, maxLength: 20 },
);

function encode(all: readonly OutgoingMessage[], compression: Compression = 'none'): Promise<Buffer> {
  return encodeRecordBatch(
    all.map((message) => toRecord(message, NOW_MS)),
    compression,
  );
}

/** As a broker gives offsets to a batch. */
function at(offset: bigint, batch: Buffer): Buffer {
  const copy = Buffer.from(batch);
  copy.writeBigInt64BE(offset);
  return copy;
}

const decode = (log: Buffer, from = 0n) => decodeRecordBatches(log, 3, from, []);

describe('record batches', () => {
  it.each(COMPRESSIONS)('gives back what was encoded with %s', async (compression) => {
    await fc.assert(
      fc.asyncProperty(messages, fc.bigInt({ min: 0n, max: 2n ** 62n }), async (all, offset) => {
        const decoded = await decode(at(offset, await encode(all, compression)), offset);
        expect(decoded.messages).toEqual(
          all.map((message, index) => ({ partition: 3, offset: offset + BigInt(index), ...message })),
        );
        expect(decoded.nextOffset).toBe(offset + BigInt(all.length));
      }),
      { numRuns: 40 },
    );
  });

  it('is read by kafkajs in the same way', async () => {
    const kafkajsDecode = require('kafkajs/src/protocol/recordBatch/v0/decoder.js');
    const Decoder = require('kafkajs/src/protocol/decoder.js');
    await fc.assert(
      fc.asyncProperty(messages, async (all) => {
        const { records } = await kafkajsDecode(new Decoder(await encode(all, 'gzip')));
        expect(
          records.map((record: Record<string, unknown>) => [record['key'], record['value'], record['timestamp']]),
        ).toEqual(all.map(({ key, value, timestampMs }) => [key, value, `${timestampMs}`]));
      }),
      { numRuns: 30 },
    );
  });

  it('carries the checksum that the protocol prescribes', async () => {
    // RFC 3720, appendix B.4.
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    const batch = await encode([{ key: 'k', value: null }]);
    expect(batch.readUInt32BE(17)).toBe(crc32c(batch.subarray(21)));
  });

  it('begins in the middle of a batch and leaves out the end that is not there', async () => {
    const batch = await encode(['a', 'b', 'c'].map((key) => ({ key, value: null })));
    const log = Buffer.concat([at(10n, batch), at(13n, batch), at(16n, batch).subarray(0, batch.length - 5)]);
    const { messages, nextOffset } = await decode(log, 11n);
    expect(messages.map(({ offset }) => offset)).toEqual([11n, 12n, 13n, 14n, 15n]);
    expect(nextOffset).toBe(16n);
  });

  it('moves past a batch that was emptied by compaction', async () => {
    const batch = await encode([{ key: 'a', value: null }], 'zstd');
    const empty = Buffer.from(batch.subarray(0, 61));
    empty.writeInt32BE(61 - 12, 8);
    empty.writeInt32BE(4, 23); // last offset delta
    empty.writeInt32BE(0, 57); // records
    expect(await decode(at(5n, empty), 5n)).toMatchObject({ messages: [], nextOffset: 10n });
  });

  it('takes a header name for what it is', async () => {
    const odd = await encode([{ key: null, value: null, headers: { ['__proto__']: 'x', constructor: 'y', '': 'z' } }]);
    const { headers } = (await decode(odd)).messages[0] ?? {};
    const texts = Object.entries(headers ?? {}).map(([name, value]) => [name, `${value}`]);
    expect(texts).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
      ['', 'z'],
    ]);
  });

  // kafkajs copies all headers for each one: minutes, in which no heartbeat is sent.
  it('reads a message of 100,000 headers', async () => {
    const headers = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`header ${i}`, 'x']));
    const { messages } = await decode(await encode([{ key: null, value: null, headers }]));
    expect(Object.keys(messages[0]?.headers ?? {})).toHaveLength(100_000);
  });
});

describe('transactions', () => {
  const [TRANSACTIONAL, CONTROL] = [0x10, 0x20];

  async function batchOf(
    producerId: bigint,
    offset: bigint,
    attributes: number,
    key: Buffer | string,
  ): Promise<Buffer> {
    const batch = at(offset, await encode([{ key, value: null }]));
    batch.writeInt16BE(attributes, 21);
    batch.writeBigInt64BE(producerId, 43);
    return batch;
  }

  const marker = (producerId: bigint, offset: bigint, isCommit: boolean) =>
    batchOf(producerId, offset, TRANSACTIONAL | CONTROL, Buffer.from([0, 0, 0, isCommit ? 1 : 0]));

  it('leaves out markers, and messages of the transaction that was aborted but of no other', async () => {
    const log = Buffer.concat([
      await batchOf(1n, 0n, TRANSACTIONAL, 'aborted'),
      await batchOf(2n, 1n, TRANSACTIONAL, 'committed'),
      await batchOf(-1n, 2n, 0, 'plain'),
      await marker(1n, 3n, false),
      await batchOf(1n, 4n, TRANSACTIONAL, 'committed later'),
      await marker(2n, 5n, true),
      await marker(1n, 6n, true),
    ]);
    const { messages, nextOffset } = await decodeRecordBatches(log, 0, 0n, [{ producerId: 1n, firstOffset: 0n }]);
    expect(messages.map(({ key, offset }) => [`${key}`, offset])).toEqual([
      ['committed', 1n],
      ['plain', 2n],
      ['committed later', 4n],
    ]);
    expect(nextOffset).toBe(7n);
  });
});

describe('a batch that cannot be read', () => {
  const good = () => encode([{ key: 'a', value: Buffer.alloc(500) }]);

  it.each(['gzip', 'snappy', 'lz4', 'zstd'] as const)(
    'is reported with its offset, packed with %s',
    async (compression) => {
      const batch = at(7n, await encode([{ key: 'a', value: Buffer.alloc(500) }], compression));
      batch.fill(0xff, 61);
      await expect(decode(batch, 7n)).rejects.toMatchObject({ offset: 7n, constructor: UndecodableBatchError });
    },
  );

  it('does not take with it what comes before', async () => {
    const broken = at(1n, await good());
    broken.fill(0xff, 61);
    const log = Buffer.concat([await good(), broken]);
    expect(await decode(log)).toMatchObject({ messages: [{ offset: 0n }], nextOffset: 1n });
    await expect(decode(log, 1n)).rejects.toMatchObject({ offset: 1n });
  });

  it('never reads outside of it or for ever, whatever is damaged', async () => {
    const batch = await encode(['a', 'b'].map((key) => ({ key, value: Buffer.alloc(9), headers: { name: 'x' } })));
    await fc.assert(
      fc.asyncProperty(fc.nat(batch.length - 1), fc.nat(255), async (index, byte) => {
        const damaged = Buffer.from(batch);
        damaged[index] = byte;
        await decode(damaged).catch((error) => expect(error).toBeInstanceOf(UndecodableBatchError));
      }),
      { numRuns: 500 },
    );
  });

  it('is one that would not fit into memory', async () => {
    const batch = await good();
    // 16 parts, one behind the other, are a whole too.
    const sixteen = (part: Buffer) => Buffer.concat(Array.from({ length: 16 }, () => part));
    const zeros = Buffer.alloc(MAX_BATCH_BYTES / 16 + 1);
    const bombs = {
      1: sixteen(zlib.gzipSync(zeros, { level: 1 })),
      4: sixteen(zlib.zstdCompressSync(zeros)),
      // Says that it holds 4 GiB.
      2: Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]),
    };
    for (const [codec, body] of Object.entries(bombs)) {
      const bomb = Buffer.concat([batch.subarray(0, 61), body]);
      bomb.writeInt32BE(bomb.length - 12, 8);
      bomb.writeInt16BE(Number(codec), 21);
      await expect(decode(bomb)).rejects.toBeInstanceOf(UndecodableBatchError);
    }
  });
});

describe('snappy', () => {
  it('is read in one block without a header, and in several behind one', async () => {
    const batch = await encode([{ key: 'a', value: Buffer.from('b'.repeat(900)) }]);
    const body = batch.subarray(61);
    const raw = snappy.compressSync(body);
    const blocks = [body.subarray(0, 400), body.subarray(400)].map((part) => snappy.compressSync(part));
    const lengths = blocks.map((block) => Buffer.from(Uint32Array.of(block.length).buffer).swap32());
    const xerial = [
      Buffer.from('\x82SNAPPY\0\0\0\0\x01\0\0\0\x01', 'latin1'),
      ...blocks.flatMap((block, i) => [lengths[i], block]),
    ];
    for (const packed of [raw, Buffer.concat(xerial as Buffer[])]) {
      const whole = Buffer.concat([batch.subarray(0, 61), packed]);
      whole.writeInt32BE(whole.length - 12, 8);
      whole.writeInt16BE(2, 21);
      expect((await decode(whole)).messages).toEqual((await decode(batch)).messages);
    }
  });
});
