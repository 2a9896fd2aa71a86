import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HASH_SLOTS, hashSlot } from '../src/index.ts';

/** CRC-16/XMODEM bit by bit, without the table. */
function slotOfBytes(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc % 16_384;
}

describe('hash slots', () => {
  it('has the check value of the Redis Cluster specification', () => {
    expect(hashSlot('123456789')).toBe(0x31c3 % 16_384);
    expect(hashSlot('123456789')).toBe(12_739);
  });

  it.each([
    ['', 0],
    ['foo', 12_182],
    ['bar', 5_061],
    ['somekey', 11_058],
  ])('agrees with CLUSTER KEYSLOT on %j', (key, slot) => {
    expect(hashSlot(key)).toBe(slot);
  });

  it.each([
    ['foo{bar}', 'bar'],
    ['{bar}foo', 'bar'],
    ['foo{bar}{zap}', 'bar'],
    ['{user1000}.following', 'user1000'],
    ['foo{{bar}}zap', '{bar'],
    ['foo{a{b}c}d', 'a{b'],
    ['}foo{bar}', 'bar'],
    ['span-buf:s:{1:ab}:cd', '1:ab'],
  ])('hashes of %j the first tag alone, %j', (key, tag) => {
    expect(hashSlot(key)).toBe(slotOfBytes(Buffer.from(tag)));
  });

  it.each(['foo{}', 'foo{}{bar}', '{}', 'foo{bar', 'foo}bar{', '{', '}'])(
    'hashes all of %j, which has no tag',
    (key) => {
      expect(hashSlot(key)).toBe(slotOfBytes(Buffer.from(key)));
    },
  );

  it.each([
    ['größe', 'größe'],
    ['größe{日本}', '日本'],
    ['größe{bar}', 'bar'],
    ['a{b}😀', 'b'],
    ['😀', '😀'],
  ])('hashes of %j the UTF-8 bytes of %j', (key, hashed) => {
    expect(hashSlot(key)).toBe(slotOfBytes(Buffer.from(hashed)));
  });

  it('is that of the tag, for any text in it and around it', () => {
    const noBrace = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[{}]/g, ''));
    fc.assert(
      fc.property(noBrace, noBrace, fc.string({ unit: 'grapheme' }), (before, tag, after) => {
        fc.pre(tag !== '');
        expect(hashSlot(`${before}{${tag}}${after}`)).toBe(slotOfBytes(Buffer.from(tag)));
      }),
    );
  });

  it('is an integer within the cluster for any key', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (key) => {
        const slot = hashSlot(key);
        expect(Number.isInteger(slot) && slot >= 0 && slot < HASH_SLOTS).toBe(true);
      }),
    );
  });
});
