import { formatPayloadKey, type PayloadRef } from '@spanbuf/keys';
import type { PayloadStorage } from '../redis/payload-storage.ts';
import type { RedisCommand } from '../redis/redis-runner.ts';

/** Payloads under keys tagged with the id of one of their own spans: the bytes of a trace spread over all nodes. */
export const distributedPayloads: PayloadStorage = {
  put(ref: Required<PayloadRef>, blob: Buffer, ttlSeconds: number): RedisCommand {
    const key = formatPayloadKey(ref);
    return { key, name: 'set', args: [key, blob, 'EX', ttlSeconds] };
  },
  get(ref: Required<PayloadRef>): RedisCommand {
    const key = formatPayloadKey(ref);
    return { key, name: 'get', args: [key] };
  },
  has(ref: Required<PayloadRef>): RedisCommand {
    const key = formatPayloadKey(ref);
    return { key, name: 'exists', args: [key] };
  },
  remove(ref: Required<PayloadRef>): RedisCommand {
    const key = formatPayloadKey(ref);
    return { key, name: 'unlink', args: [key] };
  },
  keep(ref: Required<PayloadRef>, ttlSeconds: number): RedisCommand {
    const key = formatPayloadKey(ref);
    return { key, name: 'expire', args: [key, ttlSeconds, 'GT'] };
  },
};
