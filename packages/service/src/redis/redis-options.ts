import type { RedisLocation } from './redis-url.ts';

const CONNECT_TIMEOUT_MS = 2_000;
/** A connection that owes an answer for this long is made anew. */
const SOCKET_TIMEOUT_MS = 5_000;
/** A node that loads its data says itself how long that takes; it is often quicker. */
const LOADING_PAUSE_MS = 500;

export interface RedisIdentity {
  readonly clientName: string;
  /** PEM text; undefined: the authorities that Node trusts. */
  readonly tlsCa?: string | undefined;
}

/** What every connection to `location` has in common, but for host and port. */
export function redisOptions(location: RedisLocation, { clientName, tlsCa }: RedisIdentity) {
  const { username, password, tls } = location;
  return {
    // Named, since AUTH with a password alone fails for a default user that has none, HELLO with both does not.
    ...((username !== undefined || password !== undefined) && {
      username: username ?? 'default',
      password: password ?? '',
    }),
    ...(location.kind === 'node' && { db: location.db }),
    ...(tls && { tls: tlsCa === undefined ? {} : { ca: tlsCa } }),
    connectionName: clientName,
    // CLIENT SETINFO would be one more command that a user has to be allowed, and Redis 7.0 does not know.
    disableClientInfo: true,
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    maxLoadingRetryTime: LOADING_PAUSE_MS,
  };
}

export type RedisConnectionOptions = ReturnType<typeof redisOptions>;
