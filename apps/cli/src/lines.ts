/** A line without its line end. */
export interface Line {
  /** From 1. Blank lines count, too. */
  readonly number: number;
  readonly byteLength: number;
  /** Exactly as they came, in memory of their own; undefined when there are more than the splitter may hold. */
  readonly bytes: Buffer | undefined;
}

const LF = 0x0a;
const CR = 0x0d;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * Cuts a stream of bytes into lines that end with LF or CRLF; the last one may end with the stream. Blank lines are left
 * out, and so is a byte order mark at the start. Never holds more than one line of `maxLineBytes` between two calls.
 */
export class LineSplitter {
  readonly #maxLineBytes: number;
  #number = 1;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  /** Of the line that is being read, held or not. */
  #lineBytes = 0;
  #endsWithCr = false;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** The lines that end in `chunk`. What is left of it is copied: it stays the caller's. */
  push(chunk: Uint8Array): Line[] {
    const lines: Line[] = [];
    let at = 0;
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, at)) {
      this.#hold(chunk.subarray(at, end), false);
      this.#cut(lines);
      at = end + 1;
    }
    if (at < chunk.length) this.#hold(chunk.subarray(at), true);
    return lines;
  }

  /** The line that no line end follows, if there is one. */
  end(): Line[] {
    const lines: Line[] = [];
    this.#cut(lines);
    return lines;
  }

  #hold(piece: Uint8Array, outlivesCall: boolean): void {
    if (piece.length === 0) return;
    this.#lineBytes += piece.length;
    this.#endsWithCr = piece.at(-1) === CR;
    // One more than the limit, because the last byte may turn out to be the CR of the line end.
    if (this.#lineBytes > this.#maxLineBytes + 1) {
      this.#held = [];
      this.#heldBytes = 0;
    } else {
      this.#held.push(outlivesCall ? Buffer.from(piece) : piece);
      this.#heldBytes += piece.length;
    }
  }

  #cut(lines: Line[]): void {
    const number = this.#number++;
    const isWhole = this.#heldBytes === this.#lineBytes;
    if (!isWhole) {
      const byteLength = this.#lineBytes - (this.#endsWithCr ? 1 : 0);
      lines.push({ number, byteLength, bytes: undefined });
    } else if (!this.#held.every(isBlank)) {
      // A copy: a view would keep the whole chunk in memory for as long as the line is.
      const bytes = withoutMarks(Buffer.concat(this.#held, this.#heldBytes), number === 1);
      const fits = bytes.length <= this.#maxLineBytes;
      lines.push({ number, byteLength: bytes.length, bytes: fits ? bytes : undefined });
    }
    this.#held = [];
    this.#heldBytes = 0;
    this.#lineBytes = 0;
    this.#endsWithCr = false;
  }
}

function withoutMarks(bytes: Buffer, isFirst: boolean): Buffer {
  const hasMark = isFirst && bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
  return bytes.subarray(hasMark ? BYTE_ORDER_MARK.length : 0, bytes.at(-1) === CR ? -1 : bytes.length);
}

/** Space, tab and CR only. Ends at the first other byte, which is the first byte of nearly every line. */
function isBlank(piece: Uint8Array): boolean {
  return piece.every((byte) => byte === 0x20 || byte === 0x09 || byte === CR);
}
