import { Redis } from 'ioredis';
import type { RedisConnectionOptions } from './redis-options.ts';
import type { RedisLocation } from './redis-url.ts';

const MIN_REDIS_MAJOR = 7;

/** Something that waiting does not mend. */
export class UnusableRedisError extends Error {}

/** What the user may do that not everyone may. */
export interface RedisPermissions {
  /** INFO, which ioredis calls by itself when a connection is made. */
  readonly info: boolean;
}

/**
 * Asks what answers there what it is, on connections of its own: a `Cluster` that cannot connect does not say why. One seed
 * that answers is enough. HELLO tells kind and version to every user, whatever the ACL says.
 * @throws {@link UnusableRedisError} for what waiting does not mend, else whatever kept the connection from being made.
 */
export async function probeRedis(
  location: RedisLocation,
  options: RedisConnectionOptions,
  signal: AbortSignal,
): Promise<RedisPermissions> {
  const addresses = location.kind === 'node' ? [location.address] : location.seeds;
  const clients = addresses.map(
    (address) => new Redis({ ...options, ...address, enableReadyCheck: false, retryStrategy: () => null }),
  );
  try {
    const probes = clients.map((client) => probeNode(client, location));
    return await Promise.race([Promise.any(probes), rejectionOf(signal)]);
  } catch (error) {
    if (!(error instanceof AggregateError)) throw error;
    throw error.errors.find((reason) => reason instanceof UnusableRedisError) ?? error.errors[0];
  } finally {
    for (const client of clients) client.disconnect();
  }
}

async function probeNode(client: Redis, location: RedisLocation): Promise<RedisPermissions> {
  // What made the connection fail; the call itself only learns that it is closed.
  let reason: Error | undefined;
  client.on('error', (error: Error) => {
    reason ??= error;
  });
  try {
    await client.connect();
    // ioredis goes on, in database 0, when it may not select another.
    if (reason !== undefined) throw reason;
    checkServer(await readHello(client), location.kind);
    const info = await ifPermitted(client.info('persistence'));
    if (info !== undefined && /^loading:1/m.test(info)) throw new Error('it is loading its data');
    const clusterInfo = location.kind === 'node' ? undefined : await ifPermitted(client.cluster('INFO'));
    if (/^cluster_state:fail/m.test(String(clusterInfo))) throw new Error('the cluster is down (cluster_state:fail)');
    return { info: info !== undefined };
  } catch (error) {
    throw reasonOf(reason ?? (error as Error), location);
  }
}

/** Never resolves; rejects with the reason of `signal`. */
export function rejectionOf(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

function checkServer(server: ReadonlyMap<string, string>, kind: RedisLocation['kind']): void {
  const version = server.get('version') ?? '';
  const major = Number.parseInt(version, 10);
  if (major < MIN_REDIS_MAJOR)
    throw new UnusableRedisError(`it is Redis ${version}, and ${MIN_REDIS_MAJOR} or newer is needed`);
  const mode = server.get('mode');
  if (mode === 'sentinel') throw new UnusableRedisError('it is a Sentinel: name the Redis it watches');
  if (mode === 'cluster' && kind === 'node')
    throw new UnusableRedisError('it is a node of a cluster: use redis-cluster://');
  if (mode !== 'cluster' && kind === 'cluster') throw new UnusableRedisError('it is not a cluster: use redis://');
}

/** HELLO: field -> value, from the flat list or the map that the protocol in use makes of it. Every user may ask. */
export async function readHello(client: Redis): Promise<ReadonlyMap<string, string>> {
  const reply: unknown = await client.call('HELLO');
  if (!Array.isArray(reply)) return new Map(Object.entries(reply as Record<string, string>));
  return new Map(reply.flatMap((field, i) => (i % 2 === 0 ? [[String(field), String(reply[i + 1])] as const] : [])));
}

async function ifPermitted<T>(reply: Promise<T>): Promise<T | undefined> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('NOPERM')) return undefined;
    throw error;
  }
}

/** In the words of the one who has to mend it. */
export function reasonOf(error: Error, { tls }: RedisLocation): Error {
  const { message } = error;
  const code = 'code' in error ? String(error.code) : '';
  const unusable = (text: string) => new UnusableRedisError(text, { cause: error });
  if (message.startsWith('NOAUTH')) return unusable('it wants a password');
  if (/^(WRONGPASS|NOPERM|ERR AUTH|ERR DB index|ERR unknown command)/.test(message)) return unusable(message);
  if (message.startsWith('Unknown RESP type')) return unusable('what answers there is not Redis');
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'EPROTO')
    return unusable(`it does not speak TLS: ${message}`);
  if (/CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/.test(code))
    return unusable(`its certificate is not trusted: ${message}`);
  if (message === 'Connection is closed.' || code === 'ECONNRESET' || code === 'EPIPE')
    return new Error(`it closed the connection${tls ? '' : '; does it want TLS (rediss)?'}`, { cause: error });
  if (code === 'ETIMEDOUT' && tls) return new Error(`${message}; does it speak TLS?`, { cause: error });
  // A host with several addresses fails with one error for each, and no message of its own.
  return message === '' ? new Error(code || error.name, { cause: error }) : error;
}
