import { isDeepStrictEqual } from 'node:util';
import { InvalidIdError, SpanbufError } from '@spanbuf/keys';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseIngestSpan } from '../src/ingest-span.ts';
import { isTooDeep, MAX_SPAN_DEPTH, spliceSpan, UnreadableSpanError } from '../src/span-json.ts';
import { written } from './spans.ts';

const SEGMENT = 'b7ad6b7169203331';
const ENTRY = `{"type":"string","value":"${SEGMENT}"}`;
const MEMBER = `"sentry.segment.id":${ENTRY}`;

/** The spliced span as text; the payload and the byte count are checked on the way. */
function splice(payload: string | Uint8Array, isSegment = true): string {
  const bytes = Buffer.from(payload);
  const before = Buffer.from(bytes);
  const spliced = spliceSpan(bytes, { isSegment, segmentId: SEGMENT });
  const whole = written(bytes, spliced);
  expect(bytes.equals(before)).toBe(true);
  return whole.toString();
}

// Generators of JSON as raw text, so that spellings which JSON.parse would lose are there to be lost.

const space = fc.constantFrom('', '', '', ' ', '\n', '\t', '\r\n', '  ');
const numberText = fc.oneof(
  fc.constantFrom(
    '0',
    '-0',
    '1.0',
    '1e400',
    '-1E-400',
    '9007199254740993',
    '18446744073709551615',
    '1e3',
    '0.10',
    '1E+2',
  ),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => JSON.stringify(number)),
);
const stringText = fc.oneof(
  fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
  fc.string({ minLength: 90, maxLength: 400 }).map((text) => JSON.stringify(text)),
  fc.constantFrom(
    '"{"',
    '"}"',
    '"\\""',
    '"\\\\"',
    '"\\\\\\""',
    '"],[}{"',
    '"\\u0022"',
    '"\\/"',
    '"日本 😀"',
    '"\\ud800"',
  ),
  fc.nat(200).map((count) => `"${'\\"'.repeat(count)}${'\\\\'.repeat(count)}"`),
);
/** A name as a JSON string, some of its characters as escapes. */
const spelled = (name: string) =>
  fc
    .array(fc.constantFrom('plain', 'plain', 'lower', 'upper'), { minLength: name.length, maxLength: name.length })
    .map((ways) => {
      const character = (c: string, i: number) => {
        const hex = c.charCodeAt(0).toString(16).padStart(4, '0');
        return ways[i] === 'plain' ? c : `\\u${ways[i] === 'upper' ? hex.toUpperCase() : hex}`;
      };
      return `"${[...name].map(character).join('')}"`;
    });
/** A backslash, as JSON spells it. */
const BACKSLASH = /\\\\|\\u005c/i;
const SPECIAL = ['is_segment', 'attributes', 'sentry.segment.id'];
const plainOrSpelled = (name: string) => fc.oneof(fc.constant(JSON.stringify(name)), spelled(name));
/**
 * Keys as raw text, none with a backslash in it once it is read: having met such a key, V8's JSON.parse misreads keys
 * with escapes (nodejs/node#63785), and the expectations here come from JSON.parse.
 */
const nestedKey = fc
  .oneof(stringText, fc.constantFrom(...SPECIAL, '__proto__', 'constructor', '').chain(plainOrSpelled))
  .filter((key) => !BACKSLASH.test(key));
const otherKey = nestedKey.filter((key) => !SPECIAL.includes(JSON.parse(key)));

const json = fc.letrec<{ value: string; object: string; array: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    numberText,
    stringText,
    fc.constantFrom('true', 'false', 'null'),
    tie('object'),
    tie('array'),
  ),
  array: fc
    .tuple(fc.array(fc.tuple(space, tie('value'), space), { maxLength: 4 }), space)
    .map(([items, gap]) => (items.length === 0 ? `[${gap}]` : `[${items.map((item) => item.join('')).join(',')}]`)),
  object: fc
    .tuple(fc.array(fc.tuple(space, nestedKey, space, space, tie('value'), space), { maxLength: 4 }), space)
    .map(([members, gap]) => {
      const texts = members.map(([a, key, b, c, value, d]) => `${a}${key}${b}:${c}${value}${d}`);
      return texts.length === 0 ? `{${gap}}` : `{${texts.join(',')}}`;
    }),
})).value;

/** One member in two spellings: as received, and as it has to come out when it is the one that counts. */
interface Member {
  readonly kind: 'other' | 'is_segment' | 'attributes' | 'sentry.segment.id';
  readonly received: string;
  readonly expected: string;
}

const member = (
  kind: Member['kind'],
  key: fc.Arbitrary<string>,
  value: fc.Arbitrary<[received: string, expected: string]>,
) =>
  fc.tuple(space, key, space, space, value, space).map(([a, name, b, c, [received, expected], d]): Member => {
    const before = `${a}${name}${b}:${c}`;
    return { kind, received: `${before}${received}${d}`, expected: `${before}${expected}${d}` };
  });
const same = (text: fc.Arbitrary<string>) => text.map((value): [string, string] => [value, value]);

const entryMember = member(
  'sentry.segment.id',
  plainOrSpelled('sentry.segment.id'),
  fc.oneof(
    fc.constant<[string, string]>(['null', ENTRY]),
    fc.constant<[string, string]>([`{"value": "${'a'.repeat(16)}"}`, `{"value": "${'a'.repeat(16)}"}`]),
    same(json.filter((value) => value !== 'null')),
  ),
);
const attributesText = fc
  .tuple(fc.array(fc.oneof(member('other', otherKey, same(json)), entryMember), { maxLength: 5 }), space)
  .map(([members, gap]): [string, string] => {
    if (members.length === 0) return [`{${gap}}`, `{${gap}${MEMBER}}`];
    const last = members.findLastIndex(({ kind }) => kind === 'sentry.segment.id');
    const expected = members.map((each, i) => (i === last ? each.expected : each.received)).join(',');
    return [
      `{${members.map(({ received }) => received).join(',')}}`,
      last < 0 ? `{${expected},${MEMBER}}` : `{${expected}}`,
    ];
  });
const attributesMember = member(
  'attributes',
  plainOrSpelled('attributes'),
  fc.oneof(fc.constant<[string, string]>(['null', `{${MEMBER}}`]), attributesText),
);

/** A span as received, and as it has to come out, for one value of `is_segment`. */
const spanTexts = (isSegment: boolean) => {
  const flag = member(
    'is_segment',
    plainOrSpelled('is_segment'),
    json.map((value): [string, string] => [value, `${isSegment}`]),
  );
  const members = fc.array(fc.oneof(member('other', otherKey, same(json)), flag, attributesMember), { maxLength: 7 });
  return fc.tuple(members, space, space, space).map(([all, before, inside, after]) => {
    const lastAttributes = all.findLastIndex(({ kind }) => kind === 'attributes');
    const counts = (kind: Member['kind'], i: number) => kind === 'is_segment' || i === lastAttributes;
    const expected = all.map((each, i) => (counts(each.kind, i) ? each.expected : each.received));
    const gap = all.length === 0 ? inside : '';
    if (!all.some(({ kind }) => kind === 'is_segment')) expected.push(`"is_segment":${isSegment}`);
    if (lastAttributes < 0) expected.push(`"attributes":{${MEMBER}}`);
    return {
      received: `${before}{${gap}${all.map(({ received }) => received).join(',')}}${after}`,
      expected: `{${gap}${expected.join(',')}}`,
    };
  });
};

/** What JSON.parse has to make of the result. */
function expectedValue(received: string, isSegment: boolean): unknown {
  const value = JSON.parse(received);
  value.is_segment = isSegment;
  value.attributes ??= {};
  value.attributes['sentry.segment.id'] ??= { type: 'string', value: SEGMENT };
  return value;
}

describe('splicing a span', () => {
  it.each([true, false])('changes nothing but the two fields, whatever JSON it is (is_segment: %s)', (isSegment) => {
    fc.assert(
      fc.property(spanTexts(isSegment), ({ received, expected }) => {
        const spliced = splice(received, isSegment);
        expect(spliced).toBe(expected);
        expect(isDeepStrictEqual(JSON.parse(spliced), expectedValue(received, isSegment))).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('changes nothing any more when it is done again', () => {
    fc.assert(
      fc.property(spanTexts(true), ({ received }) => {
        const once = splice(received);
        expect(splice(once)).toBe(once);
      }),
    );
  });

  it('takes every span that can be ingested', () => {
    const ids = `"project_id":1,"trace_id":"${'a'.repeat(32)}","span_id":"${'b'.repeat(16)}"`;
    fc.assert(
      fc.property(spanTexts(false), ({ received }) => {
        const payload = received.replace(/^(\s*\{.*)(\}\s*)$/s, (_all, start: string, end: string) =>
          start.trim() === '{' ? `${start}${ids}${end}` : `${start},${ids}${end}`,
        );
        try {
          parseIngestSpan(Buffer.from(payload), { partition: 0 });
        } catch {
          fc.pre(false);
        }
        expect(isDeepStrictEqual(JSON.parse(splice(payload, false)), expectedValue(payload, false))).toBe(true);
      }),
    );
  });

  it('takes bytes that are no Buffer, and ones in the middle of a larger buffer', () => {
    const text = new TextEncoder().encode('xx{"is_segment":false}xx').subarray(2, -2);
    const spliced = spliceSpan(text, { isSegment: true, segmentId: SEGMENT });
    expect(written(text, spliced).toString()).toBe(`{"is_segment":true,"attributes":{${MEMBER}}}`);
  });

  it('gives each segment its own id, in any order of segments', () => {
    for (const segmentId of ['1'.repeat(16), '2'.repeat(16), '1'.repeat(16)]) {
      const payload = Buffer.from('{}');
      const spliced = spliceSpan(payload, { isSegment: false, segmentId });
      expect(JSON.parse(written(payload, spliced).toString())).toEqual({
        is_segment: false,
        attributes: { 'sentry.segment.id': { type: 'string', value: segmentId } },
      });
    }
  });

  it('refuses a segment id that could break out of its string', () => {
    for (const segmentId of ['"', `${'a'.repeat(15)}"`, '', 'A'.repeat(16), `${SEGMENT}\n`]) {
      expect(() => spliceSpan(Buffer.from('{}'), { isSegment: true, segmentId })).toThrow(InvalidIdError);
    }
  });
});

describe('splicing at places that are known', () => {
  const text = '{"a":"}","is_segment":true,"attributes":{"b":{}},"c":[{}]}';
  const spliceAt = (payload: string, places: readonly [number, number], isSegment = false) => {
    const bytes = Buffer.from(payload);
    return written(bytes, spliceSpan(bytes, { isSegment, segmentId: SEGMENT }, places)).toString();
  };

  it.each([
    ['both', text, [22, 47]],
    ['attributes first', '{"attributes":{"a":1},"is_segment":null}', [35, 20]],
    ['empty attributes', '{"is_segment":false,"attributes":{}}', [14, 34]],
    ['no flag', '{"attributes":{"a":1},"b":2}', [0, 20]],
    ['a segment id that is there', `{"is_segment":true,"attributes":{${MEMBER}}}`, [14, 0]],
  ] as const)('gives what looking for them gives: %s', (_what, payload, places) => {
    for (const isSegment of [true, false])
      expect(spliceAt(payload, places, isSegment)).toBe(splice(payload, isSegment));
  });

  it('edits little: a span that is right as it is, but for its segment id, is cut once', () => {
    const { edits } = spliceSpan(Buffer.from(text), { isSegment: true, segmentId: SEGMENT }, [22, 47]);
    expect(edits.map(({ start, end, text }) => [start, end, String(text)])).toEqual([[47, 47, `,${MEMBER}`]]);
  });

  it('looks for itself where the bytes are others than expected', () => {
    const wrong: [number, number][] = [
      [21, 47],
      [23, 47],
      [22, 46 + 2],
      [22, text.length - 1],
      [22, text.length],
      [22, 2 ** 40],
      [2 ** 40, 47],
      [3, 47],
      [text.length - 2, 47],
    ];
    for (const places of wrong) expect(spliceAt(text, places)).toBe(splice(text, false));
    for (const payload of [` ${text}`, `${text} `, '{"is_segment": true,"attributes":{ }}'])
      for (let at = 0; at < 40; at++) expect(() => JSON.parse(spliceAt(payload, [at, 0]))).not.toThrow();
  });

  it('reads nothing outside of the payload, and ends, whatever the places are', () => {
    const place = fc.oneof(fc.nat(text.length + 5), fc.maxSafeNat());
    fc.assert(
      fc.property(place, place, (flagAt, attributesEnd) => {
        const bytes = Buffer.concat([Buffer.from('}}}}'), Buffer.from(text), Buffer.from('}}}}')]);
        const payload = bytes.subarray(4, -4);
        const { open, close, edits } = spliceSpan(payload, { isSegment: true, segmentId: SEGMENT }, [
          flagAt,
          attributesEnd,
        ]);
        const places = [open, ...edits.flatMap(({ start, end }) => [start, end]), close, payload.length - 1];
        expect(places).toEqual(places.toSorted((a, b) => a - b));
        const replaced = edits.reduce((sum, { start, end }) => sum + end - start, 0);
        expect(close + 1 - open - replaced).toBeGreaterThanOrEqual(payload.length - 5);
      }),
    );
  });
});

describe('is_segment', () => {
  const rest = `"attributes":{${MEMBER}}`;

  it.each([
    ['replaces true', `{"is_segment":true,${rest}}`, `{"is_segment":false,${rest}}`],
    ['replaces null', `{"is_segment":null,${rest}}`, `{"is_segment":false,${rest}}`],
    ['replaces what is no boolean', `{"is_segment":{"a":[1]} ,${rest}}`, `{"is_segment":false ,${rest}}`],
    ['is added at the end when absent', `{${rest}}`, `{${rest},"is_segment":false}`],
    ['is added behind white space', `{${rest} }`, `{${rest} ,"is_segment":false}`],
    ['is known by an escaped key', `{"is\\u005fsegment":1,${rest}}`, `{"is\\u005fsegment":false,${rest}}`],
    [
      'is replaced wherever it occurs',
      `{"is_segment":1,"is_segment":2,${rest}}`,
      `{"is_segment":false,"is_segment":false,${rest}}`,
    ],
    [
      'is not looked for deeper down',
      `{"a":{"is_segment":1},${rest}}`,
      `{"a":{"is_segment":1},${rest},"is_segment":false}`,
    ],
    [
      'is not looked for in attributes',
      `{"attributes":{"is_segment":1,${MEMBER}}}`,
      `{"attributes":{"is_segment":1,${MEMBER}},"is_segment":false}`,
    ],
    [
      'is not taken from a string',
      `{"a":"is_segment\\":1",${rest}}`,
      `{"a":"is_segment\\":1",${rest},"is_segment":false}`,
    ],
    [
      'is not a longer or other key',
      `{"is_segments":1,"Is_segment":1,"is_segmen":1,${rest}}`,
      `{"is_segments":1,"Is_segment":1,"is_segmen":1,${rest},"is_segment":false}`,
    ],
  ])('%s', (_what, received, expected) => {
    expect(splice(received, false)).toBe(expected);
  });
});

describe('the segment id', () => {
  it.each([
    [
      'is the only attribute of a span without attributes',
      '{"is_segment":true}',
      `{"is_segment":true,"attributes":{${MEMBER}}}`,
    ],
    [
      'is the only attribute of a span whose attributes are null',
      '{"attributes":null,"is_segment":true}',
      `{"attributes":{${MEMBER}},"is_segment":true}`,
    ],
    [
      'is the only attribute of a span whose attributes are empty',
      '{"attributes":{ },"is_segment":true}',
      `{"attributes":{ ${MEMBER}},"is_segment":true}`,
    ],
    [
      'comes behind the other attributes',
      '{"attributes":{"a":1},"is_segment":true}',
      `{"attributes":{"a":1,${MEMBER}},"is_segment":true}`,
    ],
    [
      'takes the place of a null entry',
      '{"attributes":{"sentry.segment.id":null,"a":1},"is_segment":true}',
      `{"attributes":{${MEMBER},"a":1},"is_segment":true}`,
    ],
    [
      'is known by an escaped key',
      '{"attributes":{"sentry\\u002esegment.id":null},"is_segment":true}',
      `{"attributes":{"sentry\\u002esegment.id":${ENTRY}},"is_segment":true}`,
    ],
    [
      'goes into attributes under an escaped key',
      '{"attri\\u0062utes":{},"is_segment":true}',
      `{"attri\\u0062utes":{${MEMBER}},"is_segment":true}`,
    ],
    [
      'stays when the span carries one',
      '{"attributes":{"sentry.segment.id":{"value":"00000000000000aa"}},"is_segment":true}',
      '{"attributes":{"sentry.segment.id":{"value":"00000000000000aa"}},"is_segment":true}',
    ],
    [
      'goes into the last of several attributes',
      '{"attributes":{},"is_segment":true,"attributes":{}}',
      `{"attributes":{},"is_segment":true,"attributes":{${MEMBER}}}`,
    ],
    [
      'is not needed when the last of several attributes has it',
      `{"attributes":{},"is_segment":true,"attributes":{${MEMBER}}}`,
      `{"attributes":{},"is_segment":true,"attributes":{${MEMBER}}}`,
    ],
    [
      'goes into the last attributes when only an earlier one has it',
      `{"attributes":{${MEMBER}},"is_segment":true,"attributes":null}`,
      `{"attributes":{${MEMBER}},"is_segment":true,"attributes":{${MEMBER}}}`,
    ],
    [
      'takes the place of the last of several entries',
      '{"attributes":{"sentry.segment.id":{"value":"x"},"sentry.segment.id":null},"is_segment":true}',
      `{"attributes":{"sentry.segment.id":{"value":"x"},${MEMBER}},"is_segment":true}`,
    ],
    [
      'stays when the last of several entries is not null',
      '{"attributes":{"sentry.segment.id":null,"sentry.segment.id":{"value":"x"}},"is_segment":true}',
      '{"attributes":{"sentry.segment.id":null,"sentry.segment.id":{"value":"x"}},"is_segment":true}',
    ],
    [
      'does not go into an object of that name deeper down',
      '{"a":{"attributes":{}},"attributes":{"attributes":{}},"is_segment":true}',
      `{"a":{"attributes":{}},"attributes":{"attributes":{},${MEMBER}},"is_segment":true}`,
    ],
    [
      'does not go into a prototype',
      '{"__proto__":{"attributes":{}},"attributes":{"__proto__":{}},"is_segment":true}',
      `{"__proto__":{"attributes":{}},"attributes":{"__proto__":{},${MEMBER}},"is_segment":true}`,
    ],
  ])('%s', (_what, received, expected) => {
    expect(splice(received)).toBe(expected);
  });

  it('and is_segment are all that an empty object gets', () => {
    expect(splice('{}')).toBe(`{"is_segment":true,"attributes":{${MEMBER}}}`);
    expect(splice(' {\n} ', false)).toBe(`{\n"is_segment":false,"attributes":{${MEMBER}}}`);
  });
});

describe('all else in a span', () => {
  it.each([
    ['numbers as they were spelled', '1.0,-0,1e400,9007199254740993,18446744073709551615,1E+2,0.10'],
    ['escapes as they were spelled', '"\\u00e9\\/\\ud83d\\ude00\\n","é/😀"'],
    ['white space within values', '{ "a" :\t1 ,\r\n"b":[ ] }'],
    ['brackets and quotes within strings', '"}]{[\\"\\\\","\\\\"'],
    ['long strings with quotes at any place', `"${'x'.repeat(95)}\\"${'y'.repeat(300)}\\\\","${'\\"'.repeat(500)}"`],
  ])('keeps %s', (_what, value) => {
    expect(splice(`{"a":[${value}],"is_segment":0,"b":[${value}],"attributes":{"c":[${value}],${MEMBER}}}`)).toBe(
      `{"a":[${value}],"is_segment":true,"b":[${value}],"attributes":{"c":[${value}],${MEMBER}}}`,
    );
  });

  it('keeps a value of the greatest depth, wherever it is', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
    const deep = `{"a":${nested(MAX_SPAN_DEPTH - 1)},"attributes":{"b":${nested(MAX_SPAN_DEPTH - 2)},${MEMBER}},"is_segment":true}`;
    expect(isTooDeep(Buffer.from(deep))).toBe(false);
    expect(splice(deep)).toBe(deep);
  });
});

describe('a payload that is not laid out as a JSON object', () => {
  const tooDeep = '['.repeat(MAX_SPAN_DEPTH);

  it.each([
    '',
    ' ',
    '{',
    '}',
    '{}}',
    '{}{}',
    '{} x',
    '{}\0',
    '[]',
    '[{}]',
    '"{}"',
    'null',
    '1',
    '\ufeff{}',
    '\u00a0{}',
    '{"a"}',
    '{"a":}',
    '{"a":1',
    '{"a":1,}',
    '{,"a":1}',
    '{"a":1,,"b":2}',
    '{"a" 1}',
    '{a:1}',
    "{'a':1}",
    '{"a":1 "b":2}',
    '{"a":1"b":2}',
    '{"a":"}',
    '{"a":"\\"}',
    '{"a":"\\',
    '{"a',
    '{"a\\',
    '{"a":[}',
    '{"a":[1}',
    '{"a":{]}',
    '{"a":{"b":[}]}',
    '{"a":]}',
    '{"a":[1]]}',
    '{"a":{}',
    '{"attributes":{}',
    '{"attributes":{"a":1}',
    '{"attributes":{"a"}}',
    '{"attributes":{"a":1,}}',
    '{"attributes":[]}',
    '{"attributes":1}',
    '{"attributes":"{}"}',
    '{"attributes":nul}',
    '{"attributes":nullx}',
    '{"is\\u00ZZsegment":1}',
    '{"is_segment":}',
    '{"is_segment":[}',
    `{"a":${tooDeep}${']'.repeat(MAX_SPAN_DEPTH)}}`,
    `{"attributes":{"a":${tooDeep.slice(1)}${']'.repeat(MAX_SPAN_DEPTH - 1)}}}`,
    `{"a":${tooDeep}`,
    `{"a":"${'x'.repeat(500)}`,
    `{"a":"${'x'.repeat(500)}\\"}`,
    `{"a":"${'\\'.repeat(501)}"}`,
  ])('is refused: %j', (payload) => {
    expect(() => splice(payload)).toThrow(UnreadableSpanError);
  });

  it('is refused wherever it is cut off', () => {
    const whole = '{"a":"b\\"c","is_segment":null,"attributes":{"d":[{"e":1}],"sentry.segment.id":null},"f":[true]}';
    expect(() => splice(whole)).not.toThrow();
    for (let end = 0; end < whole.length; end++) {
      expect(() => splice(whole.slice(0, end))).toThrow(UnreadableSpanError);
    }
  });

  it('is refused or comes out whole, whatever bytes are put into it', () => {
    const byte = fc.constantFrom(...Buffer.from('{}[]":,\\ \n0ntu\0'), 0xff, 0xc3);
    const change = fc.tuple(
      fc.nat(),
      fc.nat({ max: 2 }),
      fc.uint8Array({ maxLength: 3 }).chain(() => fc.array(byte, { maxLength: 3 })),
    );
    fc.assert(
      fc.property(spanTexts(true), fc.array(change, { minLength: 1, maxLength: 3 }), ({ received }, changes) => {
        const bytes = [...Buffer.from(received)];
        for (const [at, count, by] of changes) bytes.splice(at % (bytes.length + 1), count, ...by);
        const payload = Buffer.from(bytes);
        let spliced: string | undefined;
        try {
          spliced = splice(payload);
        } catch (error) {
          expect(error).toBeInstanceOf(UnreadableSpanError);
        }
        let value: unknown;
        fc.pre(!BACKSLASH.test(payload.toString()));
        try {
          value = JSON.parse(payload.toString());
        } catch {
          return;
        }
        if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
        const { attributes = null } = value as { attributes?: unknown };
        if (typeof attributes !== 'object' || Array.isArray(attributes)) return;
        expect(spliced).toBeDefined();
        expect(isDeepStrictEqual(JSON.parse(spliced as string), expectedValue(payload.toString(), true))).toBe(true);
      }),
      { numRuns: 3_000 },
    );
  });

  it('is refused with a typed error that says what is wrong and where', () => {
    let caught: unknown;
    try {
      splice('{"a" 1}');
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(SpanbufError);
    expect(caught).toMatchObject({
      name: 'UnreadableSpanError',
      code: 'SPANBUF_UNREADABLE_SPAN',
      retriable: false,
      problem: 'a colon is missing',
      at: 5,
    });
  });

  // What is quadratic here takes hours: the timeout of the test ends it.
  it('comes to an end with megabytes of quotes, backslashes and brackets', () => {
    const megabytes = 4 * 1024 * 1024;
    const hostile = [
      `{"a":"${'\\"'.repeat(megabytes / 2)}"}`,
      `{"a":"${'\\'.repeat(megabytes)}"}`,
      `{"a":"${`${'x'.repeat(100)}\\"`.repeat(megabytes / 102)}`,
      `{"a":${'['.repeat(megabytes)}`,
      `{"${'\\u0069'.repeat(megabytes / 6)}":1}`,
      `{${'"is_segment":1,'.repeat(megabytes / 64)}"a":1}`,
      `{${'"attributes":{},'.repeat(megabytes / 64)}"a":1}`,
      `${' '.repeat(megabytes)}{}`,
      '{'.repeat(megabytes),
      '{"a":'.repeat(megabytes / 5),
    ];
    for (const text of hostile) {
      const payload = Buffer.from(text);
      isTooDeep(payload);
      try {
        spliceSpan(payload, { isSegment: true, segmentId: SEGMENT });
      } catch (error) {
        expect(error).toBeInstanceOf(UnreadableSpanError);
      }
    }
  });
});

describe('being too deep', () => {
  // Counted in the text: of two members with the same key JSON.parse keeps one.
  const depthOf = (text: string): number => {
    const brackets = text.replace(/"(?:[^"\\]|\\.)*"/g, '').match(/[[\]{}]/g) ?? [];
    let depth = 0;
    return Math.max(...brackets.map((bracket) => (depth += '[{'.includes(bracket) ? 1 : -1)));
  };
  const around = (levels: number, inner: string) =>
    Array.from({ length: levels }).reduce<string>(
      (text, _, i) => (i % 2 === 0 ? `[1,${text}]` : `{"]":${text}}`),
      inner,
    );

  it('begins one level above the limit, whatever else is there', () => {
    const padding = fc.string({ maxLength: 2_000 }).map((text) => JSON.stringify(text));
    fc.assert(
      fc.property(fc.integer({ min: -3, max: 3 }), json, padding, padding, (more, inner, before, after) => {
        const text = `{"a":${before},"b":${around(MAX_SPAN_DEPTH - 2 + more, inner)},"c":${after}}`;
        expect(isTooDeep(Buffer.from(text))).toBe(depthOf(text) > MAX_SPAN_DEPTH);
      }),
    );
  });

  it('is seen also when the payload holds nothing but the levels', () => {
    const bare = (levels: number) => Buffer.from('['.repeat(levels) + ']'.repeat(levels));
    expect(isTooDeep(bare(MAX_SPAN_DEPTH))).toBe(false);
    expect(isTooDeep(bare(MAX_SPAN_DEPTH + 1))).toBe(true);
  });

  it('is not a matter of how many objects there are, nor of brackets in strings', () => {
    expect(isTooDeep(Buffer.from(`{"a":[${'[],{},'.repeat(5_000)}1]}`))).toBe(false);
    expect(isTooDeep(Buffer.from(`{"a":"\\"${'['.repeat(5_000)}","b":"\\\\"}`))).toBe(false);
  });
});
