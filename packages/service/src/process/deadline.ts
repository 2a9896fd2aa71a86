import { SpanbufError } from '@spanbuf/keys';

/** Something took longer than it may. */
export class DeadlineError extends SpanbufError {
  readonly code = 'SPANBUF_DEADLINE';
  readonly retriable = true;
}

/** @throws {@link DeadlineError} with `message`; the promise itself goes on, and whether it rejects later is no matter. */
export async function withinSeconds<T>(promise: Promise<T>, seconds: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(message)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
