import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Line, LineSplitter } from '../src/lines.ts';

const LIMIT = 8;

function split(chunks: readonly Uint8Array[], limit = LIMIT): Line[] {
  const splitter = new LineSplitter(limit);
  return [...chunks.flatMap((chunk) => splitter.push(chunk)), ...splitter.end()];
}

function texts(input: string): [number, string | number][] {
  return split([Buffer.from(input)]).map(({ number, bytes, byteLength }) => [number, bytes?.toString() ?? byteLength]);
}

/** What lines are, written as simply as possible. */
function expected(bytes: Buffer): Line[] {
  const lines: Line[] = [];
  let number = 0;
  for (let at = 0; at <= bytes.length; ) {
    const found = bytes.indexOf('\n', at);
    const end = found === -1 ? bytes.length : found;
    let line = bytes.subarray(at, end);
    at = end + 1;
    number += 1;
    if (line.length <= LIMIT + 1 && /^[ \t\r]*$/.test(line.toString('latin1'))) continue;
    if (line.at(-1) === 0x0d) line = line.subarray(0, -1);
    lines.push({ number, byteLength: line.length, bytes: line.length > LIMIT ? undefined : Buffer.from(line) });
  }
  return lines;
}

describe('LineSplitter', () => {
  it('cuts at LF and CRLF, and needs neither at the end', () => {
    expect(texts('a\nb\r\nc')).toEqual([
      [1, 'a'],
      [2, 'b'],
      [3, 'c'],
    ]);
  });

  it('leaves blank lines out and counts them', () => {
    expect(texts('\n \t\r\na\n\r\n\nb\n')).toEqual([
      [3, 'a'],
      [6, 'b'],
    ]);
  });

  it('finds nothing in an empty input', () => {
    expect(split([])).toEqual([]);
    expect(split([Buffer.alloc(0)])).toEqual([]);
  });

  it('skips a byte order mark at the start and only there', () => {
    expect(texts('\ufeffa\n\ufeffb\n')).toEqual([
      [1, 'a'],
      [2, '\ufeffb'],
    ]);
  });

  it('tells the length of a line that is too long, and goes on after it', () => {
    expect(texts('12345678\n123456789\n12345678\r\n123456789\r\na')).toEqual([
      [1, '12345678'],
      [2, 9],
      [3, '12345678'],
      [4, 9],
      [5, 'a'],
    ]);
  });

  it('finds the same lines however the input is cut into chunks', () => {
    const byte = fc.constantFrom(...Buffer.from('\n\n\r \tab\0\xff', 'latin1'));
    const input = fc.array(fc.uint8Array({ maxLength: 12 }).chain(() => fc.array(byte, { maxLength: 12 })));
    fc.assert(
      fc.property(input, (pieces) => {
        const chunks = pieces.map((piece) => Buffer.from(piece));
        expect(split(chunks)).toEqual(expected(Buffer.concat(chunks)));
      }),
    );
  });

  it('keeps lines when the chunk they came in is used again', () => {
    const splitter = new LineSplitter(LIMIT);
    const chunk = Buffer.from('abc\nde');
    const first = splitter.push(chunk);
    chunk.fill('x');
    expect([...first, ...splitter.push(Buffer.from('f\n'))].map(({ bytes }) => bytes?.toString())).toEqual([
      'abc',
      'def',
    ]);
  });
});
