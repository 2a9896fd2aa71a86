import type { LineWriter } from '../line-writer.ts';
import type { Load } from './load.ts';

export interface WriteLoadOptions {
  readonly load: Load;
  readonly output: LineWriter;
  /** Stops between two lines. */
  readonly signal: AbortSignal;
  readonly onProgress: (messages: number) => void;
}

const PROGRESS_MESSAGES = 1_000;

/**
 * Writes a load, one message a line, and flushes.
 * @returns How many.
 * @throws FileError, or the reason of `signal`. What was written is whole lines.
 */
export async function writeLoad({ load, output, signal, onProgress }: WriteLoadOptions): Promise<number> {
  let written = 0;
  for (let message = load.next(); message !== undefined; message = load.next()) {
    // A tombstone has no place in a file.
    if (message.value === null) continue;
    await output.write(message.value);
    written += 1;
    if (written % PROGRESS_MESSAGES > 0) continue;
    signal.throwIfAborted();
    onProgress(written);
  }
  await output.flush();
  return written;
}
