import type { StopSignal } from './process-host.ts';

/** How an app's process ends. A second signal gives 128 + its number, as a shell reports one that ended a process. */
export const EXIT = {
  /** Ended in order. */
  ok: 0,
  /** Could not start, could not go on, or did not end in time. */
  failed: 1,
  /** Wrong arguments or settings. */
  usage: 2,
  /** EX_SOFTWARE of sysexits.h. */
  bug: 70,
} as const;

export const SIGNAL_EXIT: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };
