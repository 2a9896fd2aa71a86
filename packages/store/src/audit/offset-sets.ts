import { RECEIPTS_CHUNK } from '@spanbuf/keys';
import { entryOf } from '../redis/grouping.ts';

const CHUNK = BigInt(RECEIPTS_CHUNK);

/** Sets of offsets, one for each partition and source: a bit each, and 8 KiB for each chunk of which there are any. */
export class OffsetSets {
  readonly #logs = new Map<string, Map<bigint, Uint8Array>>();

  add(partition: number, source: string, offset: bigint): void {
    const chunks = entryOf(this.#logs, `${partition} ${source}`, () => new Map<bigint, Uint8Array>());
    const bits = entryOf(chunks, offset / CHUNK, () => new Uint8Array(RECEIPTS_CHUNK / 8));
    const bit = Number(offset % CHUNK);
    bits[bit >> 3] = (bits[bit >> 3] as number) | (0x80 >> (bit & 7));
  }

  has(partition: number, source: string, offset: bigint): boolean {
    const bits = this.#logs.get(`${partition} ${source}`)?.get(offset / CHUNK);
    const bit = Number(offset % CHUNK);
    return bits !== undefined && ((bits[bit >> 3] as number) & (0x80 >> (bit & 7))) !== 0;
  }
}
