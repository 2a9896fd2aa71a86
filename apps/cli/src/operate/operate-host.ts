import type { Writable } from 'node:stream';

/** What of the process a command that works on a running system uses. */
export interface OperateHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Writable;
  /** Ends it in good order. */
  readonly signal: AbortSignal;
}

/** The same for a command that may go on and on, on a terminal. */
export interface LiveHost extends OperateHost {
  readonly stdout: Writable & {
    readonly isTTY?: boolean | undefined;
    readonly columns?: number | undefined;
    readonly rows?: number | undefined;
  };
  readonly stdin: NodeJS.ReadStream;
  /** Never goes back, milliseconds. */
  readonly monotonicMs: () => number;
}
