import { formatSegmentKey, type PayloadRef } from '@spanbuf/keys';
import type { PayloadStorage } from '../redis/payload-storage.ts';
import { evalsha, type RedisCommand } from '../redis/redis-runner.ts';
import { loadScript } from '../redis/script.ts';

const putColocated = loadScript('put-colocated');

/**
 * Payloads in the slot of their trace: a hash under the segment key of their first span, write id -> value. All bytes of
 * a trace are on one node.
 */
export const colocatedPayloads: PayloadStorage = {
  put(ref: Required<PayloadRef>, blob: Buffer, ttlSeconds: number): RedisCommand {
    return evalsha(putColocated, [formatSegmentKey(ref)], [ttlSeconds, ref.writeId, blob]);
  },
  get(ref: Required<PayloadRef>): RedisCommand {
    const key = formatSegmentKey(ref);
    return { key, name: 'hget', args: [key, ref.writeId] };
  },
  has(ref: Required<PayloadRef>): RedisCommand {
    const key = formatSegmentKey(ref);
    return { key, name: 'hexists', args: [key, ref.writeId] };
  },
  remove(ref: Required<PayloadRef>): RedisCommand {
    const key = formatSegmentKey(ref);
    return { key, name: 'hdel', args: [key, ref.writeId] };
  },
  keep(ref: Required<PayloadRef>, ttlSeconds: number): RedisCommand {
    const key = formatSegmentKey(ref);
    return { key, name: 'expire', args: [key, ttlSeconds, 'GT'] };
  },
};
