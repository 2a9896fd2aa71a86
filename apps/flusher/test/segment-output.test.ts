import { parseIngestSpan, SpanBuffer } from '@spanbuf/buffer';
import { parseSegmentMessage, SegmentMerger } from '@spanbuf/segments';
import { createMemoryStore } from '@spanbuf/store';
import { describe, expect, it } from 'vitest';
import { segmentOutput } from '../src/segment-output.ts';

const T = 1_700_000_000;
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const ROOT = 'b7ad6b7169203331';

function aSpan(spanId: string, parentId: string | null, offset: number) {
  const span = { project_id: 7, trace_id: TRACE, span_id: spanId, parent_span_id: parentId, name: `span ${offset}` };
  return parseIngestSpan(Buffer.from(JSON.stringify(span)), { partition: 3, offset: BigInt(offset) });
}

async function flush(spans: readonly ReturnType<typeof aSpan>[], maxMessageBytes?: number) {
  const buffer = new SpanBuffer(createMemoryStore(), { maxMessageBytes });
  await buffer.process(spans, { now: T });
  const [segment] = await buffer.flush({ now: T + 100 });
  if (segment === undefined) throw new Error('nothing was flushed');
  return segmentOutput(segment);
}

describe('segmentOutput', () => {
  it('keys by trace, and says in headers what is known beside the spans', async () => {
    const spans = [
      aSpan(ROOT, null, 0),
      aSpan('00f067aa0ba902b7', ROOT, 1),
      aSpan('00f067aa0ba902b8', '00f067aa0ba902ff', 2),
    ];
    const messages = await flush(spans.slice(0, 2));
    expect(messages).toHaveLength(1);
    const flushId = JSON.parse(String(messages[0]?.value)).flush_id;
    expect(messages[0]).toMatchObject({
      key: TRACE,
      headers: {
        'spanbuf-flush-id': flushId,
        'spanbuf-project-id': '7',
        'spanbuf-trace-id': TRACE,
        'spanbuf-segment-id': ROOT,
        'spanbuf-generation': '1',
        'spanbuf-part': '1',
        'spanbuf-parts': '1',
        'spanbuf-reason': 'root-idle',
        'spanbuf-root-seen': 'true',
        'spanbuf-missing-parents': '0',
        'spanbuf-span-count': '2',
        'spanbuf-lost-spans': '0',
        'spanbuf-first-seconds': String(T),
        'spanbuf-last-seconds': String(T),
      },
    });
  });

  it('numbers the parts of a segment that is too long for one message', async () => {
    const spans = [
      aSpan(ROOT, null, 0),
      ...Array.from({ length: 9 }, (_, i) => aSpan(`00f067aa0ba902b${i}`, ROOT, i + 1)),
    ];
    const messages = await flush(spans, 900);
    expect(messages.length).toBeGreaterThan(2);
    const headers = messages.map(({ headers }) => headers ?? {});
    expect(headers.map((each) => each['spanbuf-part'])).toEqual(messages.map((_, i) => String(i + 1)));
    expect(new Set(headers.map((each) => each['spanbuf-parts']))).toEqual(new Set([String(messages.length)]));
    expect(headers.reduce((sum, each) => sum + Number(each['spanbuf-span-count']), 0)).toBe(10);
    expect(new Set(headers.map((each) => each['spanbuf-flush-id'])).size).toBe(messages.length);
  });

  it('counts parents that did not come', async () => {
    const [message] = await flush([aSpan('00f067aa0ba902b8', '00f067aa0ba902ff', 0)]);
    expect(message?.headers).toMatchObject({ 'spanbuf-root-seen': 'false', 'spanbuf-missing-parents': '1' });
  });

  it('writes what @spanbuf/segments reads, in any number of parts', async () => {
    const spans = [
      aSpan(ROOT, null, 0),
      ...Array.from({ length: 9 }, (_, i) => aSpan(`00f067aa0ba902b${i}`, ROOT, i + 1)),
    ];
    const messages = (await flush(spans, 900)).map(({ value, headers }, i) => ({
      offset: BigInt(i),
      value: value ?? Buffer.alloc(0),
      headers: headers ?? {},
    }));
    expect(messages.map((message) => parseSegmentMessage(message).part)).toEqual(messages.map((_, i) => i + 1));
    const merger = new SegmentMerger();
    const merged = messages.reverse().flatMap((message) => merger.add(message, { now: T }));
    expect(merged).toMatchObject([{ segmentId: ROOT, generations: [1], missingPartCount: 0, rootSeen: true }]);
    const names = merged[0]?.spans.map((text) => JSON.parse(text).name);
    expect(names).toEqual(Array.from({ length: 10 }, (_, i) => `span ${i}`));
  });
});
