import { SpanbufError } from '@spanbuf/keys';

/** Where a Redis is, and who we are there. */
export type RedisLocation =
  | ({
      readonly kind: 'node';
      readonly address: Address;
      readonly db: number;
      readonly tls: boolean;
    } & RedisCredentials)
  | ({ readonly kind: 'cluster'; readonly seeds: readonly Address[]; readonly tls: boolean } & RedisCredentials);

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface RedisCredentials {
  readonly username: string | undefined;
  readonly password: string | undefined;
}

/** Text that does not say where a Redis is. The message completes "SPANBUF_REDIS_URL …", without the password. */
export class InvalidRedisUrlError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_REDIS_URL';
  readonly retriable = false;
}

/** What {@link parseRedisUrl} reads, for messages. */
export const REDIS_URL_FORMS =
  'redis://host:port, rediss://host:port, redis-cluster://host:port,host:port or rediss-cluster://host:port,host:port';

const DEFAULT_PORT = 6379;
const HOST = String.raw`\[[0-9a-f:.%]+\]|[\w.-]+`;
const ADDRESS = new RegExp(`^(?<host>${HOST})(?::(?<port>\\d{1,5}))?$`, 'i');
const URL_PARTS = /^(?<scheme>rediss?(?:-cluster)?):\/\/(?:(?<login>[^/]*)@)?(?<hosts>[^/@?#]*)(?:\/(?<db>\d{0,9}))?$/i;

/**
 * Reads `redis://[user:password@]host[:port][/db]` or `redis-cluster://[user:password@]host[:port],host[:port],…`; with
 * `rediss` instead of `redis` it is over TLS. User and password are percent-encoded.
 * @throws {@link InvalidRedisUrlError}
 */
export function parseRedisUrl(text: string): RedisLocation {
  const parts = URL_PARTS.exec(text)?.groups;
  if (parts === undefined) throw new InvalidRedisUrlError(`must be ${REDIS_URL_FORMS}`);
  const scheme = parts['scheme']?.toLowerCase() as string;
  const common = { tls: scheme.startsWith('rediss'), ...parseLogin(parts['login']) };
  const addresses = (parts['hosts'] ?? '').split(',').map(parseAddress);
  const db = Number(parts['db'] ?? 0);
  if (scheme.endsWith('-cluster')) {
    if (db !== 0) throw new InvalidRedisUrlError('must not name a database: a cluster has only one');
    return { kind: 'cluster', seeds: addresses, ...common };
  }
  const [address, ...more] = addresses as [Address, ...Address[]];
  if (more.length > 0) throw new InvalidRedisUrlError('must name one host; several are for redis-cluster://');
  return { kind: 'node', address, db, ...common };
}

/** `redis://host:port`, without credentials. */
export function formatRedisLocation({ tls, ...location }: RedisLocation): string {
  const scheme = tls ? 'rediss' : 'redis';
  if (location.kind === 'cluster') return `${scheme}-cluster://${location.seeds.map(formatAddress).join(',')}`;
  return `${scheme}://${formatAddress(location.address)}`;
}

/** The URL with `mask` in place of the password, if there is one. */
export function maskRedisUrl(url: string, mask: string): string {
  return url.replace(/^([^:]+:\/\/[^/:]*:)[^/]*@/, `$1${mask}@`);
}

function parseLogin(login: string | undefined): RedisCredentials {
  if (login === undefined) return { username: undefined, password: undefined };
  const colon = login.indexOf(':');
  const username = colon === -1 ? login : login.slice(0, colon);
  const password = colon === -1 ? '' : login.slice(colon + 1);
  return { username: decode(username) || undefined, password: decode(password) || undefined };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new InvalidRedisUrlError(
      'has a user or password with a % that is not followed by two hex digits; write %25 for %',
    );
  }
}

function parseAddress(text: string): Address {
  const parts = ADDRESS.exec(text)?.groups;
  const port = Number(parts?.['port'] ?? DEFAULT_PORT);
  const host = parts?.['host'];
  if (host === undefined || port < 1 || port > 65_535)
    throw new InvalidRedisUrlError('must name each host as host or host:port');
  return { host: host.replace(/^\[|\]$/g, ''), port };
}

function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
