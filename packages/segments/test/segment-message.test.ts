import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidSegmentMessageError, parseSegmentMessage } from '../src/index.ts';
import { spanTexts } from '../src/span-texts.ts';
import { id, message, span, TRACE } from './messages.ts';

describe('parseSegmentMessage', () => {
  it('gives what the headers say, and the text of each span as it came', () => {
    const spans = [span(id(1)), span(id(2))];
    const part = parseSegmentMessage(
      message(spans, { generation: 3, part: 1, parts: 2, lostSpans: 4, rootSeen: false }),
    );
    expect(part).toMatchObject({
      projectId: '7',
      traceId: TRACE,
      segmentId: id(1),
      generation: 3,
      part: 1,
      parts: 2,
      reason: 'root-idle',
      rootSeen: false,
      missingParentCount: 0,
      lostSpanCount: 4,
      firstSeconds: 1_700_000_000,
      lastSeconds: 1_700_000_005,
      holdsRoot: true,
    });
    expect(part.flushId).toMatch(/^[0-9a-f]{32}$/);
    expect(part.spans).toEqual(spans);
  });

  it('takes headers as text, as bytes, and the first of several', () => {
    const { value, headers } = message([span(id(1))]);
    const several = { ...headers, 'spanbuf-project-id': [new Uint8Array(Buffer.from('8')), '9'] };
    expect(parseSegmentMessage({ value, headers: several }).projectId).toBe('8');
  });

  const whole = message([span(id(1))]);
  const withHeader = (name: string, text: string | undefined) => ({
    ...whole,
    headers: { ...whole.headers, [`spanbuf-${name}`]: text },
  });
  it.each([
    ['it has no value', { ...whole, value: null }],
    ['its value is not UTF-8', { ...whole, value: Buffer.from([0xff]) }],
    ['its value is not JSON', { ...whole, value: Buffer.from('{') }],
    ['its value is not an object', { ...whole, value: Buffer.from('[]') }],
    ['its flush_id is not 32 hex digits', { ...whole, value: Buffer.from('{"flush_id":"a","spans":[{}]}') }],
    [
      'its spans are not an array of one or more objects',
      { ...whole, value: Buffer.from(`{"flush_id":"${'a'.repeat(32)}","spans":[]}`) },
    ],
    ['spanbuf-flush-id is not the flush_id of the value', withHeader('flush-id', 'a'.repeat(32))],
    ['spanbuf-trace-id is no trace id', withHeader('trace-id', 'x')],
    ['spanbuf-segment-id is no span id', withHeader('segment-id', TRACE)],
    ['spanbuf-part is above spanbuf-parts', withHeader('part', '2')],
    ['spanbuf-span-count is not the number of its spans', withHeader('span-count', '2')],
    ['spanbuf-generation is not an integer from 1', withHeader('generation', '0')],
    ['spanbuf-last-seconds is not a number', withHeader('last-seconds', ' ')],
    ['no header spanbuf-reason', withHeader('reason', undefined)],
  ])('refuses a message because %s', (problem, broken) => {
    expect(() => parseSegmentMessage(broken)).toThrow(InvalidSegmentMessageError);
    expect(() => parseSegmentMessage(broken)).toThrow(problem);
  });
});

describe('spanTexts', () => {
  it('finds the spans of any message, whatever is in them and beside them', () => {
    const text = fc.constantFrom('"', '\\', '\\"', '[', ']', '{', '}', 'spans', '"spans":[{', 'é', ' ').map(String);
    const strings = fc.array(text, { maxLength: 6 }).map((parts) => parts.join(''));
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 3 }, strings, fc.double(), fc.constant(null), tie('array'), tie('object')),
      array: fc.array(tie('value'), { maxLength: 3 }),
      object: fc.dictionary(strings, tie('value'), { maxKeys: 3 }),
    }));
    const object = fc.dictionary(strings, value, { maxKeys: 3 });
    const run = fc.property(fc.array(object), value, value, fc.nat(2), (spans, before, after, indent) => {
      const write = (each: unknown) => JSON.stringify(each, null, indent);
      const texts = spans.map(write);
      const json = `{ "flush_id":${write(before)}, "spans" : [ ${texts.join(' , ')} ],"skip_enrichment":${write(after)}}`;
      expect(spanTexts(json)).toEqual(texts);
    });
    fc.assert(run, { numRuns: 500 });
  });
});
