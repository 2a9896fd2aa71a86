import { Cluster, Redis } from 'ioredis';
import { printable } from '../printable.ts';
import { probeRedis, type RedisPermissions, reasonOf, rejectionOf, UnusableRedisError } from './probe-redis.ts';
import { RedisNotOpenError } from './redis-not-open-error.ts';
import { redisOptions } from './redis-options.ts';
import { formatRedisLocation, type RedisLocation } from './redis-url.ts';

const SLOTS_REFRESH_TIMEOUT_MS = 2_000;
const SLOTS_REFRESH_INTERVAL_MS = 5_000;
const LONGEST_RETRY_PAUSE_MS = 1_000;
const ATTEMPT_PAUSE_MS = 250;
/** A cluster that is away gives several errors a second. */
const REPORT_PAUSE_MS = 5_000;

export interface ConnectRedisOptions {
  /** How long to wait for a Redis that cannot be reached yet, above 0. */
  readonly timeoutSeconds: number;
  /** Shown by CLIENT LIST; without blanks. */
  readonly clientName: string;
  /** Put before every key. Without braces. */
  readonly keyPrefix?: string | undefined;
  /** PEM text of the authorities that may sign the server's certificate; by default those that Node trusts. */
  readonly tlsCa?: string | undefined;
  /** Fail at the first refusal instead of trying until the time is over. Default false. */
  readonly failsAtOnce?: boolean | undefined;
  /** Told of connections that fail after the first one was made: at once, then every 5 s while it goes on. */
  readonly onError?: ((error: Error) => void) | undefined;
  /** Told once of what the user may not do and this could do better with. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/**
 * Opens Redis. The client is ready, and from then on reconnects for ever.
 * @throws {@link RedisNotOpenError} with one line that says which and why: at once for a wrong password, the wrong kind or
 *   version of server, a certificate that is not trusted; within `timeoutSeconds` where nothing answers.
 */
export async function connectRedis(location: RedisLocation, options: ConnectRedisOptions): Promise<Redis | Cluster> {
  const endMs = performance.now() + options.timeoutSeconds * 1000;
  let lastError: unknown;
  for (;;) {
    try {
      return await openOnce(location, options, endMs - performance.now());
    } catch (error) {
      // An attempt that was cut short says less than the one before it.
      if (!(error instanceof NoAnswerError) || lastError === undefined) lastError = error;
      const mayPass = !(error instanceof UnusableRedisError);
      const isOver = performance.now() + ATTEMPT_PAUSE_MS >= endMs;
      if (!mayPass || options.failsAtOnce === true || isOver) throw notOpen(location, lastError as Error, options);
      await sleep(ATTEMPT_PAUSE_MS);
    }
  }
}

function notOpen(location: RedisLocation, error: Error, { timeoutSeconds }: ConnectRedisOptions): RedisNotOpenError {
  const reason = error instanceof NoAnswerError ? `no answer within ${timeoutSeconds} s` : printable(error.message);
  const mayPass = !(error instanceof UnusableRedisError);
  return new RedisNotOpenError(`cannot use ${formatRedisLocation(location)}: ${reason}`, mayPass, { cause: error });
}

class NoAnswerError extends Error {}

/** One attempt. Whatever it opened is closed again when it fails or takes too long. */
async function openOnce(
  location: RedisLocation,
  options: ConnectRedisOptions,
  milliseconds: number,
): Promise<Redis | Cluster> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new NoAnswerError('no answer')), milliseconds);
  const state = { isOpen: false };
  let client: Redis | Cluster | undefined;
  try {
    const permissions = await probeRedis(location, redisOptions(location, options), abort.signal);
    client = createClient(location, options, permissions, state);
    await connected(client, location, abort.signal);
    state.isOpen = true;
    if (!permissions.info)
      options.onWarning?.('Redis does not let this user call INFO: that it loads its data goes unseen');
    return client;
  } catch (error) {
    client?.disconnect();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function connected(client: Redis | Cluster, location: RedisLocation, signal: AbortSignal): Promise<void> {
  // A cluster only says that none of its nodes is available; what came first is why.
  let reason: Error | undefined;
  const note = (error: Error): void => {
    reason ??= error;
  };
  const ended = new Promise<never>((_, reject) => {
    client.once('end', () => reject(new Error('it closed the connection')));
  });
  client.on('error', note).on('node error', note);
  try {
    await Promise.race([client.connect(), ended, rejectionOf(signal)]);
  } catch (error) {
    throw reasonOf(reason ?? (error as Error), location);
  } finally {
    client.off('error', note).off('node error', note);
  }
}

function createClient(
  location: RedisLocation,
  options: ConnectRedisOptions,
  permissions: RedisPermissions,
  state: { readonly isOpen: boolean },
): Redis | Cluster {
  // At the start the first failure is reported.
  const retry = (times: number): number | null => (state.isOpen ? Math.min(100 * times, LONGEST_RETRY_PAUSE_MS) : null);
  const { keyPrefix, onError } = options;
  const common = {
    ...redisOptions(location, options),
    ...(keyPrefix !== undefined && { keyPrefix }),
    // Without the permission ioredis would print a warning with every connection.
    enableReadyCheck: permissions.info,
  };
  let nextReportMs = 0;
  const report = (error: Error): void => {
    if (!state.isOpen || performance.now() < nextReportMs) return;
    nextReportMs = performance.now() + REPORT_PAUSE_MS;
    onError?.(error);
  };
  if (location.kind === 'node') {
    // Without a listener, ioredis prints errors itself.
    return new Redis({ ...common, ...location.address, retryStrategy: retry }).on('error', report);
  }
  const cluster = new Cluster([...location.seeds], {
    lazyConnect: true,
    enableOfflineQueue: false,
    // It asks one node, any, and cuts all connections when that one is away. The probe has asked; whoever gets CLUSTERDOWN
    // later tries again.
    enableReadyCheck: false,
    slotsRefreshTimeout: SLOTS_REFRESH_TIMEOUT_MS,
    slotsRefreshInterval: SLOTS_REFRESH_INTERVAL_MS,
    clusterRetryStrategy: retry,
    // Certificates are for names: an address that was looked up first would not be in them.
    ...(location.tls && { dnsLookup: (host, callback) => callback(null, host) }),
    redisOptions: common,
  });
  return cluster.on('error', report).on('node error', report);
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
