/** Slots of a Redis Cluster. */
export const HASH_SLOTS = 16_384;

/** CRC-16/XMODEM, polynomial 0x1021, as the Redis Cluster specification prescribes. */
const CRC16 = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

/**
 * The Redis Cluster slot of a key, 0 to 16,383: of the first non-empty `{…}` in it, else of the whole key. Cost: O(bytes
 * hashed), no allocation for ASCII keys.
 */
export function hashSlot(key: string): number {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  const tagged = close > open + 1;
  const start = tagged ? open + 1 : 0;
  const end = tagged ? close : key.length;
  let crc = 0;
  for (let i = start; i < end; i++) {
    const unit = key.charCodeAt(i);
    if (unit > 127) return hashSlotOfBytes(Buffer.from(key.slice(start, end)));
    crc = ((crc << 8) & 0xffff) ^ (CRC16[(crc >> 8) ^ unit] as number);
  }
  return crc % HASH_SLOTS;
}

function hashSlotOfBytes(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ (CRC16[(crc >> 8) ^ byte] as number);
  return crc % HASH_SLOTS;
}
