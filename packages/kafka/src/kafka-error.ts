import { SpanbufError } from '@spanbuf/keys';
import { KafkaRefusedError, KafkaUnavailableError } from './errors.ts';
import { errorName } from './kafkajs.ts';
import { DeadlineError } from './waiting.ts';

/** What a broker answered instead of doing it. */
export class BrokerError extends Error {
  /** As the protocol names it: `NOT_LEADER_FOR_PARTITION`. */
  readonly type: string;

  constructor(code: number, message?: string | null) {
    super(message ? `${errorName(code)}: ${message}` : errorName(code));
    this.type = errorName(code);
  }
}

/** @throws BrokerError unless `code` is 0. */
export function throwIfError(code: number, message?: string | null): void {
  if (code !== 0) throw new BrokerError(code, message);
}

/** Name of the protocol error that `error` is or was caused by; undefined when no broker said anything. */
export function brokerErrorType(error: unknown): string | undefined {
  for (const link of causes(error)) if (typeof link['type'] === 'string') return link['type'];
  return undefined;
}

const LOST_CONNECTION = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSLockTimeout',
  'ConnectionClosedError',
]);

/** Whether the connection is of no more use: it was lost, or an answer is overdue. */
export function isConnectionLost(error: unknown): boolean {
  if (error instanceof DeadlineError) return true;
  return causes(error).some((link) => LOST_CONNECTION.has(String(link['name'])) || typeof link['syscall'] === 'string');
}

/** Answers that stay the same however often one asks; authorisations apart, these are mistakes in the settings. */
const REFUSALS =
  /_AUTHORIZATION_FAILED$|^SASL_AUTHENTICATION_FAILED$|^ILLEGAL_SASL_STATE$|^UNSUPPORTED_(SASL_MECHANISM|VERSION)$|^INVALID_(SESSION_TIMEOUT|GROUP_ID|TOPIC_EXCEPTION|PARTITIONS|REPLICATION_FACTOR|CONFIG|REPLICA_ASSIGNMENT|REQUEST)$|^INCONSISTENT_GROUP_PROTOCOL$|^POLICY_VIOLATION$/;

/** Codes of `node:tls` when the two sides do not agree, the certificate above all. */
const TLS_REFUSALS = /^ERR_(TLS|SSL)_|CERT|^UNABLE_TO_|^EPROTO$|^CRL_|^HOSTNAME_MISMATCH$|^INVALID_CA$/;

/** Whether it may be otherwise a moment later: a lost connection, or a broker that cannot do it now. */
export function isPassing(error: unknown): boolean {
  if (error instanceof SpanbufError) return error.retriable;
  return (isConnectionLost(error) || brokerErrorType(error) !== undefined) && toKafkaError(error, '').retriable;
}

/** One line for people: what was being done, and what came of it. Errors of this package are returned as they are. */
export function toKafkaError(error: unknown, doing: string): SpanbufError {
  if (error instanceof SpanbufError) return error;
  const options = { cause: error };
  const message = errorLine(error);
  const type = brokerErrorType(error);
  const links = causes(error);
  // "Failed to connect" is what kafkajs says when no socket could be made: a certificate or key that is none.
  const isMalformed = message.startsWith('Failed to connect: ');
  if (isMalformed || links.some((link) => TLS_REFUSALS.test(String(link['code'])))) {
    return new KafkaRefusedError(`${doing}: TLS failed: ${message}`, options);
  }
  const isRefused = type !== undefined && REFUSALS.test(type);
  if (isRefused || links.some((link) => link['name'] === 'KafkaJSSASLAuthenticationError')) {
    const hint = type === 'ILLEGAL_SASL_STATE' ? ' (this port does not want a login)' : '';
    return new KafkaRefusedError(`${doing}: ${message}${hint}`, options);
  }
  return new KafkaUnavailableError(`${doing}: ${message}${hintFor(links)}`, options);
}

/** Kafka hangs up on those who speak another protocol, and says nothing. */
function hintFor(links: readonly Record<string, unknown>[]): string {
  if (links.some((link) => link['name'] === 'KafkaJSConnectionClosedError'))
    return ' (does this port want TLS or a login?)';
  if (links.some((link) => link['code'] === 'ECONNRESET')) return ' (does this port speak TLS?)';
  return '';
}

/** For a log: what happened, without line ends, and at which broker if it says so. */
export function errorLine(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const broker = causes(error).find((link) => typeof link['broker'] === 'string')?.['broker'];
  // What kafkajs puts before it, and the advice that Node puts behind it.
  const essence = error.message.replace(/^Connection error: /, '').replace(/; if the root CA .*/, '');
  const message = essence.replaceAll(/\s+/g, ' ') || error.name;
  return broker === undefined || message.includes(String(broker)) ? message : `${message} (${broker})`;
}

/** The error and what caused it, outermost first. */
function causes(error: unknown): Record<string, unknown>[] {
  const links: Record<string, unknown>[] = [];
  for (let link = error; link instanceof Error && links.length < 8; link = link.cause) {
    links.push(link as unknown as Record<string, unknown>);
  }
  return links;
}
