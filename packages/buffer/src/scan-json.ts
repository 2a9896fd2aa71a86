import { MAX_SPAN_DEPTH } from './span-json.ts';

/**
 * A member of an object whose place is asked for, with those of the object that is its value. Where the value starts and
 * ends is that of the latest scan; `start` is 0 when there is no such member.
 */
export class Member {
  readonly name: Buffer;
  readonly members: Members;
  /** Itself, its members, and theirs. */
  readonly all: readonly Member[];
  start = 0;
  end = 0;

  constructor(name: string, members: readonly Member[] = []) {
    this.name = Buffer.from(name);
    this.members = byLength(members);
    this.all = [this, ...members.flatMap(({ all }) => all)];
  }
}

/** At each index those whose names have this length. */
type Members = readonly (readonly Member[])[];

function byLength(members: readonly Member[]): Members {
  const longest = Math.max(-1, ...members.map(({ name }) => name.length));
  return Array.from({ length: longest + 1 }, (_, length) => members.filter(({ name }) => name.length === length));
}

const NO_MEMBERS: Members = [];

export const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
export const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;
const LOWER_CASE = 0x20;
const E = 0x65;
export const F = 0x66;
export const N = 0x6e;
export const T = 0x74;
const U = 0x75;

const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NULL = Buffer.from('null');

/** One byte of every kind: 1 where it is among `characters`. */
const setOf = (characters: string): Uint8Array => {
  const set = new Uint8Array(256);
  for (const byte of Buffer.from(characters)) set[byte] = 1;
  return set;
};
const IS_SPACE = setOf(' \n\r\t');
const IS_DIGIT = setOf('0123456789');
const IS_HEX = setOf('0123456789abcdefABCDEF');
const IS_ESCAPED = setOf('"\\/bfnrt');
/** What stands in a string for itself. */
const IS_PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= SPACE && byte !== QUOTE && byte !== BACKSLASH ? 1 : 0,
);

/**
 * Of each level: what closes it, the members asked for, and the one whose value is being read. One for all calls: nothing
 * runs in between.
 */
const closers = new Uint8Array(MAX_SPAN_DEPTH + 1);
const membersOf: Members[] = new Array(MAX_SPAN_DEPTH + 1).fill(NO_MEMBERS);
const memberOf: (Member | undefined)[] = new Array(MAX_SPAN_DEPTH + 1).fill(undefined);

/**
 * Whether `json` is an object in JSON, of at most {@link MAX_SPAN_DEPTH} levels and nothing else, but for its strings, which
 * need not be UTF-8. Refused as well: an escape in a key, and a second member of a name that is asked for.
 * @param root - Holds what is asked for in the object: sets their places.
 * @remarks Cost: one pass over the bytes.
 */
export function scanJson(json: Buffer, root: Member): boolean {
  for (const each of root.all) each.start = 0;
  let level = 0;
  let member: Member | undefined = root;
  let at = skipSpace(json, 0);
  if (at === json.length || json[at] !== OPEN_BRACE || !endsInBrace(json)) return false;
  for (;;) {
    // A value: only the first part of it, if it is an object or an array.
    const byte = json[at] as number;
    const opens = byte === OPEN_BRACE || byte === OPEN_BRACKET;
    let isFirst = opens;
    if (opens) {
      if (level === MAX_SPAN_DEPTH) return false;
      closers[++level] = byte + 2;
      membersOf[level] = member !== undefined && byte === OPEN_BRACE ? member.members : NO_MEMBERS;
      memberOf[level] = undefined;
      at++;
    } else {
      at = byte === QUOTE ? endOfString(json, at) : endOfWord(json, at);
      if (member !== undefined) member.end = at;
    }
    at = skipSpace(json, at);
    while (at < json.length && json[at] === closers[level]) {
      isFirst = false;
      at++;
      level--;
      if (level === 0) return skipSpace(json, at) === json.length;
      const closed = memberOf[level];
      if (closed !== undefined) closed.end = at;
      at = skipSpace(json, at);
    }
    // The next value.
    if (at >= json.length) return false;
    if (!isFirst) {
      if (json[at] !== COMMA) return false;
      at = skipSpace(json, at + 1);
    }
    member = undefined;
    if (closers[level] === CLOSE_BRACE) {
      if (json[at] !== QUOTE) return false;
      const key = at + 1;
      const keyEnd = endOfPlain(json, key);
      if (keyEnd === json.length || json[keyEnd] !== QUOTE) return false;
      at = skipSpace(json, keyEnd + 1);
      if (json[at] !== COLON) return false;
      at = skipSpace(json, at + 1);
      const members = membersOf[level] as Members;
      if (members !== NO_MEMBERS) {
        member = memberNamed(json, key, keyEnd, members);
        memberOf[level] = member;
        if (member !== undefined) {
          if (member.start > 0) return false;
          member.start = at;
        }
      }
    }
  }
}

/**
 * Whatever is read byte by byte stops at a brace. So nothing is read behind the end of bytes that end in one, which would be
 * slow, and make all later scans slower.
 */
function endsInBrace(json: Buffer): boolean {
  let last = json.length - 1;
  while (IS_SPACE[json[last] as number] === 1) last--;
  return json[last] === CLOSE_BRACE;
}

function memberNamed(json: Buffer, start: number, end: number, members: Members): Member | undefined {
  if (end - start >= members.length) return undefined;
  for (const member of members[end - start] as readonly Member[]) {
    if (isAt(json, start, member.name)) return member;
  }
  return undefined;
}

// Each of these answers with the length of all bytes, where nothing stands, when what it looks for is not there.

function endOfString(json: Buffer, start: number): number {
  let at = endOfPlain(json, start + 1);
  while (at < json.length && json[at] === BACKSLASH) {
    const escaped = json[at + 1] as number;
    if (IS_ESCAPED[escaped] === 1) at += 2;
    else if (escaped === U && endOf(json, at + 2, at + 6, IS_HEX) === at + 6) at += 6;
    else return json.length;
    at = endOfPlain(json, at);
  }
  return at < json.length && json[at] === QUOTE ? at + 1 : json.length;
}

function endOfWord(json: Buffer, start: number): number {
  const byte = json[start];
  if (byte !== T && byte !== F && byte !== N) return endOfNumber(json, start);
  const word = byte === T ? TRUE : byte === F ? FALSE : NULL;
  return isAt(json, start, word) ? start + word.length : json.length;
}

function endOfNumber(json: Buffer, start: number): number {
  let at = json[start] === MINUS ? start + 1 : start;
  at = json[at] === ZERO ? at + 1 : endOfDigits(json, at);
  if (json[at] === POINT) at = endOfDigits(json, at + 1);
  if (((json[at] as number) | LOWER_CASE) === E) {
    at++;
    at = endOfDigits(json, json[at] === PLUS || json[at] === MINUS ? at + 1 : at);
  }
  return at;
}

function endOfDigits(json: Buffer, start: number): number {
  const at = endOf(json, start, json.length, IS_DIGIT);
  return at > start ? at : json.length;
}

/** Where the bytes from `start` end that stand in a string for themselves. */
function endOfPlain(json: Buffer, start: number): number {
  let at = start;
  while (at < json.length && IS_PLAIN[json[at] as number] === 1) at++;
  return at;
}

/** Where the bytes from `start` to before `end` end that are in `set`. */
function endOf(json: Buffer, start: number, end: number, set: Uint8Array): number {
  let at = start;
  while (at < end && set[json[at] as number] === 1) at++;
  return at;
}

function skipSpace(json: Buffer, start: number): number {
  let at = start;
  while (at < json.length && (json[at] as number) <= SPACE && IS_SPACE[json[at] as number] === 1) at++;
  return at;
}

function isAt(json: Buffer, start: number, bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if (json[start + i] !== bytes[i]) return false;
  return true;
}
