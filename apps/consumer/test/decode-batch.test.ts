import type { LogMessage } from '@spanbuf/kafka';
import { describe, expect, it } from 'vitest';
import { decodeBatch } from '../src/decode-batch.ts';
import { parseDropRules } from '../src/drop-rules.ts';

const OPTIONS = { topicId: 'topic-1', maxSpanBytes: 1_000, rules: [] };
const SPAN = {
  project_id: 7,
  organization_id: 1,
  trace_id: '0af7651916cd43dd8448eb211c80319c',
  span_id: 'b7ad6b7169203331',
};

function aMessage(value: object | string | null, offset = 0, partition = 2): LogMessage {
  const bytes = value === null ? null : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  return { partition, offset: BigInt(offset), timestampMs: 0, key: null, value: bytes, headers: {} };
}

describe('decodeBatch', () => {
  it('reads spans with the position they came from, in order', () => {
    const messages = [aMessage(SPAN, 5), aMessage({ ...SPAN, parent_span_id: '00f067aa0ba902b7' }, 6)];
    const { spans, invalid } = decodeBatch(messages, OPTIONS);
    expect(invalid).toEqual([]);
    expect(spans.map(({ partition, offset, source }) => ({ partition, offset, source }))).toEqual([
      { partition: 2, offset: 5n, source: 'topic-1' },
      { partition: 2, offset: 6n, source: 'topic-1' },
    ]);
    expect(spans.map(({ organizationId, isSegmentSpan }) => ({ organizationId, isSegmentSpan }))).toEqual([
      { organizationId: '1', isSegmentSpan: true },
      { organizationId: '1', isSegmentSpan: false },
    ]);
  });

  it.each([
    ['without a value', null, 'no value'],
    ['that is not JSON', 'x', 'not JSON'],
    ['without a trace id', { ...SPAN, trace_id: undefined }, 'trace_id'],
    ['that is too long', { ...SPAN, name: 'x'.repeat(1_000) }, '1000'],
  ])('sets aside a message %s, and says why', (_, value, reason) => {
    const message = aMessage(value);
    const { spans, invalid } = decodeBatch([aMessage(SPAN), message, aMessage(SPAN, 2)], OPTIONS);
    expect(spans).toHaveLength(2);
    expect(invalid).toEqual([{ message, reason: expect.stringContaining(reason) }]);
  });

  it('sets aside a batch that cannot be decoded, with its bytes', () => {
    const message = { ...aMessage('raw bytes'), unreadable: 'incorrect header check' };
    const { spans, invalid } = decodeBatch([message, aMessage(SPAN, 2)], OPTIONS);
    expect(spans).toHaveLength(1);
    expect(invalid).toEqual([{ message, reason: expect.stringContaining('not readable: incorrect header check') }]);
  });

  it('drops by rule and counts by rule', () => {
    const rules = parseDropRules('{"rules":[{"name":"p","project":8},{"name":"o","organization":2}]}');
    const messages = [
      SPAN,
      { ...SPAN, project_id: 8 },
      { ...SPAN, organization_id: 2 },
      { ...SPAN, project_id: 8 },
    ].map((span, offset) => aMessage(span, offset));
    const { spans, dropped } = decodeBatch(messages, { ...OPTIONS, rules });
    expect(spans).toHaveLength(1);
    expect([...dropped]).toEqual([
      ['p', [1n, 3n]],
      ['o', [2n]],
    ]);
  });

  it('drops what is invalid too when the whole partition is dropped', () => {
    const rules = parseDropRules('{"rules":[{"name":"all-of-2","partition":2}]}');
    const { spans, invalid, dropped } = decodeBatch([aMessage('x', 4), aMessage(SPAN, 5), aMessage(SPAN, 0, 3)], {
      ...OPTIONS,
      rules,
    });
    expect(spans).toHaveLength(1);
    expect(invalid).toEqual([]);
    expect(dropped.get('all-of-2')).toEqual([4n, 5n]);
  });
});
