/** One Redis server process: see redis-servers.ts. */
import { connect } from 'node:net';
import type { Certificates } from './certificates.ts';
import { freePort, HOST, releasePort, ServerProcess, until } from './server-process.ts';

export const START_TIMEOUT_MS = 10_000;
const START_ATTEMPTS = 5;

export interface RedisOptions {
  /** Passed to redis-server last, for instance `['--maxmemory', '10mb']`. */
  readonly args?: readonly string[];
  /** Environment variables, besides those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Users, as lines of an ACL file: `user name on >password ~* +@all`. Without one of them, `default` may do anything. */
  readonly acl?: readonly string[];
  /** Opens one more port, which speaks TLS. Clients need no certificate; nodes of a cluster talk TLS to each other. */
  readonly certificates?: Certificates;
  /**
   * Called with the port before the server starts: opens what leads there, and answers with the port of that. Clients and
   * the other nodes of a cluster are told of it instead.
   */
  readonly openDetour?: (port: number) => Promise<number>;
}

interface RedisPorts {
  readonly port: number;
  readonly busPort: number | undefined;
  readonly tlsPort: number | undefined;
  readonly detourPort: number | undefined;
}

/** One redis-server process. After `kill()` it can be started again with `restart()`, on the same port and directory. */
export class RedisServer extends ServerProcess {
  readonly port: number;
  /** Of a cluster node: the port that the other nodes talk to. */
  readonly busPort: number | undefined;
  /** Of a server with certificates, which speaks TLS there, and plain text on `port`. */
  readonly tlsPort: number | undefined;
  readonly url: string;
  /** Connection options for ioredis. */
  readonly connection: { readonly host: string; readonly port: number };
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;

  /** Use `startRedis` instead. */
  constructor(ports: RedisPorts, { args = [], env = {}, acl = [], certificates }: RedisOptions) {
    super('redis');
    this.#env = env;
    const { port, busPort, tlsPort, detourPort } = ports;
    this.port = port;
    this.busPort = busPort;
    this.tlsPort = tlsPort;
    this.url = `redis://${HOST}:${port}`;
    this.connection = { host: HOST, port };
    const own = ['--port', `${port}`, '--bind', HOST, '--save', '', '--appendonly', 'no'];
    const bus = busPort === undefined ? [] : ['--cluster-enabled', 'yes', '--cluster-port', `${busPort}`];
    const tls = certificates && tlsPort !== undefined ? tlsArgs(certificates, tlsPort) : [];
    const detour = detourPort === undefined ? [] : ['--cluster-announce-port', `${detourPort}`];
    this.#args = [...own, ...bus, ...detour, ...tls, ...acl.flatMap((line) => `--${line}`.split(' ')), ...args];
  }

  /** Stops the server at once and removes its directory. Does nothing the second time. */
  async stop(): Promise<void> {
    await this.remove();
    for (const port of [this.port, this.busPort, this.tlsPort]) if (port !== undefined) releasePort(port);
  }

  /** Kills the process if it runs, starts it again and waits until it answers. Data is lost; a cluster node keeps its identity. */
  async restart(): Promise<void> {
    await this.kill('SIGKILL');
    const child = this.spawn('redis-server', ['--dir', this.directory, ...this.#args], this.#env);
    await until(`redis-server on port ${this.port} answers`, START_TIMEOUT_MS, async () => {
      if (child.exitCode === 127) throw new Error('redis-server is not installed: apt-get install redis-server');
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`redis-server did not start:\n${this.output}`);
      const reply = await firstReply(this.port, 'INFO server\r\n');
      return reply.includes(`process_id:${child.pid}\r\n`) || reply.startsWith('-NOAUTH');
    });
  }
}

function tlsArgs({ caFile, certFile, keyFile }: Certificates, tlsPort: number): string[] {
  const files = ['--tls-ca-cert-file', caFile, '--tls-cert-file', certFile, '--tls-key-file', keyFile];
  const clients = ['--tls-port', `${tlsPort}`, '--tls-auth-clients', 'no'];
  // Redis 7.0 tells clients of other nodes' TLS ports only when the nodes use them, too.
  return [...files, ...clients, '--tls-cluster', 'yes', '--tls-replication', 'yes'];
}

/** Starts a server, as a cluster node if asked, with other ports when somebody else was quicker to take one. */
export async function startServer(options: RedisOptions, clusterNode = false): Promise<RedisServer> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const ports = {
      port,
      busPort: clusterNode ? await freePort() : undefined,
      tlsPort: options.certificates ? await freePort() : undefined,
      detourPort: await options.openDetour?.(port),
    };
    const server = new RedisServer(ports, options);
    try {
      await server.restart();
      return server;
    } catch (error) {
      await server.stop();
      if (attempt === START_ATTEMPTS || !/already in use|Failed listening/i.test(String(error))) throw error;
    }
  }
}

/** Sends an inline command on a new connection; '' when nobody answers within a second. */
function firstReply(port: number, command: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST, () => socket.write(command));
    const finish = (reply: string) => {
      socket.destroy();
      resolve(reply);
    };
    socket.setTimeout(1_000, () => finish(''));
    socket.on('data', (chunk) => finish(chunk.toString()));
    socket.on('error', () => finish(''));
    socket.on('close', () => resolve(''));
  });
}
