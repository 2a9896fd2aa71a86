/** Where `--store` points to. */
export type StoreLocation =
  | { readonly kind: 'memory' }
  | ({ readonly kind: 'node'; readonly address: Address; readonly db: number; readonly tls: boolean } & Credentials)
  | ({ readonly kind: 'cluster'; readonly seeds: readonly Address[] } & Credentials);

export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Credentials {
  readonly username: string | undefined;
  readonly password: string | undefined;
}

const DEFAULT_PORT = 6379;
const HOST = String.raw`\[[0-9a-f:.%]+\]|[\w.-]+`;
const ADDRESS = new RegExp(`^(?<host>${HOST})(?::(?<port>\\d{1,5}))?$`, 'i');
const URL_PARTS = /^(?<scheme>rediss?|redis-cluster):\/\/(?:(?<login>[^/]*)@)?(?<hosts>[^/@?#]*)(?:\/(?<db>\d*))?$/i;

/**
 * Reads `memory`, `redis://[user:password@]host[:port][/db]`, the same with `rediss://`, or
 * `redis-cluster://[user:password@]host[:port],host[:port],…`.
 * @throws Error that says what is wrong, without the password.
 */
export function parseStoreLocation(text: string): StoreLocation {
  if (text === 'memory') return { kind: 'memory' };
  const parts = URL_PARTS.exec(text)?.groups;
  if (parts === undefined) {
    throw new Error('must be memory, redis://host:port, rediss://host:port or redis-cluster://host:port,host:port');
  }
  const scheme = parts['scheme']?.toLowerCase();
  const credentials = parseLogin(parts['login']);
  const addresses = (parts['hosts'] ?? '').split(',').map(parseAddress);
  const db = parts['db'] ? Number(parts['db']) : 0;
  if (scheme === 'redis-cluster') {
    if (db !== 0) throw new Error('must not name a database: a cluster has only one');
    return { kind: 'cluster', seeds: addresses, ...credentials };
  }
  const [address, ...more] = addresses as [Address, ...Address[]];
  if (more.length > 0) throw new Error('must name one host; several are for redis-cluster://');
  return { kind: 'node', address, db, tls: scheme === 'rediss', ...credentials };
}

/** `redis://host:port`, without credentials. */
export function formatStoreLocation(location: StoreLocation): string {
  if (location.kind === 'memory') return 'memory';
  if (location.kind === 'cluster') return `redis-cluster://${location.seeds.map(formatAddress).join(',')}`;
  return `${location.tls ? 'rediss' : 'redis'}://${formatAddress(location.address)}`;
}

function parseLogin(login: string | undefined): Credentials {
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
    throw new Error('has a user or password with a % that is not followed by two hex digits; write %25 for %');
  }
}

function parseAddress(text: string): Address {
  const parts = ADDRESS.exec(text)?.groups;
  const port = Number(parts?.['port'] ?? DEFAULT_PORT);
  const host = parts?.['host'];
  if (host === undefined || port < 1 || port > 65_535) throw new Error('must name each host as host or host:port');
  return { host: host.replace(/^\[|\]$/g, ''), port };
}

function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
