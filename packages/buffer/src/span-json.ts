import { checkId, SpanbufError } from '@spanbuf/keys';

/** Most levels of objects and arrays in a span, the span's own object being the first. */
export const MAX_SPAN_DEPTH = 512;

/** Bytes that are not laid out as one JSON object, or whose attributes cannot take an entry. */
export class UnreadableSpanError extends SpanbufError {
  readonly code = 'SPANBUF_UNREADABLE_SPAN';
  readonly retriable = false;
  /** What is wrong. */
  readonly problem: string;
  /** Byte of the payload at which it shows, from 0. */
  readonly at: number;

  constructor(problem: string, at: number, options?: ErrorOptions) {
    super(`the payload is not readable as a span: ${problem}, at byte ${at}`, options);
    this.problem = problem;
    this.at = at;
  }
}

/** A span's JSON: its payload from `open` to `close`, with some edits. */
export interface Splice {
  /** Where the span's object opens and closes. */
  readonly open: number;
  readonly close: number;
  /** In the order of their places; they do not overlap. */
  readonly edits: readonly Edit[];
}

/** Put `text` in the place of the bytes from `start` to before `end`. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: Uint8Array;
}

/**
 * Where an ordinary span is changed: byte at which the value of `is_segment` starts, 0 when the span has none; byte of the
 * brace that closes its `attributes`, 0 when they have a segment id.
 */
export type SplicePlaces = readonly [flag: number, attributesEnd: number];

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** All that tells `[` from `{`, and `]` from `}`. A closing bracket is its opening one plus 2. */
const BRACKET_KIND = 0x20;
const ANY_OPEN = OPEN_BRACE & ~BRACKET_KIND;
const ANY_CLOSE = CLOSE_BRACE & ~BRACKET_KIND;

/** The bytes of numbers, `true`, `false` and `null`, and of nothing that has a place in JSON's structure. */
const IS_LITERAL = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[-+.0-9A-Za-z]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

const IS_SEGMENT = Buffer.from('is_segment');
const ATTRIBUTES = Buffer.from('attributes');
const SEGMENT_ID = Buffer.from('sentry.segment.id');
const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NEXT_TRUE = Buffer.from(`,"${IS_SEGMENT}":true`);
const NEXT_FALSE = Buffer.from(`,"${IS_SEGMENT}":false`);
const NULL = Buffer.from('null');
const FLAGS = [FALSE, TRUE, NULL];
const FLAG_KEY = Buffer.from(`"${IS_SEGMENT}":`);

/**
 * The received JSON object with two changes: `is_segment` is `to.isSegment`, and `attributes["sentry.segment.id"]` is
 * `{"type":"string","value":"<to.segmentId>"}` unless the span carries one that is not null. All other bytes from the
 * first brace to the last stay as they are. Of a key that occurs twice the last counts, as in JSON.parse; `is_segment`
 * is set wherever it occurs.
 *
 * Only the layout is checked: strings, brackets, and the colons and commas of the two objects that may change. That the
 * rest is JSON is for `parseIngestSpan` to prove.
 * @param to - `segmentId` is 16 lower-case hex digits.
 * @param places - Where the changes belong, as found when the payload was checked. Not believed where the bytes there are
 * others than expected.
 * @throws {@link UnreadableSpanError} when the payload is not laid out as one JSON object of at most
 * {@link MAX_SPAN_DEPTH} levels, or its `attributes` are neither an object nor null.
 * @throws {@link InvalidIdError} when `to.segmentId` is not a span id.
 * @remarks Cost: none that depends on the payload's length when the places are known; otherwise one pass over its bytes,
 * linear whatever they are.
 */
export function spliceSpan(
  payload: Uint8Array,
  to: { isSegment: boolean; segmentId: string },
  places?: SplicePlaces,
): Splice {
  const flag = to.isSegment ? TRUE : FALSE;
  const texts = textsOf(to.segmentId);
  return (places === undefined ? undefined : editsAt(payload, places, flag, texts)) ?? findEdits(payload, flag, texts);
}

/** Bytes that {@link writeSpliced} writes. */
export function splicedBytes({ open, close, edits }: Splice): number {
  let bytes = close + 1 - open;
  for (const { start, end, text } of edits) bytes += text.length - (end - start);
  return bytes;
}

/** Writes the JSON of a span to `target`, from `at` on, and returns where it ends. Cost: one copy of the payload. */
export function writeSpliced(
  payload: Uint8Array,
  { open, close, edits }: Splice,
  target: Uint8Array,
  at: number,
): number {
  let end = at;
  let from = open;
  for (const edit of edits) {
    if (edit.start > from) target.set(payload.subarray(from, edit.start), end);
    end += edit.start - from;
    target.set(edit.text, end);
    end += edit.text.length;
    from = edit.end;
  }
  target.set(payload.subarray(from, close + 1), end);
  return end + close + 1 - from;
}

/**
 * Whether JSON in `payload` has more than {@link MAX_SPAN_DEPTH} levels. Of bytes that are not JSON the answer says
 * nothing; it comes in one pass all the same.
 */
export function isTooDeep(payload: Uint8Array): boolean {
  // A level takes a byte to open and one to close. So once more other bytes have passed than the payload could have
  // beside those of a too deep nesting, it has none, which most payloads show within a fraction of their length.
  let others = payload.length - 2 * (MAX_SPAN_DEPTH + 1);
  let opened = 0;
  for (let at = 0; others >= 0; at++) {
    if (((payload[at] as number) & ~BRACKET_KIND) !== ANY_OPEN) others--;
    else if (++opened > MAX_SPAN_DEPTH) return hasDepthOver(payload, MAX_SPAN_DEPTH);
  }
  return false;
}

function hasDepthOver(payload: Uint8Array, limit: number): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < payload.length; at++) {
    const byte = payload[at] as number;
    if (byte === QUOTE) inString = !inString;
    else if (inString) at += byte === BACKSLASH ? 1 : 0;
    else if ((byte & ~BRACKET_KIND) === ANY_CLOSE) depth--;
    else if ((byte & ~BRACKET_KIND) === ANY_OPEN && ++depth > limit) return true;
  }
  return false;
}

/** What to write for one segment id. */
interface Texts {
  readonly segmentId: string;
  /** `{"type":"string","value":"…"}` */
  readonly entry: Uint8Array;
  /** `,"sentry.segment.id":{…}` */
  readonly nextEntry: Uint8Array;
  /** `{"sentry.segment.id":{…}}` */
  readonly attributes: Uint8Array;
  /** `,"attributes":{…}` */
  readonly nextAttributes: Uint8Array;
}

let latestTexts: Texts | undefined;

/** Spans are spliced segment by segment, so the latest id is nearly always the one that is asked for. */
function textsOf(segmentId: string): Texts {
  if (latestTexts?.segmentId === segmentId) return latestTexts;
  const entry = `{"type":"string","value":"${checkId('spanId', segmentId)}"}`;
  const attributes = `{"${SEGMENT_ID}":${entry}}`;
  latestTexts = {
    segmentId,
    entry: Buffer.from(entry),
    nextEntry: Buffer.from(`,"${SEGMENT_ID}":${entry}`),
    attributes: Buffer.from(attributes),
    nextAttributes: Buffer.from(`,"${ATTRIBUTES}":${attributes}`),
  };
  return latestTexts;
}

/**
 * The same as {@link findEdits}, less what changes nothing; undefined when the places may not be the right ones. No read
 * depends on a place that is not inside the payload.
 */
function editsAt(
  payload: Uint8Array,
  [flagAt, attributesEnd]: SplicePlaces,
  flag: Uint8Array,
  texts: Texts,
): Splice | undefined {
  const close = payload.length - 1;
  if (payload[0] !== OPEN_BRACE || payload[close] !== CLOSE_BRACE) return undefined;
  const edits: Edit[] = [];
  if (flagAt > 0) {
    if (!isAt(payload, flagAt - FLAG_KEY.length, FLAG_KEY)) return undefined;
    if (!isAt(payload, flagAt, flag)) {
      const value = FLAGS.find((each) => isAt(payload, flagAt, each));
      if (value === undefined) return undefined;
      edits.push({ start: flagAt, end: flagAt + value.length, text: flag });
    }
  }
  if (attributesEnd > 0) {
    // Behind white space the attributes may be empty.
    const before = payload[attributesEnd - 1];
    if (attributesEnd >= close || payload[attributesEnd] !== CLOSE_BRACE || isSpace(before as number)) return undefined;
    const entry = insertion(attributesEnd, texts.nextEntry, before === OPEN_BRACE);
    if (attributesEnd > flagAt) edits.push(entry);
    else edits.unshift(entry);
  }
  if (flagAt === 0) edits.push(insertion(close, flag === TRUE ? NEXT_TRUE : NEXT_FALSE, false));
  return { open: 0, close, edits };
}

/** Whether `bytes` stand in the payload from `start` on; they do not where that is outside of it. */
function isAt(payload: Uint8Array, start: number, bytes: Uint8Array): boolean {
  if (start < 0 || start + bytes.length > payload.length) return false;
  for (let i = 0; i < bytes.length; i++) if (payload[start + i] !== bytes[i]) return false;
  return true;
}

function findEdits(payload: Uint8Array, flag: Uint8Array, texts: Texts): Splice {
  const edits: Edit[] = [];
  let isEmpty = true;
  let hasFlag = false;
  /** Where the latest `attributes` are, -1 when there are none, and which edits are theirs. */
  let attributes = -1;
  let attributesEnd = -1;
  let firstEdit = 0;
  let editCount = 0;
  const open = skipSpace(payload, 0);
  const close = walkMembers(payload, open, (key, keyEnd, value) => {
    isEmpty = false;
    if (isKey(payload, key, keyEnd, ATTRIBUTES)) {
      edits.splice(firstEdit, editCount);
      firstEdit = edits.length;
      attributes = value;
      attributesEnd = editAttributes(payload, value, texts, edits);
      editCount = edits.length - firstEdit;
      return attributesEnd;
    }
    const end = endOfValue(payload, value, 1);
    if (isKey(payload, key, keyEnd, IS_SEGMENT)) {
      hasFlag = true;
      edits.push({ start: value, end, text: flag });
    }
    return end;
  });
  const last = skipSpace(payload, close + 1);
  if (last < payload.length) throw new UnreadableSpanError('something follows the object', last);
  if (attributes >= 0 && payload[attributes] !== OPEN_BRACE && !isNull(payload, attributes, attributesEnd)) {
    throw new UnreadableSpanError('attributes are neither an object nor null', attributes);
  }
  if (!hasFlag) edits.push(insertion(close, flag === TRUE ? NEXT_TRUE : NEXT_FALSE, isEmpty));
  if (attributes < 0) edits.push(insertion(close, texts.nextAttributes, false));
  return { open, close, edits };
}

/**
 * Adds to `edits` what gives the attributes at `value` the segment id; nothing when they have one or cannot take it.
 * @returns Where they end.
 */
function editAttributes(payload: Uint8Array, value: number, texts: Texts, edits: Edit[]): number {
  if (payload[value] !== OPEN_BRACE) {
    const end = endOfValue(payload, value, 1);
    if (isNull(payload, value, end)) edits.push({ start: value, end, text: texts.attributes });
    return end;
  }
  let isEmpty = true;
  let entry = -1;
  let entryEnd = -1;
  const close = walkMembers(payload, value, (key, keyEnd, member) => {
    isEmpty = false;
    const end = endOfValue(payload, member, 2);
    if (isKey(payload, key, keyEnd, SEGMENT_ID)) {
      entry = member;
      entryEnd = end;
    }
    return end;
  });
  if (entry < 0) edits.push(insertion(close, texts.nextEntry, isEmpty));
  else if (isNull(payload, entry, entryEnd)) edits.push({ start: entry, end: entryEnd, text: texts.entry });
  return close + 1;
}

/** `text` starts with the comma that the first member of an object has not. */
function insertion(at: number, text: Uint8Array, isFirst: boolean): Edit {
  return { start: at, end: at, text: isFirst ? text.subarray(1) : text };
}

/**
 * Calls `onMember` with where the key's characters start and end and where the value starts, for each member of the
 * object at `open`; it returns where the value ends.
 * @returns Where the object's closing brace is.
 */
function walkMembers(
  payload: Uint8Array,
  open: number,
  onMember: (key: number, keyEnd: number, value: number) => number,
): number {
  expect(payload, open, OPEN_BRACE, 'an object');
  let at = skipSpace(payload, open + 1);
  if (payload[at] === CLOSE_BRACE) return at;
  for (;;) {
    expect(payload, at, QUOTE, 'a key');
    const keyEnd = closingQuote(payload, at + 1);
    const colon = skipSpace(payload, keyEnd + 1);
    expect(payload, colon, COLON, 'a colon');
    at = skipSpace(payload, onMember(at + 1, keyEnd, skipSpace(payload, colon + 1)));
    if (payload[at] === CLOSE_BRACE) return at;
    expect(payload, at, COMMA, 'a comma or the end of the object');
    at = skipSpace(payload, at + 1);
  }
}

/** `levels` is how many objects and arrays the value is in. */
function endOfValue(payload: Uint8Array, start: number, levels: number): number {
  const byte = payload[start];
  if (byte === QUOTE) return closingQuote(payload, start + 1) + 1;
  if (byte !== undefined && (byte & ~BRACKET_KIND) === ANY_OPEN) return endOfContainer(payload, start, levels);
  let at = start;
  while (at < payload.length && IS_LITERAL[payload[at] as number] === 1) at++;
  if (at === start) throw new UnreadableSpanError('a value is missing', at);
  return at;
}

/** What closes each level of the container that is being skipped. One for all calls: nothing runs in between. */
const closers = new Uint8Array(MAX_SPAN_DEPTH + 1);

function endOfContainer(payload: Uint8Array, start: number, levels: number): number {
  const most = MAX_SPAN_DEPTH - levels;
  let depth = 0;
  for (let at = start; at < payload.length; at++) {
    const byte = payload[at] as number;
    if (byte === QUOTE) {
      at = closingQuote(payload, at + 1);
    } else if ((byte & ~BRACKET_KIND) === ANY_OPEN) {
      if (depth === most) throw new UnreadableSpanError(`more than ${MAX_SPAN_DEPTH} levels`, at);
      closers[depth++] = byte + 2;
    } else if ((byte & ~BRACKET_KIND) === ANY_CLOSE) {
      if (byte !== closers[--depth]) throw new UnreadableSpanError('a bracket of the wrong kind', at);
      if (depth === 0) return at + 1;
    }
  }
  throw new UnreadableSpanError('an object or array has no end', payload.length);
}

/** From this many bytes on, the call into the runtime's byte search costs less than looking at each byte here. */
const LONG_STRING_BYTES = 96;

/** Where the string ends whose characters start at `start`. */
function closingQuote(payload: Uint8Array, start: number): number {
  let at = start;
  while (at < payload.length) {
    const near = Math.min(payload.length, at + LONG_STRING_BYTES);
    for (; at < near; at++) {
      const byte = payload[at];
      if (byte === QUOTE) return at;
      if (byte === BACKSLASH) at++;
    }
    const quote = payload.indexOf(QUOTE, at);
    if (quote < 0) break;
    let backslashes = 0;
    while (quote - backslashes > at && payload[quote - backslashes - 1] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote;
    at = quote + 1;
  }
  throw new UnreadableSpanError('a string has no end', payload.length);
}

/** Whether the characters of a key spell `name`, escapes resolved. */
function isKey(payload: Uint8Array, start: number, end: number, name: Buffer): boolean {
  const length = end - start;
  if (length < name.length || length > name.length * LONGEST_ESCAPE) return false;
  for (let i = 0; i < name.length; i++) {
    const byte = payload[start + i];
    if (byte !== name[i]) return byte === BACKSLASH && unescaped(payload, start, end) === name.toString();
  }
  return length === name.length;
}

/** `\u005f` */
const LONGEST_ESCAPE = 6;

function unescaped(payload: Uint8Array, start: number, end: number): string {
  try {
    return JSON.parse(`"${Buffer.from(payload.subarray(start, end)).toString()}"`);
  } catch (cause) {
    throw new UnreadableSpanError('a key has a bad escape', start, { cause });
  }
}

function isNull(payload: Uint8Array, start: number, end: number): boolean {
  return end - start === NULL.length && NULL.every((byte, i) => payload[start + i] === byte);
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function skipSpace(payload: Uint8Array, start: number): number {
  let at = start;
  while (at < payload.length && isSpace(payload[at] as number)) at++;
  return at;
}

function expect(payload: Uint8Array, at: number, byte: number, what: string): void {
  if (payload[at] !== byte) throw new UnreadableSpanError(`${what} is missing`, at);
}
