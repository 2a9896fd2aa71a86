/**
 * 32-bit MurmurHash2 as Kafka's Java client computes it for keys, made positive as it does there: a partition is
 * `murmur2(key) % partitionCount`.
 */
export function murmur2(key: Uint8Array): number {
  const byteAt = (index: number): number => key[index] as number;
  const multiplier = 0x5bd1e995;
  const whole = key.length & ~3;
  let hash = 0x9747b28c ^ key.length;
  for (let i = 0; i < whole; i += 4) {
    let word = byteAt(i) | (byteAt(i + 1) << 8) | (byteAt(i + 2) << 16) | (byteAt(i + 3) << 24);
    word = Math.imul(word, multiplier);
    word = Math.imul(word ^ (word >>> 24), multiplier);
    hash = Math.imul(hash, multiplier) ^ word;
  }
  const rest = key.length - whole;
  if (rest > 2) hash ^= byteAt(whole + 2) << 16;
  if (rest > 1) hash ^= byteAt(whole + 1) << 8;
  if (rest > 0) hash = Math.imul(hash ^ byteAt(whole), multiplier);
  hash = Math.imul(hash ^ (hash >>> 13), multiplier);
  return (hash ^ (hash >>> 15)) & 0x7fffffff;
}
