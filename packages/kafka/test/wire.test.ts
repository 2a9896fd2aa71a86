import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WireReader, WireWriter } from '../src/wire.ts';

const int = (bits: number) => fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 });
const anyValue = fc.oneof(
  fc.record({ kind: fc.constant('int8' as const), value: int(8) }),
  fc.record({ kind: fc.constant('int16' as const), value: int(16) }),
  fc.record({ kind: fc.constant('int32' as const), value: int(32) }),
  fc.record({ kind: fc.constant('int64' as const), value: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n) }),
  fc.record({ kind: fc.constant('uvarint' as const), value: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('varint' as const), value: fc.integer() }),
  fc.record({ kind: fc.constant('string' as const), value: fc.option(fc.string()) }),
  fc.record({ kind: fc.constant('nullableBytes' as const), value: fc.option(fc.uint8Array()) }),
);

describe('what is written', () => {
  it('is read back, wherever the buffer had to grow', () => {
    fc.assert(
      fc.property(fc.array(anyValue), fc.boolean(), fc.integer({ min: 1, max: 64 }), (values, isFlexible, capacity) => {
        const writer = new WireWriter(isFlexible, capacity);
        for (const { kind, value } of values) (writer[kind] as (value: unknown) => void).call(writer, value);
        const reader = new WireReader(writer.bytes, isFlexible);
        const read = values.map(({ kind }) => reader[kind]());
        const plain = (value: unknown) => (value instanceof Uint8Array ? [...value] : value);
        expect(read.map(plain)).toEqual(values.map(({ value }) => plain(value)));
        expect(reader.offset).toBe(writer.bytes.length);
      }),
    );
  });
});
