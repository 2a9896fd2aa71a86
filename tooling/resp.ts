/** As much of RESP2 and RESP3 as it takes to find where messages end, and to read requests. */

const CR = 0x0d;
const LF = 0x0a;
const ATTRIBUTE = 0x7c;
/** First byte of a message that nobody asked for. */
export const PUSH = 0x3e;
const AGGREGATES = '*~>';
const MAPS = '%|';
const BULKS = '$=!';
const LINES = '+-:_,#(';

/** Cuts a stream of RESP2 or RESP3 into whole top-level messages, whatever the chunks. */
export class RespSplitter {
  #parts: Buffer[] = [];
  /** Values that the message still lacks. */
  #missing = 1;
  /** Bytes that the current bulk string still lacks, its line end included. */
  #bulkBytes = 0;
  /** The current line so far. */
  #line: number[] = [];

  /** The messages that this chunk completes. @throws Error when it is not RESP (inline commands are not). */
  push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      at = this.#bulkBytes > 0 ? this.#skipBulk(chunk, at) : this.#readLine(chunk, at);
      if (this.#missing > 0 || this.#bulkBytes > 0) continue;
      messages.push(Buffer.concat([...this.#parts, chunk.subarray(start, at)]));
      this.#parts = [];
      this.#missing = 1;
      start = at;
    }
    if (start < chunk.length) this.#parts.push(chunk.subarray(start));
    return messages;
  }

  #skipBulk(chunk: Buffer, at: number): number {
    const bytes = Math.min(this.#bulkBytes, chunk.length - at);
    this.#bulkBytes -= bytes;
    return at + bytes;
  }

  #readLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(LF, at);
    const next = end < 0 ? chunk.length : end + 1;
    for (const byte of chunk.subarray(at, next)) this.#line.push(byte);
    if (end >= 0 && this.#line.at(-2) === CR) {
      this.#header(Buffer.from(this.#line).toString('latin1').slice(0, -2));
      this.#line = [];
    }
    return next;
  }

  #header(line: string): void {
    const type = line[0] ?? '';
    const length = Number(line.slice(1));
    if (LINES.includes(type)) this.#missing -= 1;
    // An attribute stands before a value and is none itself.
    else if (MAPS.includes(type)) this.#missing += 2 * length - (type.charCodeAt(0) === ATTRIBUTE ? 0 : 1);
    else if (AGGREGATES.includes(type)) this.#missing += Math.max(length, 0) - 1;
    else if (BULKS.includes(type)) {
      this.#missing -= 1;
      this.#bulkBytes = length < 0 ? 0 : length + 2;
    } else throw new Error(`not RESP: ${line.slice(0, 40)}`);
  }
}

/** The name and arguments of a request: a whole array of bulk strings. */
export function parseRequest(request: Buffer): Buffer[] {
  const args: Buffer[] = [];
  let at = request.indexOf(LF) + 1;
  while (at < request.length) {
    const start = request.indexOf(LF, at) + 1;
    const end = start + Number(request.toString('latin1', at + 1, start - 2));
    args.push(request.subarray(start, end));
    at = end + 2;
  }
  return args;
}
