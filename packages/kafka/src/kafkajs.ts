/**
 * The one place that knows kafkajs 2.2.4. Used of it: `Connection` (TCP, TLS, SASL, requests in flight) and `Broker`
 * (API versions; the requests of consumer groups and of administration). Not used: its consumer, producer and cluster,
 * nearly all of whose traps are in what they do when something fails. kafkajs has no `exports`, so its inner modules
 * can be reached; it is pinned to one version, the last one of 2023.
 */
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import kafkajs from 'kafkajs';
import type { Broker, BrokerAddress } from './kafkajs-broker.ts';
import type { KafkaConnection, KafkaLog } from './log.ts';
import { API, type WireRequest } from './requests.ts';

// A named import of a CommonJS module works in vitest and fails in Node.
const { AssignerProtocol, logLevel } = kafkajs;
const inner = createRequire(import.meta.resolve('kafkajs'));
const KafkajsConnection = inner('./src/network/connection.js') as new (options: object) => InnerConnection;
const KafkajsBroker = inner('./src/broker/index.js') as new (options: object) => Broker;
const { createLogger } = inner('./src/loggers/index.js') as { createLogger: (options: object) => object };
const { errorCodes } = inner('./src/protocol/error.js') as { errorCodes: readonly { code: number; type: string }[] };

export const { MemberMetadata, MemberAssignment } = AssignerProtocol;

const CONNECT_TIMEOUT_MS = 5_000;

interface InnerRequest {
  readonly request: { readonly apiKey: number; readonly apiName: string };
}

interface InnerConnection {
  readonly socket?: { destroy(error: Error): void };
  readonly requestQueue: InnerQueue;
  connect(): Promise<unknown>;
  disconnect(): Promise<unknown>;
  isConnected(): boolean;
  isAuthenticated(): boolean;
  authenticate(): Promise<void>;
  send(request: InnerRequest): Promise<unknown>;
  setVersions(versions: unknown): void;
  getSupportAuthenticationProtocol(): boolean | null;
  setSupportAuthenticationProtocol(isSupported: boolean | null): void;
  rejectRequests(error: Error): void;
}

interface InnerQueue {
  readonly pending: readonly unknown[];
  readonly throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
  scheduleCheckPendingRequests(): void;
}

/** A connection was given up on this side. */
export class ConnectionClosedError extends Error {
  override readonly name = 'ConnectionClosedError';
}

/** A broker, not yet connected. */
export function openBroker(address: BrokerAddress, connection: KafkaConnection): Broker {
  const logger = createLogger({ level: logLevel.INFO, logCreator: () => logEntry(connection.log ?? (() => {})) });
  const connectionPool = new BrokerConnections(address, connection, logger);
  return new KafkajsBroker({ connectionPool, logger, nodeId: address.nodeId ?? null, allowAutoTopicCreation: false });
}

/** Sends a request of our own encoding; `broker` must have been connected. */
export async function sendRequest<T>(broker: Broker, request: WireRequest<T>, timeoutMs: number): Promise<T> {
  const { apiKey, apiVersion, apiName, payload, read } = request;
  const answer = await broker.connectionPool.send({
    // kafkajs copies it as if it were one of its encoders.
    request: { apiKey, apiVersion, apiName, encode: async () => ({ buf: payload, buffer: payload }) },
    response: {
      decode: async (bytes: Buffer) => ({ value: read(bytes) }),
      parse: async (read: { value: T }) => read.value,
    },
    requestTimeout: timeoutMs,
    logResponseError: false,
  } as InnerRequest);
  return answer as T;
}

/** Closes the broker's connections at once, for good; what is under way is rejected. */
export function closeBroker(broker: Broker, reason: string): void {
  broker.connectionPool.close(new ConnectionClosedError(reason));
}

/** As the protocol names it, `UNKNOWN_<code>` where kafkajs does not know it. */
export function errorName(code: number): string {
  if (code === 100) return 'UNKNOWN_TOPIC_ID';
  if (code === 103) return 'INCONSISTENT_TOPIC_ID';
  return errorCodes.find((known) => known.code === code)?.type ?? `UNKNOWN_${code}`;
}

interface Slot {
  current?: InnerConnection;
  opening?: Promise<InnerConnection> | undefined;
}

/**
 * Stands in for kafkajs' ConnectionPool: two connections to one broker, one of them for fetches alone, which keep it
 * busy. kafkajs opens a connection again after it failed, and then reads the rest of an answer cut off before as the
 * beginning of the next, takes what the old socket still says for news of the new one, and two requests at once open
 * two sockets. Here every connection is opened once, by one caller.
 */
class BrokerConnections {
  // These four are read by Broker.
  readonly host: string;
  readonly port: number;
  readonly sasl: object | null;
  readonly connectionTimeout = CONNECT_TIMEOUT_MS;
  readonly #open: () => InnerConnection;
  readonly #slots: readonly [Slot, Slot] = [{}, {}];
  #versions: unknown = null;
  #hasSaslAuthenticate: boolean | null = null;
  #closed: Error | undefined;

  constructor(address: BrokerAddress, connection: KafkaConnection, logger: object) {
    this.host = address.host;
    this.port = address.port;
    const { sasl, tls, clientId, requestTimeoutMs = 10_000 } = connection;
    this.sasl = sasl === undefined ? null : { ...sasl };
    this.#open = () =>
      new Connection({
        host: this.host,
        port: this.port,
        logger,
        clientId,
        requestTimeout: requestTimeoutMs,
        connectionTimeout: CONNECT_TIMEOUT_MS,
        socketFactory: openSocket,
        ssl: tls ?? null,
        sasl: this.sasl === null ? null : { ...this.sasl },
      });
  }

  isConnected(): boolean {
    return this.#slots.some(({ current }) => current?.isConnected());
  }

  isAuthenticated(): boolean {
    return this.#slots.some(({ current }) => current?.isAuthenticated());
  }

  setVersions(versions: unknown): void {
    this.#versions = versions;
    for (const { current } of this.#slots) current?.setVersions(versions);
  }

  setSupportAuthenticationProtocol(isSupported: boolean): void {
    this.#hasSaslAuthenticate = isSupported;
    for (const { current } of this.#slots) current?.setSupportAuthenticationProtocol(isSupported);
  }

  async send(request: InnerRequest): Promise<unknown> {
    const connection = await this.getConnection(request.request.apiKey === API.fetch.key ? 1 : 0);
    return connection.send(request);
  }

  async getConnection(index: 0 | 1 = 0): Promise<InnerConnection> {
    if (this.#closed !== undefined) throw this.#closed;
    const slot = this.#slots[index];
    if (slot.current?.isConnected()) return slot.current;
    slot.opening ??= this.#reopen(slot).finally(() => {
      slot.opening = undefined;
    });
    return slot.opening;
  }

  async #reopen(slot: Slot): Promise<InnerConnection> {
    if (slot.current !== undefined) abandon(slot.current, new ConnectionClosedError('the connection was lost'));
    const connection = this.#open();
    slot.current = connection;
    connection.setVersions(this.#versions);
    connection.setSupportAuthenticationProtocol(this.#hasSaslAuthenticate);
    await connection.connect();
    return connection;
  }

  /** For Broker. */
  async destroy(): Promise<void> {
    this.close(new ConnectionClosedError('the connection was closed'));
  }

  close(error: Error): void {
    this.#closed = error;
    for (const { current } of this.#slots) if (current !== undefined) abandon(current, error);
  }
}

/** Ends a connection without waiting for answers; whoever waits for it is told so. */
function abandon(connection: InnerConnection, error: Error): void {
  connection.rejectRequests(error);
  connection.socket?.destroy(error);
  connection.disconnect().catch(() => {});
}

class Connection extends KafkajsConnection {
  #saslError: unknown;

  constructor(options: object) {
    super(options);
    const queue = this.requestQueue;
    // kafkajs starts a timer of 1 ms whenever one has ended, on every connection, for ever (#1751). It is needed only
    // while requests wait for a throttled broker.
    queue.scheduleCheckPendingRequests = () => {
      if (queue.pending.length === 0 || queue.throttleCheckTimeoutId !== null) return;
      const waitMs = Math.max(queue.throttledUntil - Date.now(), 10);
      queue.throttleCheckTimeoutId = setTimeout(() => {
        queue.throttleCheckTimeoutId = null;
        queue.checkPendingRequests();
      }, waitMs);
    };
  }

  override authenticate(): Promise<void> {
    return this.#unwrapSaslError(super.authenticate());
  }

  override async send(request: InnerRequest): Promise<unknown> {
    const answer = this.#unwrapSaslError(super.send(request));
    if (request.request.apiName !== 'SaslAuthenticate') return answer;
    return answer.catch((error) => {
      this.#saslError = error;
      throw error;
    });
  }

  /** kafkajs calls it wrong credentials when the connection is lost on the way, too. */
  async #unwrapSaslError<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      const cause = this.#saslError as { name?: string; type?: string } | undefined;
      const isWrapped = (error as Error).name === 'KafkaJSSASLAuthenticationError' && cause !== undefined;
      throw isWrapped && cause.type === undefined ? cause : error;
    }
  }
}

/** As kafkajs does it, but without Nagle's algorithm, which holds back the end of a request until the rest is acknowledged. */
function openSocket(options: { host: string; port: number; ssl: object | null; onConnect: () => void }): object {
  const { host, port, ssl, onConnect } = options;
  const servername = /^[\d.]+$|:/.test(host) ? {} : { servername: host };
  const socket =
    ssl === null ? connect({ host, port }, onConnect) : connectTls({ host, port, ...servername, ...ssl }, onConnect);
  return socket.setNoDelay(true).setKeepAlive(true, 60_000);
}

interface LogEntry {
  readonly label: string;
  readonly namespace?: string;
  readonly log: Readonly<Record<string, unknown>>;
}

/** kafkajs calls every failed attempt an error. What comes of it is told by whoever made the attempt. */
function logEntry(log: KafkaLog): (entry: LogEntry) => void {
  return ({ label, namespace, log: { message, timestamp: _, logger: __, stack: ___, ...details } }) => {
    log('debug', `kafkajs ${namespace ?? ''}: ${message}`, { label, ...details });
  };
}
