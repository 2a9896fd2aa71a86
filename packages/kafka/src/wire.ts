/**
 * Numbers, strings and arrays as Kafka's protocol writes them. In the *flexible* versions of a request lengths are
 * varints (plus one, 0 for null) and every structure ends with tagged fields; in the others lengths are fixed integers.
 */

/** Reads from `bytes`, throws RangeError past their end. */
export class WireReader {
  offset = 0;
  readonly bytes: Buffer;
  readonly #isFlexible: boolean;

  constructor(bytes: Buffer, isFlexible = false) {
    this.bytes = bytes;
    this.#isFlexible = isFlexible;
  }

  int8(): number {
    return this.bytes.readInt8(this.#skip(1));
  }

  int16(): number {
    return this.bytes.readInt16BE(this.#skip(2));
  }

  int32(): number {
    return this.bytes.readInt32BE(this.#skip(4));
  }

  int64(): bigint {
    return this.bytes.readBigInt64BE(this.#skip(8));
  }

  /** Exact up to 2^53. */
  uvarint(): number {
    let result = 0;
    let scale = 1;
    for (;;) {
      const byte = this.bytes[this.offset++];
      if (byte === undefined || scale > 2 ** 63) throw new RangeError('a number has no end');
      result += (byte & 0x7f) * scale;
      if (byte < 0x80) return result;
      scale *= 128;
    }
  }

  /** Zigzag: 0, -1, 1, -2, … */
  varint(): number {
    const value = this.uvarint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  take(byteCount: number): Buffer {
    const start = this.#skip(byteCount);
    return this.bytes.subarray(start, start + byteCount);
  }

  /** 32 hex digits. */
  uuid(): string {
    return this.take(16).toString('hex');
  }

  string(): string | null {
    const byteCount = this.#isFlexible ? this.uvarint() - 1 : this.int16();
    return byteCount < 0 ? null : this.take(byteCount).toString();
  }

  nullableBytes(): Buffer | null {
    const byteCount = this.#isFlexible ? this.uvarint() - 1 : this.int32();
    return byteCount < 0 ? null : this.take(byteCount);
  }

  /** Null is read as empty. */
  array<T>(readItem: () => T): T[] {
    const items: T[] = [];
    const count = this.#isFlexible ? this.uvarint() - 1 : this.int32();
    for (let i = 0; i < count; i++) items.push(readItem());
    return items;
  }

  /** The end of a structure: nothing in versions that are not flexible. */
  tags(): void {
    if (!this.#isFlexible) return;
    for (let count = this.uvarint(); count > 0; count--) {
      this.uvarint();
      this.take(this.uvarint());
    }
  }

  #skip(byteCount: number): number {
    const start = this.offset;
    if (byteCount < 0 || start + byteCount > this.bytes.length) throw new RangeError('the data end too early');
    this.offset = start + byteCount;
    return start;
  }
}

/** Inverse of {@link WireReader}; grows as needed. */
export class WireWriter {
  #bytes: Buffer;
  #length = 0;
  readonly #isFlexible: boolean;

  constructor(isFlexible = false, capacity = 256) {
    this.#isFlexible = isFlexible;
    this.#bytes = Buffer.allocUnsafe(capacity);
  }

  /** What was written; valid until the next write. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  int8(value: number): this {
    const start = this.#grow(1);
    this.#bytes.writeInt8(value, start);
    return this;
  }

  int16(value: number): this {
    const start = this.#grow(2);
    this.#bytes.writeInt16BE(value, start);
    return this;
  }

  int32(value: number): this {
    const start = this.#grow(4);
    this.#bytes.writeInt32BE(value, start);
    return this;
  }

  uint32(value: number): this {
    const start = this.#grow(4);
    this.#bytes.writeUInt32BE(value, start);
    return this;
  }

  int64(value: bigint): this {
    const start = this.#grow(8);
    this.#bytes.writeBigInt64BE(value, start);
    return this;
  }

  uvarint(value: number): this {
    let rest = value;
    while (rest >= 128) {
      this.#byte((rest % 128) + 128);
      rest = Math.floor(rest / 128);
    }
    this.#byte(rest);
    return this;
  }

  varint(value: number): this {
    return this.uvarint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  raw(bytes: Uint8Array): this {
    const start = this.#grow(bytes.length);
    this.#bytes.set(bytes, start);
    return this;
  }

  /** @param byteCount - How long it is as UTF-8. */
  utf8(text: string, byteCount: number): this {
    const start = this.#grow(byteCount);
    this.#bytes.write(text, start);
    return this;
  }

  uuid(hex: string): this {
    return this.raw(Buffer.from(hex, 'hex'));
  }

  string(value: string | null): this {
    const bytes = value === null ? undefined : Buffer.from(value);
    if (this.#isFlexible) this.uvarint((bytes?.length ?? -1) + 1);
    else this.int16(bytes?.length ?? -1);
    return bytes === undefined ? this : this.raw(bytes);
  }

  nullableBytes(value: Uint8Array | null): this {
    if (this.#isFlexible) this.uvarint((value?.length ?? -1) + 1);
    else this.int32(value?.length ?? -1);
    return value === null ? this : this.raw(value);
  }

  array<T>(items: readonly T[], writeItem: (item: T) => void): this {
    if (this.#isFlexible) this.uvarint(items.length + 1);
    else this.int32(items.length);
    for (const item of items) writeItem(item);
    return this;
  }

  /** No tagged fields; nothing in versions that are not flexible. */
  tags(): this {
    return this.#isFlexible ? this.uvarint(0) : this;
  }

  #byte(value: number): void {
    const start = this.#grow(1);
    this.#bytes[start] = value;
  }

  /** Makes room at the end. It may put another buffer into place: call it before `#bytes` is looked at. */
  #grow(byteCount: number): number {
    const start = this.#length;
    this.#length += byteCount;
    if (this.#length > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, start));
      this.#bytes = grown;
    }
    return start;
  }
}
