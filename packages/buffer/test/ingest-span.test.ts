import { SpanbufError } from '@spanbuf/keys';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_MAX_SPAN_BYTES, InvalidSpanError, ingestSpanSchema, parseIngestSpan } from '../src/ingest-span.ts';
import { effectiveParent, type Span } from '../src/span.ts';
import { MAX_SPAN_DEPTH } from '../src/span-json.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const UUID = '0af76519-16cd-43dd-8448-eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const PARENT = '00f067aa0ba902b7';
const AT = { partition: 3 };
const MINIMAL = { project_id: 42, trace_id: TRACE, span_id: SPAN };

const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const parse = (value: unknown) => parseIngestSpan(bytes(value), AT);
/** The fields of a span that has the given ones beside the minimum. */
const parseWith = (fields: Record<string, unknown>) => parse({ ...MINIMAL, ...fields });

function refusal(payload: unknown, limits?: { maxSpanBytes?: number }): InvalidSpanError {
  try {
    parseIngestSpan(payload instanceof Uint8Array ? payload : bytes(payload), AT, limits);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidSpanError);
    return error as InvalidSpanError;
  }
  throw new Error('the span was accepted');
}

/** The paths that are wrong in a span with the given fields. */
const wrongPaths = (fields: Record<string, unknown>) =>
  refusal({ ...MINIMAL, ...fields }).problems.map(({ path }) => path);

describe('a message that is a span', () => {
  it('becomes what the buffer needs, with its bytes as they came', () => {
    const payload = bytes({
      ...MINIMAL,
      organization_id: 1,
      parent_span_id: PARENT,
      start_timestamp: 1_700_000_000.5,
      end_timestamp: 1_700_000_001,
      received: 1_700_000_002.25,
      retention_days: 90,
      name: 'GET /',
      status: 'ok',
      is_segment: false,
      attributes: { a: { type: 'string', value: 'b' }, c: null },
      links: [{}],
      _meta: {},
      anything: ['else'],
    });
    const span = parseIngestSpan(payload, { partition: 3, offset: 9_007_199_254_740_993n, source: 'topic-1' });
    expect(span).toEqual({
      projectId: '42',
      traceId: TRACE,
      spanId: SPAN,
      parentSpanId: PARENT,
      segmentId: null,
      isSegmentSpan: false,
      organizationId: '1',
      payload,
      partition: 3,
      offset: 9_007_199_254_740_993n,
      source: 'topic-1',
    });
    expect(span.payload).toBe(payload);
  });

  it('needs no more than a project, a trace and an id', () => {
    const span = parse(MINIMAL);
    expect(span).toMatchObject({ parentSpanId: null, segmentId: null, isSegmentSpan: true });
    expect(Object.keys(span)).not.toContain('offset');
    expect(Object.keys(span)).not.toContain('source');
    expect(Object.keys(span)).not.toContain('organizationId');
  });

  it('belongs to an organisation only when its number came through exactly', () => {
    expect(parseWith({ organization_id: 4_505_281_256_947_712 }).organizationId).toBe('4505281256947712');
    expect(parse(`{"organization_id":9007199254740993,${JSON.stringify(MINIMAL).slice(1)}`).organizationId).toBe(
      undefined,
    );
  });

  it('may come in bytes that are no Buffer', () => {
    expect(parseIngestSpan(new TextEncoder().encode(JSON.stringify(MINIMAL)), AT).spanId).toBe(SPAN);
  });

  it.each([
    ['42', '42'],
    ['0', '0'],
    ['-0', '0'],
    ['1.0', '1'],
    ['1e3', '1000'],
    ['9007199254740991', '9007199254740991'],
    ['"42"', '42'],
    ['"12345678901234567890"', '12345678901234567890'],
  ])('may spell its project id %s', (spelling, projectId) => {
    expect(parse(`{"project_id":${spelling},"trace_id":"${TRACE}","span_id":"${SPAN}"}`).projectId).toBe(projectId);
  });

  it('may write its ids in upper case, and its trace id as a UUID', () => {
    const ids = {
      span_id: SPAN.toUpperCase(),
      parent_span_id: PARENT.toUpperCase(),
      attributes: { 'sentry.segment.id': { type: 'string', value: 'ABCDEF0123456789' } },
    };
    const normal = { traceId: TRACE, spanId: SPAN, parentSpanId: PARENT, segmentId: 'abcdef0123456789' };
    for (const trace_id of [TRACE, TRACE.toUpperCase(), UUID, UUID.toUpperCase()]) {
      expect(parseWith({ ...ids, trace_id })).toMatchObject(normal);
    }
  });

  it.each([
    [{}, true],
    [{ parent_span_id: null }, true],
    [{ parent_span_id: null, is_segment: false }, true],
    [{ parent_span_id: PARENT }, false],
    [{ parent_span_id: PARENT, is_segment: null }, false],
    [{ parent_span_id: PARENT, is_segment: false }, false],
    [{ parent_span_id: PARENT, is_segment: true }, true],
  ])('is a segment span when it has no parent or says so: %j', (fields, isSegmentSpan) => {
    expect(parseWith(fields).isSegmentSpan).toBe(isSegmentSpan);
  });

  it.each([
    [undefined, null],
    [null, null],
    [{}, null],
    [{ 'sentry.segment.id': null }, null],
    [{ 'sentry.segment.id': { type: 'string', value: PARENT } }, PARENT],
    [{ 'sentry.segment.id': { value: PARENT, extra: [] } }, PARENT],
    [{ a: 1, b: 'x', c: [], d: { value: {} } }, null],
  ])('has the segment id of its attributes, if any: %j', (attributes, segmentId) => {
    expect(parseWith({ attributes }).segmentId).toBe(segmentId);
  });

  it('may be its own parent, as what to make of it is not for the parser to say', () => {
    expect(parseWith({ parent_span_id: SPAN })).toMatchObject({ parentSpanId: SPAN, isSegmentSpan: false });
  });

  it('may have a clock of any century', () => {
    for (const start_timestamp of [0, -1, 4_102_444_800, 1e300])
      expect(() => parseWith({ start_timestamp })).not.toThrow();
  });

  it('has the last value of a key that occurs twice', () => {
    const twice = `{"span_id":"no","span_id":"${SPAN}","trace_id":"${TRACE}","project_id":null,"project_id":1}`;
    expect(parse(twice)).toMatchObject({ spanId: SPAN, projectId: '1' });
  });

  it('may have keys with escapes, lone surrogates and integers beyond 2^53 in other fields', () => {
    const text = `{"project\\u005fid":1,"trace_id":"${TRACE}","span_id":"${SPAN}","x":[18446744073709551615,"\\ud800",1e400]}`;
    expect(parse(text).projectId).toBe('1');
  });

  it('may have white space around it', () => {
    expect(parse(`\r\n\t ${JSON.stringify(MINIMAL)} \n`).spanId).toBe(SPAN);
  });

  it('does not take fields from a prototype', () => {
    const inherited = `"__proto__":{"parent_span_id":"${PARENT}","is_segment":5,"attributes":7}`;
    const text = `{"project_id":1,"trace_id":"${TRACE}","span_id":"${SPAN}",${inherited}}`;
    expect(parse(text)).toMatchObject({ parentSpanId: null, isSegmentSpan: true });
    expect(refusal(`{"__proto__":${JSON.stringify(MINIMAL)}}`).problems).toHaveLength(3);
  });

  it('may be as deep and as long as the limits', () => {
    const deep = `${'['.repeat(MAX_SPAN_DEPTH - 1)}${']'.repeat(MAX_SPAN_DEPTH - 1)}`;
    const text = JSON.stringify({ ...MINIMAL, x: 0 }).replace('"x":0', `"x":${deep}`);
    expect(parse(text).spanId).toBe(SPAN);
    expect(parseIngestSpan(bytes(text), AT, { maxSpanBytes: text.length }).spanId).toBe(SPAN);
    expect(() => refusal(text, { maxSpanBytes: text.length - 1 })).not.toThrow();
  });
});

describe('a message that is no span', () => {
  it.each([
    ['no bytes', ''],
    ['no JSON', 'span'],
    ['half an object', JSON.stringify(MINIMAL).slice(0, -1)],
    ['two objects', `${JSON.stringify(MINIMAL)}${JSON.stringify(MINIMAL)}`],
    ['a comma too many', JSON.stringify(MINIMAL).replace('}', ',}')],
    ['a byte order mark', `\ufeff${JSON.stringify(MINIMAL)}`],
    ['a raw line end in a string', JSON.stringify({ ...MINIMAL, name: 'x' }).replace('"x"', '"\n"')],
  ])('is refused: %s', (_what, payload) => {
    expect(refusal(payload).problems).toEqual([{ path: '', problem: expect.stringMatching(/^is not JSON: /) }]);
  });

  it.each([
    ['a stray byte', [0xff]],
    ['a cut-off character', [0xe2, 0x82]],
    ['an overlong form', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a code point beyond Unicode', [0xf4, 0x90, 0x80, 0x80]],
  ])('is refused when it is not UTF-8: %s', (_what, invalid) => {
    const [before, after] = JSON.stringify({ ...MINIMAL, name: '|' }).split('|') as [string, string];
    const payload = Buffer.concat([bytes(before), Buffer.from(invalid), bytes(after)]);
    expect(refusal(payload).problems).toEqual([{ path: '', problem: 'is not UTF-8' }]);
  });

  it.each(['null', '1', '"x"', 'true', '[]', `[${JSON.stringify(MINIMAL)}]`])('is refused: %s', (payload) => {
    expect(refusal(payload).problems).toEqual([
      { path: '', problem: expect.stringMatching(/^must be a JSON object, is /) },
    ]);
  });

  it('is refused above the limit of bytes before anything else is looked at', () => {
    const { problems } = refusal(Buffer.alloc(DEFAULT_MAX_SPAN_BYTES + 1, '{'));
    expect(problems).toEqual([{ path: '', problem: `is 10485761 bytes long, more than ${DEFAULT_MAX_SPAN_BYTES}` }]);
  });

  it.each([
    ['closed', (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`],
    ['not closed', (levels: number) => `${'['.repeat(levels)}${' '.repeat(levels)}`],
    ['of objects', (levels: number) => `${'{"":'.repeat(levels)}1${'}'.repeat(levels)}`],
  ])('is refused for its depth, %s', (_what, nested) => {
    for (const levels of [MAX_SPAN_DEPTH, 100_000, 2_000_000]) {
      const text = JSON.stringify({ ...MINIMAL, x: 0 }).replace('"x":0', () => `"x":${nested(levels)}`);
      expect(refusal(text).problems).toEqual([{ path: '', problem: 'has more than 512 levels of objects and arrays' }]);
    }
  });

  it.each([
    -1,
    1.5,
    2 ** 53,
    1e21,
    '',
    '-1',
    '1.0',
    '1 ',
    ' 1',
    '1\n',
    '１',
    '123456789012345678901',
    'abc',
    '1:2',
    '1}',
    true,
    null,
    {},
    [1],
  ])('is refused for the project id %j', (project_id) => expect(wrongPaths({ project_id })).toEqual(['project_id']));

  it.each([
    '',
    TRACE.slice(1),
    `${TRACE}0`,
    `${TRACE}\n`,
    TRACE.replace('0', 'g'),
    '0'.repeat(32),
    UUID.replace('-', ''),
    `${UUID}-`,
    `{${UUID}}`,
    '00000000-0000-0000-0000-000000000000',
    `${TRACE.slice(0, 30)}:}`,
    'ａ'.repeat(32),
    1,
    null,
    {},
    [TRACE],
  ])('is refused for the trace id %j', (trace_id) => expect(wrongPaths({ trace_id })).toEqual(['trace_id']));

  const notSpanIds = [
    '',
    SPAN.slice(1),
    `${SPAN}0`,
    `${SPAN}\n`,
    SPAN.replace('b', 'g'),
    '0'.repeat(16),
    `${SPAN.slice(2)}}:`,
    'ａ'.repeat(16),
    Number(`0x${SPAN}`),
    1,
    true,
    {},
    [SPAN],
  ];

  it.each([...notSpanIds, null])('is refused for the span id %j', (span_id) => {
    expect(wrongPaths({ span_id })).toEqual(['span_id']);
  });

  it.each(notSpanIds)('is refused for the parent span id %j', (parent_span_id) => {
    expect(wrongPaths({ parent_span_id })).toEqual(['parent_span_id']);
  });

  it.each([...notSpanIds, null])('is refused for the segment id %j', (value) => {
    expect(wrongPaths({ attributes: { 'sentry.segment.id': { type: 'string', value } } })).toEqual([
      'attributes["sentry.segment.id"].value',
    ]);
  });

  it.each([SPAN, '', 0, false, [], [SPAN]])('is refused for the segment id entry %j', (entry) => {
    expect(wrongPaths({ attributes: { 'sentry.segment.id': entry } })).toEqual(['attributes["sentry.segment.id"]']);
  });

  it('is refused for a segment id entry without a value', () => {
    expect(wrongPaths({ attributes: { 'sentry.segment.id': { type: 'string' } } })).toEqual([
      'attributes["sentry.segment.id"].value',
    ]);
  });

  it.each([
    ['is_segment', ['true', 0, 1, {}, []]],
    ['attributes', ['', 'x', 0, true, [], [{}]]],
    ['name', [0, true, {}, ['x']]],
    ['organization_id', [1.5, '1', null, true, {}]],
    ['retention_days', [0.1, '90', null, [], {}]],
    ['start_timestamp', ['1', null, true, {}]],
    ['end_timestamp', ['1', null, true, {}]],
    ['received', ['2024-01-01T00:00:00Z', null, false, []]],
  ])('is refused for a wrong %s', (field, values) => {
    for (const value of values) expect(wrongPaths({ [field]: value })).toEqual([field]);
  });

  it('is refused for a number too large to be one', () => {
    for (const field of ['received', 'organization_id']) {
      const text = JSON.stringify({ ...MINIMAL, [field]: 0 }).replace(`"${field}":0`, `"${field}":1e400`);
      expect(refusal(text).problems).toEqual([{ path: field, problem: expect.stringContaining('is Infinity') }]);
    }
  });

  it('is refused with all its problems, and a message that stays one line', () => {
    const { problems, message } = refusal({
      organization_id: 'x',
      trace_id: 1,
      span_id: 'xyz',
      parent_span_id: '',
      is_segment: 'yes',
      attributes: { 'sentry.segment.id': { value: 1 } },
      received: null,
    });
    expect(problems).toEqual([
      { path: 'project_id', problem: 'must be an integer from 0 or a string of 1 to 20 digits, is missing' },
      { path: 'trace_id', problem: 'must be 32 hex digits or a UUID, not all zero, is 1' },
      { path: 'span_id', problem: 'must be 16 hex digits, not all zero, is "xyz"' },
      { path: 'parent_span_id', problem: 'must be 16 hex digits, not all zero, is ""' },
      { path: 'is_segment', problem: 'must be a boolean or null, is "yes"' },
      { path: 'attributes["sentry.segment.id"].value', problem: 'must be 16 hex digits, not all zero, is 1' },
      { path: 'organization_id', problem: 'must be an integer, is "x"' },
      { path: 'received', problem: 'must be a finite number, is null' },
    ]);
    expect(message).toMatch(/^not a span: project_id must be .*; and 4 more$/);
  });

  it('is refused with a typed error', () => {
    const error = refusal('{}');
    expect(error).toBeInstanceOf(SpanbufError);
    expect(error).toMatchObject({ name: 'InvalidSpanError', code: 'SPANBUF_INVALID_SPAN', retriable: false });
    expect(refusal('{').cause).toBeInstanceOf(SyntaxError);
  });

  it('says little about input of any length, in printable characters alone', () => {
    const hostile = [
      'x'.repeat(1_000_000),
      '\r\nforged: line\u001b[31m\u2028\u202e\u0085',
      '"\\'.repeat(1_000),
      '\ud800'.repeat(99),
    ];
    for (const text of hostile) {
      const fields = {
        project_id: text,
        trace_id: text,
        span_id: text,
        parent_span_id: text,
        name: [text],
        is_segment: text,
      };
      const attributes = { 'sentry.segment.id': { value: text }, [text]: text };
      for (const error of [refusal({ ...fields, attributes, [text]: text }), refusal(text), refusal(`{"${text}`)]) {
        expect(error.message).toMatch(/^[ -~…]{1,2000}$/);
        for (const { problem } of error.problems) expect(problem).toMatch(/^[ -~…]{1,500}$/);
        expect(error.message).not.toContain('x'.repeat(81));
      }
    }
  });
});

describe('what is read from a message', () => {
  const HOSTILE: unknown[] = [
    null,
    true,
    false,
    '',
    0,
    -0,
    1,
    -1,
    1.5,
    2 ** 53,
    2 ** 53 - 1,
    1e21,
    Number.POSITIVE_INFINITY,
    [],
    {},
    [SPAN],
    '42',
    '007',
    '1'.repeat(21),
    SPAN,
    SPAN.toUpperCase(),
    `${SPAN}\n`,
    '0'.repeat(16),
    TRACE,
    TRACE.toUpperCase(),
    UUID,
    '0'.repeat(32),
    '00000000-0000-0000-0000-000000000000',
    { value: SPAN },
    { value: SPAN.toUpperCase(), type: 1 },
    { value: null },
    { 'sentry.segment.id': null },
    { 'sentry.segment.id': { value: SPAN } },
    { 'sentry.segment.id': { value: 'x' } },
    { 'sentry.segment.id': SPAN },
    { 'sentry.segment.id': [] },
    { 'sentry.segment.id': {} },
  ];
  const FIELDS = [
    'project_id',
    'trace_id',
    'span_id',
    'parent_span_id',
    'is_segment',
    'attributes',
    'organization_id',
    'retention_days',
    'start_timestamp',
    'end_timestamp',
    'received',
    'name',
    'status',
    'links',
    '__proto__',
    'constructor',
    'hasOwnProperty',
  ];
  const accepted = fc.record(
    {
      project_id: fc.oneof(fc.maxSafeNat(), fc.stringMatching(/^[0-9]{1,20}$/)),
      trace_id: fc.oneof(fc.stringMatching(/^[0-9a-fA-F]{32}$/), fc.uuid()),
      span_id: fc.stringMatching(/^[0-9a-fA-F]{16}$/),
      parent_span_id: fc.oneof(fc.constant(null), fc.stringMatching(/^[0-9a-f]{16}$/)),
      is_segment: fc.constantFrom(true, false, null),
      attributes: fc.oneof(
        fc.constant(null),
        fc.record({
          'sentry.segment.id': fc.oneof(
            fc.constant(null),
            fc.record({ value: fc.stringMatching(/^[0-9A-Fa-f]{16}$/) }),
          ),
          other: fc.jsonValue(),
        }),
        fc.dictionary(fc.string(), fc.jsonValue()),
      ),
      organization_id: fc.oneof(fc.integer(), fc.constant(2 ** 60)),
      retention_days: fc.nat(),
      received: fc.double({ noNaN: true, noDefaultInfinity: true }),
      name: fc.oneof(fc.constant(null), fc.string()),
      extra: fc.jsonValue(),
    },
    { requiredKeys: ['project_id', 'trace_id', 'span_id'] },
  );
  const change = fc.tuple(
    fc.constantFrom(...FIELDS),
    fc.oneof(fc.constantFrom(...HOSTILE), fc.jsonValue(), fc.constant(undefined)),
  );
  const messages = fc.oneof(
    { weight: 9, arbitrary: fc.tuple(accepted, fc.array(change, { maxLength: 2 })).map(changed) },
    { weight: 1, arbitrary: fc.oneof(fc.jsonValue(), fc.constantFrom(...HOSTILE)) },
  );

  /** As JSON.parse would build it: a key named `__proto__` is a key, and undefined is absence. */
  function changed([fields, changes]: [object, [string, unknown][]]): unknown {
    const message: Record<string, unknown> = { ...fields };
    for (const [field, value] of changes) {
      if (value === undefined) delete message[field];
      else Object.defineProperty(message, field, { value, enumerable: true, configurable: true, writable: true });
    }
    return message;
  }

  /** The span that the schema's output stands for. */
  function bySchema(message: unknown, payload: Uint8Array): Span | undefined {
    const { success, data } = ingestSpanSchema.safeParse(message);
    if (!success) return undefined;
    const own = (name: 'parent_span_id' | 'is_segment' | 'attributes' | 'organization_id') =>
      Object.hasOwn(data, name) ? data[name] : null;
    const organizationId = own('organization_id');
    const parentSpanId = (own('parent_span_id') ?? null) as string | null;
    return {
      projectId: data.project_id,
      traceId: data.trace_id,
      spanId: data.span_id,
      parentSpanId,
      segmentId: data.attributes?.['sentry.segment.id']?.value ?? null,
      isSegmentSpan: own('is_segment') === true || parentSpanId === null,
      ...(Number.isSafeInteger(organizationId) && { organizationId: String(organizationId) }),
      payload,
      ...AT,
    };
  }

  it('is what the schema gives for the parsed JSON', () => {
    let spans = 0;
    fc.assert(
      fc.property(messages, (message) => {
        const payload = bytes(JSON.stringify(message));
        const expected = bySchema(JSON.parse(payload.toString()), payload);
        if (expected === undefined) expect(refusal(payload).problems.length).toBeGreaterThan(0);
        else expect(parseIngestSpan(payload, AT)).toEqual(expected);
        if (expected !== undefined) spans++;
      }),
      { numRuns: 5_000 },
    );
    // Neither all nor nothing was acceptable, or the comparison would show little.
    expect(spans).toBeGreaterThan(500);
    expect(spans).toBeLessThan(4_500);
  });

  it('never lets anything but a span or a typed refusal out, whatever bytes come in', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 60 }),
          fc.tuple(accepted, fc.nat(), fc.nat(255)).map(([message, at, byte]) => {
            const payload = bytes(message);
            payload[at % payload.length] = byte;
            return payload;
          }),
        ),
        (payload) => {
          try {
            expect(parseIngestSpan(payload, AT).payload).toBe(payload);
          } catch (error) {
            expect(error).toBeInstanceOf(InvalidSpanError);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('the effective parent', () => {
  const span = { spanId: SPAN, parentSpanId: PARENT, segmentId: TRACE.slice(16), isSegmentSpan: false };

  it.each([
    ['of a segment span is itself, whatever else it names', { ...span, isSegmentSpan: true }, SPAN],
    ['is the segment that the sender knew', span, TRACE.slice(16)],
    ['is the parent when no segment is known', { ...span, segmentId: null }, PARENT],
    ['is itself when it names neither', { ...span, segmentId: null, parentSpanId: null }, SPAN],
  ])('%s', (_what, of, expected) => {
    expect(effectiveParent(of)).toBe(expected);
  });
});
