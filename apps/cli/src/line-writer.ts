import type { Writable } from 'node:stream';
import { FileError } from './files.ts';

/** Written at once. Below, a system call a line would cost more than building the line. */
const CHUNK_BYTES = 256 * 1024;
const LINE_END = Buffer.from('\n');

/** Writes whole lines to a stream, no faster than the stream takes them. */
export class LineWriter {
  readonly #stream: Writable;
  readonly #name: string;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #error: Error | undefined;

  /** @param name - For errors. */
  constructor(stream: Writable, name: string) {
    this.#stream = stream;
    this.#name = name;
    // The first one says why; later calls only learn that the stream is gone.
    stream.on('error', (error) => {
      this.#error ??= error;
    });
  }

  /** @throws {@link FileError} */
  async write(line: Uint8Array): Promise<void> {
    this.#pending.push(line, LINE_END);
    this.#pendingBytes += line.length + LINE_END.length;
    if (this.#pendingBytes >= CHUNK_BYTES) await this.flush();
  }

  /** Resolves when the system has taken all lines. @throws {@link FileError} */
  async flush(): Promise<void> {
    if (this.#pendingBytes === 0) return;
    const chunk = Buffer.concat(this.#pending, this.#pendingBytes);
    this.#pending = [];
    this.#pendingBytes = 0;
    await this.#call((done) => this.#stream.write(chunk, done));
  }

  /** Flushes, and ends the stream. @throws {@link FileError} */
  async end(): Promise<void> {
    await this.flush();
    await this.#call((done) => this.#stream.end(done));
  }

  #call(start: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      start((error) => {
        if (error) reject(new FileError('write', this.#name, this.#error ?? error));
        else resolve();
      });
    });
  }
}
