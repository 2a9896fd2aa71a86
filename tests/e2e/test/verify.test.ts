/** The judge of all end-to-end tests: what is right passes, and every fault that is planted is named. */
import {
  type AuditMessage,
  type AuditReport,
  formatAudit,
  type ProblemKind,
  SegmentAudit,
} from '@spanbuf/stack/verify';
import { describe, expect, it } from 'vitest';

const TRACE = 'a0d7fb9549c749b86f7e870c89c53b5e';
const UUID = 'a0d7fb95-49c7-49b8-6f7e-870c89c53b5e';

/** A span id that ends with these digits. */
const hex = (digits: string): string => digits.padStart(16, '0');

interface Given {
  readonly id: string;
  readonly parent?: string;
  readonly more?: object;
}

function spanText({ id, parent, more }: Given): string {
  const span = { project_id: 1, trace_id: TRACE, span_id: hex(id), parent_span_id: parent && hex(parent), ...more };
  return JSON.stringify(span);
}

let offset = 0n;
function message(value: string | Buffer | null, more: Partial<AuditMessage> = {}): AuditMessage {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return {
    partition: 0,
    offset: offset++,
    key: Buffer.from(TRACE),
    value: bytes,
    headers: {},
    timestampMs: 0,
    ...more,
  };
}

interface Produced {
  readonly segment: string;
  readonly spans: readonly string[];
  readonly flushId?: string;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly tail?: string;
}

/** A message of the output, as the flusher makes it. */
function segmentMessage(produced: Produced): AuditMessage {
  const { segment, spans, flushId = hex(segment).repeat(2), headers, tail = '' } = produced;
  return message(`{"flush_id":"${flushId}","spans":[${spans.join(',')}]${tail}}`, {
    headers: {
      'spanbuf-flush-id': flushId,
      'spanbuf-project-id': '1',
      'spanbuf-trace-id': TRACE,
      'spanbuf-segment-id': hex(segment),
      'spanbuf-generation': '1',
      'spanbuf-part': '1',
      'spanbuf-parts': '1',
      'spanbuf-span-count': String(spans.length),
      'spanbuf-reason': 'root-idle',
      ...headers,
    },
  });
}

/** The span as it comes out, when it came in without a segment id and without attributes or flag. */
function out(given: Given, segment: string, more: { isSegment?: boolean; entry?: string } = {}): string {
  const { isSegment = given.id === segment, entry = `{"type":"string","value":"${hex(segment)}"}` } = more;
  const text = spanText(given);
  return `${text.slice(0, -1)},"is_segment":${isSegment},"attributes":{"sentry.segment.id":${entry}}}`;
}

const ROOT: Given = { id: 'a' };
const CHILD: Given = { id: 'b', parent: 'a' };
const INNER: Given = { id: 'c', parent: 'b' };
const ORPHAN: Given = { id: 'd', parent: 'e' };

const INPUT = [INNER, CHILD, ROOT, ORPHAN];
const FIRST: Produced = { segment: 'a', spans: [out(ROOT, 'a'), out(CHILD, 'a'), out(INNER, 'a')] };
const SECOND: Produced = { segment: 'e', spans: [out(ORPHAN, 'e')], headers: { 'spanbuf-reason': 'idle' } };
const RIGHT = [FIRST, SECOND];

function audit(
  input: readonly AuditMessage[],
  output: readonly AuditMessage[],
  deadLetters?: readonly AuditMessage[],
): AuditReport {
  const judge = new SegmentAudit();
  for (const each of input) judge.addInput(each);
  for (const each of output) judge.addOutput(each);
  for (const each of deadLetters ?? []) judge.addDeadLetter(each);
  return judge.report({ deadLetters: deadLetters !== undefined });
}

const inputOf = (given: readonly Given[]) => given.map((each) => message(spanText(each)));

function problemsOf(output: readonly AuditMessage[], input = inputOf(INPUT)): Partial<Record<ProblemKind, number>> {
  const { problems } = audit(input, output);
  return Object.fromEntries(problems.kinds.map((kind) => [kind, problems.countOf(kind)]));
}

/** The right output with something else in the place of its first message. */
const insteadOfFirst = (...produced: Produced[]) => [...produced, SECOND].map(segmentMessage);
/** The same, with the last span of the first message in another form. */
const withInner = (...inner: string[]) => insteadOfFirst({ ...FIRST, spans: [...FIRST.spans.slice(0, 2), ...inner] });

describe('an output that is right', () => {
  it('has no problem, and is counted', () => {
    const report = audit(inputOf(INPUT), RIGHT.map(segmentMessage));
    expect(report.problems.kinds).toEqual([]);
    expect(report).toMatchObject({
      input: { messages: 4, spans: 4, invalid: 0 },
      output: { messages: 2, copies: 0, spans: 4, segments: 2, generations: 2, splitSegments: 0, cutGenerations: 0 },
    });
    expect(report.output.reasons).toEqual({ 'root-idle': 1, idle: 1 });
    expect(formatAudit(report)).toContain('verified: every span once, in its segment');
  });

  it('may have messages twice, with the flush id they had before', () => {
    const report = audit(inputOf(INPUT), [...RIGHT, ...RIGHT].map(segmentMessage));
    expect(report.problems.kinds).toEqual([]);
    expect(report.output).toMatchObject({ messages: 4, copies: 2, copiedSpans: 4, spans: 4, generations: 2 });
  });

  it('may have a segment in several generations, each in several parts', () => {
    const tail = ',"skip_enrichment":true';
    const part = (n: string) => ({ 'spanbuf-part': n, 'spanbuf-parts': '2', 'spanbuf-reason': 'max-bytes' });
    const report = audit(
      inputOf(INPUT),
      insteadOfFirst(
        { segment: 'a', spans: [out(ROOT, 'a')], headers: part('1'), tail },
        { segment: 'a', spans: [out(CHILD, 'a')], headers: part('2'), tail, flushId: 'b'.repeat(32) },
        { segment: 'a', spans: [out(INNER, 'a')], headers: { 'spanbuf-generation': '2' }, flushId: 'c'.repeat(32) },
      ),
    );
    expect(report.problems.kinds).toEqual([]);
    expect(report.output).toMatchObject({ segments: 2, generations: 3, splitSegments: 1, cutGenerations: 1 });
    expect(report.output.reasons).toEqual({ 'max-bytes': 1, 'root-idle': 1, idle: 1 });
  });

  it('says of how many traces the input has spans in several partitions', () => {
    const [root, ...others] = inputOf(INPUT) as [AuditMessage, ...AuditMessage[]];
    expect(audit([...others, { ...root, partition: 1 }], RIGHT.map(segmentMessage)).spreadTraces).toBe(1);
    expect(audit([root, ...others], RIGHT.map(segmentMessage)).spreadTraces).toBe(0);
  });

  it('has what was sent twice, at two offsets, twice', () => {
    const input = inputOf([ROOT, CHILD, CHILD]);
    const twice: Produced = { segment: 'a', spans: [out(ROOT, 'a'), out(CHILD, 'a'), out(CHILD, 'a')] };
    expect(problemsOf([segmentMessage(twice)], input)).toEqual({});
    const once: Produced = { segment: 'a', spans: [out(ROOT, 'a'), out(CHILD, 'a')] };
    expect(problemsOf([segmentMessage(once)], input)).toEqual({ lost: 1 });
  });

  it('has two spans with one id, both below the parent of the first', () => {
    const other: Given = { id: 'b', parent: 'f', more: { name: 'other' } };
    const spans = [out(ROOT, 'a'), out(CHILD, 'a'), out(other, 'a')];
    expect(problemsOf([segmentMessage({ segment: 'a', spans })], inputOf([ROOT, CHILD, other]))).toEqual({});
  });

  it('keeps segments apart where a segment span has a parent, and follows segment ids known upstream', () => {
    const service: Given = { id: '1', parent: 'b', more: { is_segment: true } };
    const entry = `{"type":"string","value":"${hex('1').toUpperCase()}","x":1}`;
    const ids = `"project_id":"1","trace_id":"${UUID}","span_id":"${hex('2')}","parent_span_id":"${hex('9')}"`;
    const known = `{${ids},"attributes":{"n":1.50,"sentry.segment.id":${entry}}}`;
    const own = `,"attributes":{"sentry.segment.id":{"value":"${hex('1')}","type":"string"}}}`;
    const below = [spanText(service).replace(/}$/, own), known.replace(/}$/, ',"is_segment":false}')];
    const output = [
      { segment: 'a', spans: [out(ROOT, 'a')] },
      { segment: '1', spans: below },
    ].map(segmentMessage);
    const input = [...inputOf([ROOT, service]), message(known)];
    expect(problemsOf(output, input)).toEqual({});
    const replaced = output.map((each) => ({ ...each, value: Buffer.from(String(each.value).replace(',"x":1', '')) }));
    expect(problemsOf(replaced, input)).toEqual({ 'wrong segment attribute': 1 });
  });

  it('gives a circle of parents the smallest of its ids', () => {
    const circle: Given[] = [
      { id: '3', parent: '5' },
      { id: '4', parent: '5' },
      { id: '5', parent: '4' },
    ];
    const spans = circle.map((each) => out(each, '4'));
    expect(problemsOf([segmentMessage({ segment: '4', spans })], inputOf(circle))).toEqual({});
  });

  it('may be a chain of any depth', () => {
    const chain = Array.from(
      { length: 20_000 },
      (_, i): Given => ({ id: (i + 2).toString(16), parent: (i + 1).toString(16) }),
    );
    const spans = chain.map((each) => out(each, '1'));
    expect(problemsOf([segmentMessage({ segment: '1', spans })], inputOf(chain))).toEqual({});
  });
});

describe('an output that is wrong', () => {
  const skip = ',"skip_enrichment":true';
  it.each<[ProblemKind, number, readonly AuditMessage[]]>([
    ['lost', 3, insteadOfFirst()],
    ['lost', 1, withInner()],
    [
      'twice under different flush ids',
      1,
      insteadOfFirst(FIRST, {
        segment: 'a',
        spans: FIRST.spans.slice(2),
        flushId: 'f'.repeat(32),
        headers: { 'spanbuf-generation': '2' },
      }),
    ],
    ['twice under different flush ids', 1, withInner(out(INNER, 'a'), out(CHILD, 'a'))],
    ['not from the input', 1, withInner(out(INNER, 'a'), out({ id: '7', parent: 'a' }, 'a'))],
    ['wrong is_segment', 1, withInner(out(INNER, 'a', { isSegment: true }))],
    ['wrong segment attribute', 1, withInner(out(INNER, 'a', { entry: `{"type":"string","value":"${hex('b')}"}` }))],
    ['wrong segment attribute', 1, withInner(out(INNER, 'a', { entry: `"${hex('a')}"` }))],
    ['wrong segment attribute', 1, withInner(out(INNER, 'a', { entry: 'null' }))],
    ['flush id of other spans', 1, insteadOfFirst(FIRST, { ...FIRST, spans: FIRST.spans.slice(1) })],
    ['part missing', 1, insteadOfFirst({ ...FIRST, headers: { 'spanbuf-parts': '2' }, tail: skip })],
    ['wrong headers', 1, insteadOfFirst({ ...FIRST, headers: { 'spanbuf-span-count': '2' } })],
    ['wrong headers', 1, insteadOfFirst({ ...FIRST, headers: { 'spanbuf-flush-id': '0'.repeat(32) } })],
    ['wrong headers', 1, insteadOfFirst({ ...FIRST, headers: { 'spanbuf-generation': undefined } })],
    ['wrong headers', 1, insteadOfFirst({ ...FIRST, headers: { 'spanbuf-generation': '0' } })],
    ['wrong headers', 1, insteadOfFirst({ ...FIRST, headers: { 'spanbuf-part': '2' } })],
    ['wrong headers', 1, insteadOfFirst({ ...FIRST, tail: skip })],
    ['wrong headers', 1, [{ ...segmentMessage(FIRST), key: Buffer.from('other') }, segmentMessage(SECOND)]],
  ])('is found: %s, %d', (kind, count, output) => {
    expect(problemsOf(output)).toEqual({ [kind]: count });
  });

  it('is found with the position and the time of each span that is lost', () => {
    const input = [
      message(spanText(ROOT)),
      message(spanText(CHILD), { partition: 3, offset: 17n, timestampMs: 1_700 }),
    ];
    const { lost } = audit(input, [segmentMessage({ segment: 'a', spans: [out(ROOT, 'a')] })]);
    const span = { projectId: '1', traceId: TRACE, spanId: hex('b') };
    expect(lost).toEqual([{ ...span, partition: 3, offset: 17n, timestampMs: 1_700 }]);
  });

  it('says how many generations say themselves that they are not whole', () => {
    const partial = { ...SECOND, headers: { ...SECOND.headers, 'spanbuf-lost-spans': '2' } };
    const { output } = audit(inputOf(INPUT), [FIRST, partial].map(segmentMessage));
    expect(output).toMatchObject({ generations: 2, partialGenerations: 1 });
  });

  it('is found: a generation that was flushed twice, with other spans each time', () => {
    const [a, b, c] = FIRST.spans as [string, string, string];
    const output = insteadOfFirst({ ...FIRST, spans: [a, b] }, { ...FIRST, spans: [c], flushId: 'd'.repeat(32) });
    expect(problemsOf(output)).toEqual({ 'generation with several flush ids': 1 });
  });

  it('is found: a segment under the id of a span that is not its root', () => {
    const rest: Produced = { segment: 'b', spans: [out(CHILD, 'b'), out(INNER, 'b')] };
    expect(problemsOf(insteadOfFirst({ segment: 'a', spans: [out(ROOT, 'a')] }, rest))).toEqual({
      'wrong segment': 2,
      'wrong is_segment': 1,
      'wrong segment attribute': 2,
    });
  });

  it('is found: spans of another project under a segment', () => {
    const output = insteadOfFirst({ ...FIRST, headers: { 'spanbuf-project-id': '2' } });
    expect(problemsOf(output)).toEqual({ 'wrong segment': 3 });
  });

  it.each(['', '{"flush_id":', '[]', '{"spans":[]}', '{"flush_id":"0","spans":[{}]}'])(
    'is found: %s is no message',
    (value) => {
      expect(problemsOf([...RIGHT.map(segmentMessage), message(value)])).toEqual({ 'not a segment message': 1 });
    },
  );

  it.each([
    ['another value', '"n":1', '"n":2'],
    ['a number that lost its last digits', '"big":12345678901234567890', '"big":12345678901234567000'],
    ['a number written another way', '"f":1.50', '"f":1.5'],
    ['another order', '"n":1,"f":1.50', '"f":1.50,"n":1'],
    ['an attribute less', '"x":{"type":"integer","value":1},', ''],
    ['a field more', '"n":1', '"n":1,"m":1'],
    ['a changed string', 'ü \\" }', 'u \\" }'],
  ])('is found: %s', (_what, before, after) => {
    const ids = `"project_id":1,"trace_id":"${TRACE}","span_id":"${hex('a')}"`;
    const rest = '"n":1,"f":1.50,"big":12345678901234567890';
    const text = `{${ids},${rest},"attributes":{"x":{"type":"integer","value":1},"y":"ü \\" }"}}`;
    const entry = `"sentry.segment.id":{"type":"string","value":"${hex('a')}"},"y"`;
    const right = segmentMessage({
      segment: 'a',
      spans: [text.replace('"y"', entry).replace(/}$/, ',"is_segment":true}')],
    });
    expect(problemsOf([right], [message(text)])).toEqual({});
    const wrong = { ...right, value: Buffer.from(String(right.value).replace(before, after)) };
    expect(problemsOf([wrong], [message(text)])).toEqual({ changed: 1, lost: 1 });
  });

  it('is told with the first few samples', () => {
    const text = formatAudit(audit(inputOf(INPUT), []));
    expect(text).toContain('PROBLEMS:');
    expect(text).toContain(`lost: 4, for instance\n    1:${TRACE}:${hex('c')}`);
  });
});

describe('broken messages', () => {
  const deep = `${'['.repeat(600)}${']'.repeat(600)}`;
  const wrongFields = {
    project_id: [-1, '1:{', null, 1.5],
    trace_id: ['0'.repeat(32), `${TRACE}0`, null, 7],
    span_id: ['0'.repeat(16), 'xyz', null, 7],
    parent_span_id: ['0'.repeat(16), 'xyz', 7],
    is_segment: ['true', 1],
    attributes: [[], 'none', { 'sentry.segment.id': 'a' }, { 'sentry.segment.id': { value: 'a' } }],
    name: [7],
    received: ['now'],
    organization_id: [1.5],
  };
  const broken: [string, string | Buffer | null][] = [
    ['a tombstone', null],
    ['nothing', ''],
    ['no JSON', 'hello'],
    ['an array', `[${spanText(ROOT)}]`],
    ['what is cut', spanText(ROOT).slice(0, -3)],
    ['what is not UTF-8', Buffer.from(spanText({ ...ROOT, more: { name: 'ÿ' } }), 'latin1')],
    ['a byte order mark', `\ufeff${spanText(ROOT)}`],
    ['too many levels', spanText(ROOT).replace(/}$/, `,"links":${deep}}`)],
    ...Object.entries(wrongFields).flatMap(([field, values]) =>
      values.map((value): [string, string] => [
        `${field} ${JSON.stringify(value)}`,
        spanText({ ...ROOT, more: { [field]: value } }),
      ]),
    ),
  ];
  const letterOf = (from: AuditMessage, more: Partial<AuditMessage> = {}): AuditMessage => {
    const why = { 'spanbuf-partition': '0', 'spanbuf-offset': String(from.offset), 'spanbuf-reason': 'not a span' };
    const headers = { ...from.headers, ...why };
    return message(from.value, { headers, ...more });
  };

  it.each(broken)('count as such, and not as spans: %s', (_what, value) => {
    expect(audit([message(value)], []).input).toEqual({ messages: 1, spans: 0, invalid: 1 });
  });

  it('have a dead letter each, perhaps more than one', () => {
    const input = broken.map(([, value]) => message(value));
    const letters = [...input, ...input.slice(0, 3)].map((each) => letterOf(each));
    const report = audit(input, [], letters);
    expect(report.problems.kinds).toEqual([]);
    expect(report.deadLetters).toEqual({ messages: broken.length + 3, copies: 3 });
  });

  it.each<[ProblemKind, (from: AuditMessage, span: AuditMessage) => AuditMessage[]]>([
    ['broken message without dead letter', () => []],
    ['dead letter of no broken message', (from, span) => [letterOf(from), letterOf(span)]],
    [
      'dead letter without reason',
      (from) => [letterOf(from, { headers: { ...letterOf(from).headers, 'spanbuf-reason': '' } })],
    ],
    ['dead letter changed', (from) => [letterOf(from, { value: Buffer.from('bye') })]],
    ['dead letter changed', (from) => [letterOf(from, { key: null })]],
    ['dead letter changed', (from) => [letterOf(from, { headers: { ...letterOf(from).headers, own: 'other' } })]],
  ])('are found: %s', (kind, lettersOf) => {
    const from = message('hello', { headers: { own: 'sent' } });
    const span = message(spanText(ORPHAN));
    const { problems } = audit([from, span], [segmentMessage(SECOND)], lettersOf(from, span));
    expect(problems.kinds).toEqual([kind]);
  });
});
