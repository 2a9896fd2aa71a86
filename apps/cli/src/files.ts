import { createReadStream, createWriteStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';

const READ_BYTES = 256 * 1024;

/** A file or stream could not be opened, read or written; the message says which and why, in one line. */
export class FileError extends Error {
  override readonly name = 'FileError';
  /** Whether the one who read the output has gone away, as `head` does. */
  readonly isBrokenPipe: boolean;

  constructor(action: 'read' | 'write', path: string, cause: unknown) {
    super(`cannot ${action} ${path}: ${reasonOf(cause)}`, { cause });
    this.isBrokenPipe = action === 'write' && cause instanceof Error && 'code' in cause && cause.code === 'EPIPE';
  }
}

/** @throws {@link FileError} */
export async function openInput(path: string): Promise<Readable> {
  try {
    return createReadStream('', { fd: await open(path, 'r'), highWaterMark: READ_BYTES });
  } catch (error) {
    throw new FileError('read', path, error);
  }
}

/** What a stream holds. @throws {@link FileError} that names it, or the AbortError of a signal. */
export async function* contentsOf(stream: Readable, name: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of stream) yield chunk;
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') throw error;
    throw new FileError('read', name, error);
  }
}

/**
 * Opens a file for the output and empties it.
 * @param inputPath - Must not be the same file: it would be empty before it is read.
 * @throws {@link FileError}
 */
export async function openOutput(path: string, inputPath: string | undefined): Promise<Writable> {
  try {
    if (inputPath !== undefined && (await isSameFile(path, inputPath))) throw new Error('it is the input');
    const file = await open(path, 'w');
    return createWriteStream('', { fd: file });
  } catch (error) {
    throw new FileError('write', path, error);
  }
}

async function isSameFile(path: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([path, other].map((one) => stat(one, { bigint: true }).catch(() => undefined)));
  return a !== undefined && b !== undefined && a.isFile() && a.dev === b.dev && a.ino === b.ino;
}

/** `no such file or directory` of `ENOENT: no such file or directory, open '…'`. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /^E[A-Z0-9]+: (?<reason>[^,]+)/.exec(message)?.groups?.['reason'] ?? message;
}
