/**
 * Writes record batches. kafkajs does so too, but it cannot write a header without a value.
 * Source: https://kafka.apache.org/documentation/#recordbatch
 */
import { codecNamed } from './compression.ts';
import { crc32c } from './crc32c.ts';
import { BATCH } from './decode-record-batch.ts';
import type { Compression, OutgoingMessage } from './log.ts';
import { WireWriter } from './wire.ts';

/** A message as it is written, without its partition. */
export interface EncodableRecord {
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Strings are written as UTF-8. */
  readonly headers: readonly { readonly name: string; readonly value: Buffer | string | null }[];
  /** How much it adds to a batch, at most, before compression. */
  readonly byteCount: number;
}

/** Most bytes of lengths and deltas in one record, and in one header of it. */
const RECORD_OVERHEAD_BYTES = 40;
const HEADER_OVERHEAD_BYTES = 10;

/** @throws RangeError when the timestamp is not a number of milliseconds; TypeError when something is not bytes. */
export function toRecord(message: OutgoingMessage, nowMs: number): EncodableRecord {
  const timestampMs = message.timestampMs ?? nowMs;
  if (!Number.isSafeInteger(timestampMs)) throw new RangeError(`not a timestamp: ${timestampMs}`);
  const key = message.key === null ? null : toBytes(message.key);
  const value = message.value === null ? null : toBytes(message.value);
  const headers: { name: string; value: Buffer | string | null }[] = [];
  let headerBytes = 0;
  for (const [name, values] of Object.entries(message.headers ?? {})) {
    for (const each of Array.isArray(values) ? values : [values]) {
      const value = each === undefined ? null : toBytesOrText(each);
      headers.push({ name, value });
      headerBytes += byteLength(name) + byteLength(value) + HEADER_OVERHEAD_BYTES;
    }
  }
  const byteCount = (key?.length ?? 0) + (value?.length ?? 0) + headerBytes + RECORD_OVERHEAD_BYTES;
  return { timestampMs, key, value, headers, byteCount };
}

/** One batch of at least one record. */
export async function encodeRecordBatch(
  records: readonly EncodableRecord[],
  compression: Compression,
): Promise<Buffer> {
  const codec = codecNamed(compression);
  const baseTimestampMs = records[0]?.timestampMs ?? 0;
  const maxTimestampMs = records.reduce((max, record) => Math.max(max, record.timestampMs), baseTimestampMs);
  const body = new WireWriter(
    false,
    records.reduce((sum, record) => sum + record.byteCount, 0),
  );
  records.forEach((record, index) => {
    writeRecord(body, record, record.timestampMs - baseTimestampMs, index);
  });
  const packed = codec === undefined ? body.bytes : await codec.compress(body.bytes);
  const checked = new WireWriter(false, BATCH.headerBytes + packed.length)
    .int16(codec?.id ?? 0)
    .int32(records.length - 1)
    .int64(BigInt(baseTimestampMs))
    .int64(BigInt(maxTimestampMs))
    .int64(-1n) // no producer id: not idempotent
    .int16(-1)
    .int32(-1)
    .int32(records.length)
    .raw(packed).bytes;
  return new WireWriter(false, BATCH.headerBytes + packed.length)
    .int64(0n)
    .int32(BATCH.attributesStart - BATCH.lengthEnd + checked.length)
    .int32(-1)
    .int8(BATCH.magic)
    .uint32(crc32c(checked))
    .raw(checked).bytes;
}

function toBytes(value: Buffer | string): Buffer {
  const bytes = toBytesOrText(value);
  return typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
}

function toBytesOrText(value: Buffer | string): Buffer | string {
  if (typeof value === 'string' || value instanceof Uint8Array) return value;
  throw new TypeError('neither bytes nor a string');
}

function byteLength(value: Buffer | string | null): number {
  return value === null ? 0 : typeof value === 'string' ? Buffer.byteLength(value) : value.length;
}

function writeRecord(writer: WireWriter, record: EncodableRecord, timestampDelta: number, index: number): void {
  const { key, value, headers } = record;
  const headerSize = headers.reduce((sum, header) => sum + sizeOf(header.name) + sizeOf(header.value), 0);
  const size =
    1 + varintSize(timestampDelta) + varintSize(index) + sizeOf(key) + sizeOf(value) + varintSize(headers.length);
  writer
    .varint(size + headerSize)
    .int8(0)
    .varint(timestampDelta)
    .varint(index);
  writeBytes(writer, key);
  writeBytes(writer, value);
  writer.varint(headers.length);
  for (const header of headers) {
    writeBytes(writer, header.name);
    writeBytes(writer, header.value);
  }
}

function writeBytes(writer: WireWriter, value: Buffer | string | null): void {
  if (value === null) {
    writer.varint(-1);
    return;
  }
  const byteCount = byteLength(value);
  writer.varint(byteCount);
  if (typeof value === 'string') writer.utf8(value, byteCount);
  else writer.raw(value);
}

function sizeOf(value: Buffer | string | null): number {
  if (value === null) return varintSize(-1);
  const byteCount = byteLength(value);
  return varintSize(byteCount) + byteCount;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value >= 0 ? value * 2 : -value * 2 - 1; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}
