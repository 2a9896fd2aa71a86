import type { Writable } from 'node:stream';

/** What of the process a command that works on a running system uses. */
export interface OperateHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Writable;
  /** Ends it in good order. */
  readonly signal: AbortSignal;
}
