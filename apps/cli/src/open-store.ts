import { connectRedis } from '@spanbuf/service';
import { createMemoryStore, createRedisStore, type LayoutName, type SegmentStore } from '@spanbuf/store';
import type { StoreLocation } from './store-location.ts';

/** How long to wait for a Redis at the start. */
const OPEN_SECONDS = 5;
/** Nobody else flushes what is ours, so a lease need not end before the output moves on. */
const LEASE_SECONDS = 6 * 3_600;

export interface OpenStore {
  readonly store: SegmentStore;
  close(): void;
}

export interface OpenStoreOptions {
  readonly layout: LayoutName;
  /** Unlike that of any other run. */
  readonly runId: string;
  /** Message time, seconds. */
  readonly clock: () => number;
}

/**
 * Opens the store of one run. In Redis all its keys start with `span-buf:cli:<run id>:`: slices part queues only, and
 * without a prefix the traces of the input would grow into those that a running system or an earlier run has there.
 * @throws RedisNotOpenError within a few seconds. Errors that come later are the store's to report.
 */
export async function openStore(location: StoreLocation, options: OpenStoreOptions): Promise<OpenStore> {
  // By message time, traces are forgotten as the input goes on, however fast it is read.
  if (location.kind === 'memory') return { store: createMemoryStore({ clock: options.clock }), close: () => undefined };
  const client = await connectRedis(location, {
    timeoutSeconds: OPEN_SECONDS,
    failsAtOnce: true,
    clientName: `spanbuf-cli-${options.runId}`,
    keyPrefix: `span-buf:cli:${options.runId}:`,
  });
  const store = createRedisStore(client, { layout: options.layout, leaseSeconds: LEASE_SECONDS });
  return { store, close: () => client.disconnect() };
}
