import { formatQueueKey, QUEUE_LANES, type QueueRef } from '@spanbuf/keys';
import type { Redis } from 'ioredis';

export interface QueuedEntry {
  readonly key: string;
  readonly entry: string;
  readonly seconds: number;
}

/** What is due or will be, lane by lane, each in its order. */
export async function dueIn(client: Redis, queue: QueueRef): Promise<QueuedEntry[]> {
  return (await Promise.all(dueKeys(queue).map((key) => entriesOf(client, key)))).flat();
}

export async function heldIn(client: Redis, queue: QueueRef): Promise<QueuedEntry[]> {
  return entriesOf(client, formatQueueKey({ ...queue, part: 'held' }));
}

async function entriesOf(client: Redis, key: string): Promise<QueuedEntry[]> {
  const entries = await client.zrange(key, '0', '-1');
  return Promise.all(entries.map(async (entry) => ({ key, entry, seconds: Number(await client.zscore(key, entry)) })));
}

/** One for each lane. */
export function dueKeys(queue: QueueRef): string[] {
  return Array.from({ length: QUEUE_LANES }, (_, lane) => formatQueueKey({ ...queue, part: 'due', lane }));
}
