/**
 * Reads record batches, format 2 (Kafka 0.11 and newer). kafkajs does so too, but a message's headers in quadratic time,
 * it does not pass batches that compaction has emptied, and it does not say where it failed.
 * Source: https://kafka.apache.org/documentation/#recordbatch
 */
import { codecById } from './compression.ts';
import { crc32c } from './crc32c.ts';
import type { LogMessage, MessageHeaders } from './log.ts';
import { WireReader } from './wire.ts';

/** Where things are in a batch. */
export const BATCH = {
  magic: 2,
  headerBytes: 61,
  /** Of the field that says how many bytes follow it. */
  lengthEnd: 12,
  attributesStart: 21,
} as const;

const NO_HEADERS: MessageHeaders = Object.freeze({});

/** Messages of one call, bytes; a single batch may have more. */
export const ENOUGH_BYTES = 2 * 1024 * 1024;

const CRC_START = 17;
const COMPRESSION_MASK = 0x07;
const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const ABORT_MARKER = 0;

/** Producer of a transaction that was aborted, and the first offset of that. */
export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: bigint;
}

export interface DecodedRecords {
  readonly messages: LogMessage[];
  /** Past the last whole batch, whatever of it is for readers. */
  readonly nextOffset: bigint;
  /** Bytes of these messages, and of the batches they were read from as they lie in the log. */
  readonly messageBytes: number;
  readonly batchBytes: number;
}

/** A batch that is damaged, or not one at all; `offset` is its first. */
export class UndecodableBatchError extends Error {
  readonly offset: bigint;

  constructor(offset: bigint, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.offset = offset;
  }
}

/**
 * The messages at or after `fromOffset` in the batches of one partition. Markers, messages of aborted transactions and
 * a last batch that is not there whole are left out. A batch that was written so that it cannot be decoded is one message,
 * see `LogMessage.unreadable`. Once the messages are {@link ENOUGH_BYTES} long, the other batches are left for the next call: a few
 * bytes of them may stand for many.
 * @throws UndecodableBatchError when the first batch is damaged. What comes before a later one is returned.
 */
export async function decodeRecordBatches(
  bytes: Buffer,
  partition: number,
  fromOffset: bigint,
  aborted: readonly AbortedTransaction[],
): Promise<DecodedRecords> {
  const messages: LogMessage[] = [];
  const transactions = new AbortedTransactions(aborted);
  let nextOffset = fromOffset;
  let messageBytes = 0;
  let start = 0;
  while (start + BATCH.lengthEnd < bytes.length) {
    const baseOffset = bytes.readBigInt64BE(start);
    const end = start + BATCH.lengthEnd + bytes.readInt32BE(start + 8);
    if (end > bytes.length && start > 0) break;
    const raw = bytes.subarray(start, end);
    let batch: Batch;
    let records: readonly LogMessage[];
    try {
      batch = readHeader(raw, end - start);
      records = transactions.isVisible(batch) ? await readRecordsOr(batch, partition, raw) : [];
    } catch (cause) {
      if (nextOffset === fromOffset) throw new UndecodableBatchError(baseOffset, cause);
      break;
    }
    for (const message of records) {
      if (message.offset < fromOffset && message.unreadable === undefined) continue;
      messages.push(message);
      messageBytes += (message.value?.length ?? 0) + (message.key?.length ?? 0);
    }
    if (batch.lastOffset >= nextOffset) nextOffset = batch.lastOffset + 1n;
    start = end;
    if (messageBytes >= ENOUGH_BYTES) break;
  }
  return { messages, nextOffset, messageBytes, batchBytes: start };
}

/**
 * Messages of the batch, or one that stands for it where it was written so that it cannot be decoded: it must not stop what
 * comes after it. @throws where the batch was damaged since: then nobody can say what else of it is not true.
 */
async function readRecordsOr(batch: Batch, partition: number, raw: Buffer): Promise<LogMessage[]> {
  try {
    return await readRecords(batch, partition);
  } catch (error) {
    if (crc32c(raw.subarray(BATCH.attributesStart)) !== raw.readUInt32BE(CRC_START)) throw error;
    const unreadable = error instanceof Error ? error.message : String(error);
    const { baseOffset: offset, maxTimestampMs: timestampMs } = batch;
    return [{ partition, offset, timestampMs, key: null, value: Buffer.from(raw), headers: NO_HEADERS, unreadable }];
  }
}

interface Batch {
  readonly baseOffset: bigint;
  readonly lastOffset: bigint;
  readonly attributes: number;
  readonly baseTimestampMs: number;
  readonly maxTimestampMs: number;
  readonly producerId: bigint;
  readonly recordCount: number;
  readonly body: Buffer;
}

function readHeader(bytes: Buffer, batchBytes: number): Batch {
  if (batchBytes < BATCH.headerBytes || bytes.length < batchBytes) throw new RangeError('the batch ends too early');
  const magic = bytes.readInt8(16);
  if (magic !== BATCH.magic) throw new RangeError(`message format ${magic}, older than Kafka 0.11`);
  const baseOffset = bytes.readBigInt64BE(0);
  return {
    baseOffset,
    lastOffset: baseOffset + BigInt(bytes.readInt32BE(23)),
    attributes: bytes.readInt16BE(BATCH.attributesStart),
    baseTimestampMs: Number(bytes.readBigInt64BE(27)),
    maxTimestampMs: Number(bytes.readBigInt64BE(35)),
    producerId: bytes.readBigInt64BE(43),
    recordCount: bytes.readInt32BE(57),
    body: bytes.subarray(BATCH.headerBytes),
  };
}

async function readRecords(batch: Batch, partition: number): Promise<LogMessage[]> {
  const codec = codecById(batch.attributes & COMPRESSION_MASK);
  const isEmpty = batch.recordCount <= 0;
  const reader = new WireReader(codec === undefined || isEmpty ? batch.body : await codec.decompress(batch.body));
  const messages: LogMessage[] = [];
  for (let i = 0; i < batch.recordCount; i++) messages.push(readRecord(reader, batch, partition));
  return messages;
}

function readRecord(reader: WireReader, batch: Batch, partition: number): LogMessage {
  const bytes = reader.varint();
  const end = reader.offset + bytes;
  reader.int8();
  const timestampDelta = reader.varint();
  const offset = batch.baseOffset + BigInt(reader.varint());
  const key = readBytes(reader);
  const value = readBytes(reader);
  const headers = readHeaders(reader);
  if (reader.offset !== end) throw new RangeError('a record is not as long as it says');
  const appended = (batch.attributes & LOG_APPEND_TIME) !== 0;
  const timestampMs = appended ? batch.maxTimestampMs : batch.baseTimestampMs + timestampDelta;
  return { partition, offset, timestampMs, key, value, headers };
}

function readBytes(reader: WireReader): Buffer | null {
  const byteCount = reader.varint();
  return byteCount < 0 ? null : reader.take(byteCount);
}

function readHeaders(reader: WireReader): MessageHeaders {
  const count = reader.varint();
  if (count <= 0) return NO_HEADERS;
  // Without a prototype: `__proto__` is a name like any other.
  const headers: Record<string, Buffer | Buffer[] | undefined> = Object.create(null);
  for (let i = 0; i < count; i++) {
    const name = (readBytes(reader) ?? Buffer.alloc(0)).toString();
    const value = readBytes(reader) ?? undefined;
    const before = headers[name];
    if (!(name in headers)) headers[name] = value;
    else if (Array.isArray(before)) before.push(value ?? Buffer.alloc(0));
    else headers[name] = [before ?? Buffer.alloc(0), value ?? Buffer.alloc(0)];
  }
  return headers;
}

/** Which batches belong to transactions that were aborted. Batches must be asked about in the order of the log. */
class AbortedTransactions {
  readonly #waiting: AbortedTransaction[];
  readonly #producerIds = new Set<bigint>();

  constructor(aborted: readonly AbortedTransaction[]) {
    this.#waiting = aborted.toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  }

  isVisible(batch: Batch): boolean {
    for (let next = this.#waiting[0]; next && next.firstOffset <= batch.lastOffset; next = this.#waiting[0]) {
      this.#producerIds.add(next.producerId);
      this.#waiting.shift();
    }
    if ((batch.attributes & CONTROL) !== 0) {
      if (markerType(batch) === ABORT_MARKER) this.#producerIds.delete(batch.producerId);
      return false;
    }
    return (batch.attributes & TRANSACTIONAL) === 0 || !this.#producerIds.has(batch.producerId);
  }
}

/** Of a control batch: its one record's key is a version and a type. Control batches are never compressed. */
function markerType(batch: Batch): number | undefined {
  if (batch.recordCount === 0) return undefined;
  const reader = new WireReader(batch.body);
  reader.varint();
  reader.int8();
  reader.varint();
  reader.varint();
  const key = readBytes(reader);
  return key !== null && key.length >= 4 ? key.readInt16BE(2) : undefined;
}
