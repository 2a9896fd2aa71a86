import { createMemoryStore, createRedisStore, type LayoutName, type SegmentStore } from '@spanbuf/store';
import { Cluster, Redis } from 'ioredis';
import { formatStoreLocation, type StoreLocation } from './store-location.ts';

/** How long to wait for a Redis at the start. */
const OPEN_TIMEOUT_MS = 5_000;
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
  let reported: Error | undefined;
  // Without a listener, ioredis prints errors itself. Of several, the first says why.
  client.on('error', (error: Error) => {
    reported ??= error;
  });
  client.on('node error', (error: Error) => {
    reported ??= error;
  });
  try {
    await withinSeconds(open(client), OPEN_TIMEOUT_MS / 1000);
    state.isOpen = true;
    return client;
  } catch (error) {
    client.disconnect();
    const reason = error instanceof StoreNotOpenError ? error : (reported ?? (error as Error));
    throw new StoreNotOpenError(`cannot use ${formatStoreLocation(location)}: ${describe(reason)}`, { cause: error });
  }
}

function createClient(location: RedisLocation, keyPrefix: string, state: { isOpen: boolean }): Redis | Cluster {
  const { username, password } = location;
  const login = { ...(username !== undefined && { username }), ...(password !== undefined && { password }) };
  const connection = { ...login, keyPrefix, connectTimeout: CONNECT_TIMEOUT_MS, socketTimeout: SOCKET_TIMEOUT_MS };
  // At the start the first failure is reported; later the store decides when to give up.
  const retry = (times: number): number | null => (state.isOpen ? Math.min(100 * times, LONGEST_RETRY_PAUSE_MS) : null);
  if (location.kind === 'cluster') {
    return new Cluster([...location.seeds], {
      lazyConnect: true,
      enableOfflineQueue: false,
      slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
      slotsRefreshInterval: SLOTS_REFRESH_MS,
      clusterRetryStrategy: retry,
      redisOptions: connection,
    });
  }
  return new Redis({
    ...location.address,
    ...connection,
    ...(location.tls && { tls: {} }),
    db: location.db,
    lazyConnect: true,
    retryStrategy: retry,
  });
}

async function open(client: Redis | Cluster): Promise<void> {
  await client.connect();
  const node = client instanceof Cluster ? client.nodes('master')[0] : client;
  const info = (await node?.info('server')) ?? '';
  const major = Number(/^redis_version:(\d+)/m.exec(info)?.[1] ?? MIN_REDIS_MAJOR);
  if (major < MIN_REDIS_MAJOR)
    throw new StoreNotOpenError(`Redis ${MIN_REDIS_MAJOR} or newer is needed, it is ${major}`);
  if (client instanceof Redis && /^redis_mode:cluster/m.test(info))
    throw new StoreNotOpenError('it is a node of a cluster: use redis-cluster://');
}

/** ioredis hides the reason of a cluster's node one level down. */
function describe(error: Error & { lastNodeError?: Error; code?: unknown }): string {
  const reason = error.lastNodeError ?? error;
  if (/cluster support disabled/i.test(reason.message)) return 'it is not a cluster: use redis://';
  return reason.message || String(error.code ?? reason.name);
}

async function withinSeconds<T>(promise: Promise<T>, seconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new StoreNotOpenError(`no answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
