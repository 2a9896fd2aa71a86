const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

export interface RetryOptions {
  /** Ends the wait between two attempts, and with it the trying: the last error is thrown. */
  readonly signal: AbortSignal;
  /** Whether another attempt may help. An error for which it is false is thrown at once. */
  readonly isPassing: (error: unknown) => boolean;
  /** Told before each wait. `attempt` counts from 1. */
  readonly onRetry?: (error: unknown, attempt: number) => void;
}

/** Repeats `task` until it succeeds, with pauses from 0.1 s that double up to 5 s. */
export async function retry<T>(task: () => Promise<T>, { signal, isPassing, onRetry }: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await task();
    } catch (error) {
      if (signal.aborted || !isPassing(error)) throw error;
      onRetry?.(error, attempt);
      await pause(Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS), signal);
      if (signal.aborted) throw error;
    }
  }
}

/** Resolves after `milliseconds`, or as soon as `signal` aborts. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
  });
}
