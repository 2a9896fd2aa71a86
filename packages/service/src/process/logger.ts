import { type Logger, pino } from 'pino';
import type { ProcessHost } from './process-host.ts';

export interface LoggerOptions {
  /** The least level that is written. */
  readonly level: string;
  /** In every line. */
  readonly bindings: Readonly<Record<string, string>>;
}

/** JSON lines on stdout: `level` as a word, `time` as ISO 8601 in UTC, `err` without what errors of clients carry along. */
export function createLogger(
  { level, bindings }: LoggerOptions,
  host: Pick<ProcessHost, 'stdout' | 'clockMs'>,
): Logger {
  return pino(
    {
      level,
      base: bindings,
      timestamp: () => `,"time":"${new Date(host.clockMs()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError, error: describeError },
    },
    host.stdout,
  );
}

const LONGEST_CAUSE_CHAIN = 5;

/**
 * Name, message, code and stack, and the same of its causes. Nothing else: ioredis hangs the command to its errors, that is
 * the password of a failed login, or payloads.
 */
function describeError(error: unknown, depth = 1): unknown {
  if (!(error instanceof Error)) return typeof error === 'object' ? String(error) : error;
  const { name, message, stack, cause } = error;
  return {
    type: name,
    message,
    ...('code' in error && { code: String(error.code) }),
    stack,
    ...(cause !== undefined && depth < LONGEST_CAUSE_CHAIN && { cause: describeError(cause, depth + 1) }),
  };
}
