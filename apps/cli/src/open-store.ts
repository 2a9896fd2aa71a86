import { createMemoryStore, createRedisStore, type LayoutName, type SegmentStore } from '@spanbuf/store';
import { Cluster, Redis } from 'ioredis';
import { type Address, formatStoreLocation, type StoreLocation } from './store-location.ts';

/** How long to wait for a Redis at the start. */
const OPEN_SECONDS = 5;
const CONNECT_TIMEOUT_MS = 2_000;
const SOCKET_TIMEOUT_MS = 5_000;
const SLOTS_REFRESH_MS = 5_000;
const LONGEST_RETRY_PAUSE_MS = 1_000;
/** Nobody else flushes what is ours, so a lease need not end before the output moves on. */
const LEASE_SECONDS = 6 * 3_600;
const MIN_REDIS_MAJOR = 7;

/** Redis cannot be used; the message says why in one line. */
export class StoreNotOpenError extends Error {
  override readonly name = 'StoreNotOpenError';
}

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
 * @throws {@link StoreNotOpenError} within a few seconds.
 */
export async function openStore(location: StoreLocation, options: OpenStoreOptions): Promise<OpenStore> {
  // By message time, traces are forgotten as the input goes on, however fast it is read.
  if (location.kind === 'memory') return { store: createMemoryStore({ clock: options.clock }), close: () => undefined };
  const keyPrefix = `span-buf:cli:${options.runId}:`;
  const client = await connect(location, keyPrefix);
  const store = createRedisStore(client, { layout: options.layout, leaseSeconds: LEASE_SECONDS });
  return { store, close: () => client.disconnect() };
}

type RedisLocation = Exclude<StoreLocation, { kind: 'memory' }>;

async function connect(location: RedisLocation, keyPrefix: string): Promise<Redis | Cluster> {
  const state = { isOpen: false };
  const client = createClient(location, keyPrefix, state);
  // Without a listener, ioredis prints errors itself. The store reports those that last.
  client.on('error', () => undefined);
  try {
    await withinSeconds(
      probe(location).then(() => client.connect()),
      OPEN_SECONDS,
    );
    state.isOpen = true;
    return client;
  } catch (error) {
    client.disconnect();
    throw new StoreNotOpenError(`cannot use ${formatStoreLocation(location)}: ${describe(error)}`, { cause: error });
  }
}

function createClient(location: RedisLocation, keyPrefix: string, state: { isOpen: boolean }): Redis | Cluster {
  // At the start the first failure is reported; later the store decides when to give up.
  const retry = (times: number): number | null => (state.isOpen ? Math.min(100 * times, LONGEST_RETRY_PAUSE_MS) : null);
  const connection = { ...connectionOptions(location), keyPrefix };
  if (location.kind === 'node') return new Redis({ ...connection, ...location.address, retryStrategy: retry });
  return new Cluster([...location.seeds], {
    lazyConnect: true,
    enableOfflineQueue: false,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    clusterRetryStrategy: retry,
    redisOptions: connection,
  });
}

function connectionOptions(location: RedisLocation) {
  const { username, password } = location;
  return {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(location.kind === 'node' && { db: location.db }),
    ...(location.kind === 'node' && location.tls && { tls: {} }),
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
  };
}

/** Asks what answers there what it is: a Cluster that cannot connect does not say why. One seed that answers is enough. */
async function probe(location: RedisLocation): Promise<void> {
  const addresses = location.kind === 'node' ? [location.address] : location.seeds;
  const info = await Promise.any(addresses.map((address) => readInfo({ ...connectionOptions(location), ...address })));
  const major = Number(/^redis_version:(\d+)/m.exec(info)?.[1] ?? MIN_REDIS_MAJOR);
  if (major < MIN_REDIS_MAJOR) throw new Error(`it is Redis ${major}, and ${MIN_REDIS_MAJOR} or newer is needed`);
  const isCluster = /^redis_mode:cluster/m.test(info);
  if (isCluster && location.kind === 'node') throw new Error('it is a node of a cluster: use redis-cluster://');
  if (!isCluster && location.kind === 'cluster') throw new Error('it is not a cluster: use redis://');
}

async function readInfo(options: ReturnType<typeof connectionOptions> & Address): Promise<string> {
  const client = new Redis({ ...options, retryStrategy: () => null });
  // What made the connection fail; the call itself only learns that it is closed.
  let reason: Error | undefined;
  client.on('error', (error: Error) => {
    reason ??= error;
  });
  try {
    await client.connect();
    return await client.info('server');
  } catch (error) {
    throw reason ?? error;
  } finally {
    client.disconnect();
  }
}

function describe(error: unknown): string {
  const reason: unknown = error instanceof AggregateError ? error.errors[0] : error;
  if (!(reason instanceof Error)) return String(reason);
  if (reason.message.startsWith('NOAUTH')) return 'it wants a password';
  if (reason.message.startsWith('Unknown RESP type')) return 'what answers there is not Redis';
  // A host with several addresses fails with one error for each, and no message of its own.
  return reason.message || ('code' in reason ? String(reason.code) : reason.name);
}

async function withinSeconds<T>(promise: Promise<T>, seconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
