import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { ingestSpanSchema } from '../src/ingest-span.ts';
import { type ScannedSpan, scanSpan } from '../src/scan-span.ts';
import { MAX_SPAN_DEPTH, spliceSpan } from '../src/span-json.ts';
import { written } from './spans.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const UUID = '0af76519-16cd-43dd-8448-eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const PARENT = '00f067aa0ba902b7';
const SEGMENT = 'c0ffee0123456789';
const MINIMAL = { project_id: 42, trace_id: TRACE, span_id: SPAN };

const scan = (value: unknown) => scanSpan(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
const scanWith = (fields: Record<string, unknown>) => scan({ ...MINIMAL, ...fields });
/** A minimal span with `text` as a further field `x`. */
const withText = (text: string) => `${JSON.stringify(MINIMAL).slice(0, -1)},"x":${text}}`;

const samples = readFileSync(new URL('../../../samples/spans.ndjson', import.meta.url), 'utf8')
  .trim()
  .split('\n');

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What JSON.parse and the schema make of it; undefined when one of them refuses. */
function bySchema(payload: Uint8Array): Omit<ScannedSpan, 'places'> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(payload));
  } catch {
    return undefined;
  }
  const { data } = ingestSpanSchema.safeParse(value);
  if (data === undefined) return undefined;
  return {
    projectId: data.project_id,
    traceId: data.trace_id,
    spanId: data.span_id,
    parentSpanId: data.parent_span_id ?? null,
    segmentId: data.attributes?.['sentry.segment.id']?.value ?? null,
    isSegment: data.is_segment === true,
    organizationId: data.organization_id === undefined ? undefined : String(data.organization_id),
  };
}

/** Whether the scan has accepted, and if so, that it was right. */
function isRight(payload: Uint8Array): boolean {
  const scanned = scanSpan(payload);
  if (scanned === undefined) return false;
  const { places, ...found } = scanned;
  expect(found).toEqual(bySchema(payload));
  // What is written by the places is what is written without them.
  for (const isSegment of [true, false]) {
    const to = { isSegment, segmentId: SEGMENT };
    const [quick, slow] = [spliceSpan(payload, to, places), spliceSpan(payload, to)];
    expect(written(payload, quick).equals(written(payload, slow))).toBe(true);
  }
  return true;
}

describe('scanning an ordinary span', () => {
  it('finds what the schema finds, in every span of the sample', () => {
    for (const line of samples) expect(isRight(Buffer.from(line))).toBe(true);
    for (const line of samples.slice(0, 100)) {
      expect(isRight(Buffer.from(` ${JSON.stringify(JSON.parse(line), null, 2)}\r\n\t`))).toBe(true);
      expect(isRight(new TextEncoder().encode(`xx${line}xx`).subarray(2, -2))).toBe(true);
    }
  });

  it.each([
    [{}, {}],
    [{ project_id: '0042' }, { projectId: '0042' }],
    [{ project_id: 4_505_281_256_947_712 }, { projectId: '4505281256947712' }],
    [{ trace_id: UUID.toUpperCase() }, { traceId: TRACE }],
    [{ span_id: SPAN.toUpperCase() }, { spanId: SPAN }],
    [{ parent_span_id: PARENT }, { parentSpanId: PARENT }],
    [{ parent_span_id: null, is_segment: null, attributes: null, name: null }, {}],
    [{ is_segment: true, name: 'é\n"' }, { isSegment: true }],
    [{ is_segment: false }, { isSegment: false }],
    [{ attributes: { 'sentry.segment.id': null, value: 1 } }, {}],
    [{ attributes: { 'sentry.segment.id': { type: 'string', value: PARENT } } }, { segmentId: PARENT }],
    [{ attributes: { a: { 'sentry.segment.id': { value: 1 } } }, b: { project_id: [] } }, {}],
    [{ organization_id: 7 }, { organizationId: '7' }],
    [{ retention_days: 90, start_timestamp: -1.5, end_timestamp: 0, received: 1_795_382_071.123456 }, {}],
  ])('finds its fields: %j', (fields, found) => {
    expect(scanWith(fields)).toMatchObject({
      projectId: '42',
      traceId: TRACE,
      spanId: SPAN,
      parentSpanId: null,
      segmentId: null,
      isSegment: false,
      organizationId: undefined,
      ...found,
    });
  });

  it.each([
    '[]',
    '[[],{}]',
    '{"":{"a":[1,-0,0.5,1e5,1E-400,-12.5e+3,true,false,null,"\\u00e9\\\\\\"\\/\\b"]}}',
    '"😀"',
    '1e999',
  ])('takes any other field: %s', (text) => expect(scan(withText(text))).toBeDefined());

  it.each([
    ['{"is_segment":true,"attributes":{"a":1}}', [14, 38]],
    ['{"attributes":{"a":1},"is_segment":null}', [35, 20]],
    ['{"attributes":{}}', [0, 15]],
    ['{"attributes":{"sentry.segment.id":{"value":"00f067aa0ba902b7"}}}', [0, 0]],
    ['{"attributes":{"sentry.segment.id":null}}', undefined],
    ['{"attributes":null}', undefined],
    ['{}', undefined],
  ])('knows where it is to be changed: %s', (text, places) => {
    const rest = JSON.stringify(MINIMAL).slice(1);
    const whole = text === '{}' ? `{${rest}` : `${text.slice(0, -1)},${rest}`;
    expect(scan(whole)?.places).toEqual(places);
  });

  it('takes as many levels as a span may have, and no more', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
    expect(scan(withText(nested(MAX_SPAN_DEPTH - 1)))).toBeDefined();
    expect(scan(withText(nested(MAX_SPAN_DEPTH)))).toBeUndefined();
    expect(scan(withText('[{"":'.repeat(1_000_000)))).toBeUndefined();
  });
});

describe('a span without what it needs', () => {
  it.each(['project_id', 'trace_id', 'span_id'])('is left alone, be it the first of all or not: %s', async (field) => {
    vi.resetModules();
    const fresh = await import('../src/scan-span.ts');
    const payload = Buffer.from(JSON.stringify({ ...MINIMAL, [field]: undefined }));
    expect(fresh.scanSpan(payload)).toBeUndefined();
    expect(fresh.scanSpan(Buffer.from(JSON.stringify(MINIMAL)))).toBeDefined();
    expect(fresh.scanSpan(payload)).toBeUndefined();
  });
});

describe('a span that is not for the scan to judge', () => {
  it.each([
    ['an escape in a key', withText('0').replace('"x"', '"\\u0078"')],
    ['an escape in an id', withText('0').replace(SPAN, `\\u0062${SPAN.slice(1)}`)],
    ['a field twice', withText('0').replace('"x":0', '"project_id":42')],
    [
      'an attribute that matters twice',
      withText('0').replace('"x":0', `"attributes":{"sentry.segment.id":null,"sentry.segment.id":null}`),
    ],
    ['a project id with an exponent', withText('0').replace('42', '42e0')],
    ['a project id that is not exact', withText('0').replace('42', '9007199254740993')],
    ['a time with an exponent', withText('0').replace('"x":0', '"received":1e9')],
    ['a time of many digits', withText('0').replace('"x":0', `"received":${'1'.repeat(400)}`)],
  ])('is left alone: %s', (_what, text) => expect(scan(text)).toBeUndefined());

  it.each([
    '',
    '{',
    '}',
    '"',
    '01',
    '-',
    '1.',
    '.5',
    '+1',
    '1e',
    '1e+',
    '0x1',
    'tru',
    'truee',
    'nul',
    'NaN',
    'undefined',
    '[1,]',
    '[,]',
    '[1 2]',
    '[}',
    '{]',
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{"a" 1}',
    '{a:1}',
    '{1:1}',
    '"\n"',
    '"\0"',
    '"\\x"',
    '"\\u12"',
    '"\\u12G4"',
    '"\\',
    '"a',
    "'a'",
    '1}{',
    '1}}',
    '1},',
    '1}1',
    '\u00a01',
    '\ufeff1',
  ])('is no JSON: %j', (text) => expect(scan(withText(text))).toBeUndefined());

  it('is cut off, wherever it is', () => {
    const whole = Buffer.from(samples[0] as string);
    for (let end = 0; end < whole.length; end++) expect(scanSpan(whole.subarray(0, end))).toBeUndefined();
  });
});

describe('whatever comes in', () => {
  const anySample = fc.constantFrom(...samples.filter((_, i) => i % 20 === 0));

  it('is accepted only as what the schema makes of it, when bytes of a span change', () => {
    const byte = fc.oneof(fc.constantFrom(...Buffer.from('{}[]":,\\ \n09-+.eEntfu/\0')), fc.nat(255));
    const change = fc.tuple(fc.nat(), fc.nat(2), fc.array(byte, { maxLength: 3 }));
    let accepted = 0;
    fc.assert(
      fc.property(anySample, fc.array(change, { minLength: 1, maxLength: 3 }), (sample, changes) => {
        const changed = [...Buffer.from(sample)];
        for (const [at, count, by] of changes) changed.splice(at % (changed.length + 1), count, ...by);
        if (isRight(Buffer.from(changed))) accepted++;
      }),
      { numRuns: 10_000 },
    );
    expect(accepted).toBeGreaterThan(100);
  });

  it('is accepted only as what the schema makes of it, when members are put into a span', () => {
    const names = [...Object.keys(MINIMAL), 'parent_span_id', 'is_segment', 'attributes', 'sentry.segment.id', 'value'];
    const moreNames = ['organization_id', 'retention_days', 'received', 'name', '__proto__', 'constructor', ''];
    const values = ['null', 'true', '{}', '[]', '0', '-0', '1', '-1', '1.0', '1e2', '1e999', '""', '"7"', '2.5'];
    const texts = [...values, `"${SPAN}"`, `"${'0'.repeat(16)}"`, `"${TRACE}"`, `"${UUID}"`, `{"value":"${SPAN}"}`];
    const name = fc.oneof(fc.constantFrom(...names, ...moreNames), fc.string());
    const value = fc.oneof(
      fc.constantFrom(...texts, `{"sentry.segment.id":{"value":"${PARENT}"}}`, '{"sentry.segment.id":1}'),
      fc.json({ maxDepth: 4, stringUnit: 'binary' }),
    );
    const member = fc.tuple(name, value).map(([key, text]) => `${JSON.stringify(key)}:${text}`);
    const required = [`"project_id":1`, `"trace_id":"${TRACE}"`, `"span_id":"${SPAN}"`];
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.subarray(required, { minLength: 2 }),
        fc.array(member, { maxLength: 5 }),
        fc.constantFrom('', ' ', '\n\t'),
        (some, members, gap) => {
          const text = `${gap}{${gap}${[...some, ...members].join(`${gap},${gap}`)}${gap}}${gap}`;
          if (isRight(Buffer.from(text))) accepted++;
        },
      ),
      { numRuns: 5_000 },
    );
    expect(accepted).toBeGreaterThan(500);
  });

  it('is refused when it is not UTF-8', () => {
    for (const invalid of [[0xff], [0xe2, 0x82], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
      const [before, after] = withText('"|"').split('|') as [string, string];
      const payload = Buffer.concat([Buffer.from(before), Buffer.from(invalid), Buffer.from(after)]);
      expect(scanSpan(payload)).toBeUndefined();
    }
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 6 }), (inner) => {
        const payload = Buffer.concat([
          Buffer.from('{"x":"'),
          inner,
          Buffer.from(`",${JSON.stringify(MINIMAL).slice(1)}`),
        ]);
        isRight(payload);
      }),
      { numRuns: 5_000 },
    );
  });
});
