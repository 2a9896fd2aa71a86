import type { Writable } from 'node:stream';

/** Written at once. Below, a system call a line would cost more than building the line. */
const CHUNK_BYTES = 256 * 1024;
const LINE_END = Buffer.from('\n');

/** The output did not take what was written. */
export class OutputError extends Error {
  /** Whether its reader has gone away, as `head` does. */
  readonly readerIsGone: boolean;

  constructor(cause: Error) {
    super(cause.message, { cause });
    this.name = 'OutputError';
    this.readerIsGone = 'code' in cause && cause.code === 'EPIPE';
  }
}

/** Writes whole lines to a stream, no faster than the stream takes them. */
export class LineWriter {
  readonly #stream: Writable;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #error: Error | undefined;

  constructor(stream: Writable) {
    this.#stream = stream;
    // The first one says why; later calls only learn that the stream is gone.
    stream.on('error', (error) => {
      this.#error ??= error;
    });
  }

  /** @throws {@link OutputError} */
  async write(line: Uint8Array): Promise<void> {
    this.#pending.push(line, LINE_END);
    this.#pendingBytes += line.length + LINE_END.length;
    if (this.#pendingBytes >= CHUNK_BYTES) await this.flush();
  }

  /** Resolves when the system has taken all lines. @throws {@link OutputError} */
  async flush(): Promise<void> {
    if (this.#pendingBytes === 0) return;
    const chunk = Buffer.concat(this.#pending, this.#pendingBytes);
    this.#pending = [];
    this.#pendingBytes = 0;
    await this.#call((done) => this.#stream.write(chunk, done));
  }

  /** Flushes, and ends the stream. @throws {@link OutputError} */
  async end(): Promise<void> {
    await this.flush();
    await this.#call((done) => this.#stream.end(done));
  }

  #call(start: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      start((error) => {
        if (error) reject(new OutputError(this.#error ?? error));
        else resolve();
      });
    });
  }
}
