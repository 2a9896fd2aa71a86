import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { kcatConsume, kcatProduce } from '@spanbuf/tooling/kcat';
import kafkajs from 'kafkajs';
import { expect, it } from 'vitest';
import { generateLines, System, stop } from '../system.ts';

const COMPRESSIONS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
/** What kafkajs has of its own. */
const KAFKAJS_COMPRESSIONS = [kafkajs.CompressionTypes.None, kafkajs.CompressionTypes.GZIP];
const SPANS_EACH = 150;
/** A few spans. */
const MAX_MESSAGE_BYTES = 6_000;

interface SpanJson extends Record<string, unknown> {
  readonly span_id: string;
  readonly trace_id: string;
  readonly attributes?: Record<string, unknown> | null;
}

/** A span without what spanbuf writes into it. */
function contentOf({ is_segment: _, attributes, ...rest }: SpanJson): string {
  const { 'sentry.segment.id': __, ...others } = attributes ?? {};
  return JSON.stringify({ ...rest, attributes: others });
}

describeWithKafka('from librdkafka and kafkajs, and back', () => {
  it('every span comes out unchanged, in whatever way messages are compressed on either side, and cut where they are too long', async () => {
    const system = await System.open();
    const { brokers, topics } = system;
    const lines = await generateLines({
      spans: SPANS_EACH * (COMPRESSIONS.length + KAFKAJS_COMPRESSIONS.length),
      seed: 11,
    });
    const messagesOf = (i: number) =>
      lines.slice(i * SPANS_EACH, (i + 1) * SPANS_EACH).map((value) => ({ key: null, value }));
    for (const [i, compression] of COMPRESSIONS.entries()) {
      await kcatProduce({ brokers, topic: topics.input, messages: messagesOf(i), compression });
    }
    const client = new kafkajs.Kafka({ brokers: brokers.split(','), logLevel: kafkajs.logLevel.ERROR });
    const producer = client.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
    await producer.connect();
    for (const [i, compression] of KAFKAJS_COMPRESSIONS.entries()) {
      await producer.send({ topic: topics.input, messages: messagesOf(COMPRESSIONS.length + i), compression });
    }
    await producer.disconnect();
    await system.consumer();
    // The output is written in another compression after each restart, and read by librdkafka all the same.
    for (const compression of COMPRESSIONS) {
      const flusher = await system.flusher({
        SPANBUF_OUTPUT_COMPRESSION: compression,
        SPANBUF_FLUSH_SEGMENTS: '8',
        SPANBUF_MAX_MESSAGE_BYTES: String(MAX_MESSAGE_BYTES),
      });
      if (compression === COMPRESSIONS.at(-1)) await system.drained();
      await stop(flusher);
    }

    const records = await kcatConsume({ brokers, topic: topics.output });
    const messages = records.map(({ key, value, headers }) => ({
      key: String(key),
      bytes: value?.length,
      value: JSON.parse(String(value)) as { flush_id: string; skip_enrichment?: true; spans: SpanJson[] },
      headers: Object.fromEntries(headers.map(([name, header]) => [name, String(header)])),
    }));
    const sent = lines.map((line) => JSON.parse(line) as SpanJson);
    const received = messages.flatMap(({ value }) => value.spans);
    expect(received.map(contentOf).sort()).toEqual(sent.map(contentOf).sort());
    for (const { key, bytes, value, headers } of messages) {
      expect(bytes).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
      expect(headers['spanbuf-trace-id']).toBe(key);
      expect(headers['spanbuf-flush-id']).toBe(value.flush_id);
      expect(headers['spanbuf-span-count']).toBe(String(value.spans.length));
      for (const { trace_id: traceId } of value.spans) expect(traceId.replaceAll('-', '').toLowerCase()).toBe(key);
    }
    // Every part of a generation once, and parts alone are marked.
    const parts = new Map<string, string[]>();
    for (const { value, headers } of messages) {
      const of = ['trace-id', 'segment-id', 'generation', 'parts'].map((name) => headers[`spanbuf-${name}`]).join();
      parts.set(of, [...(parts.get(of) ?? []), headers['spanbuf-part'] ?? '']);
      expect(value.skip_enrichment).toBe(headers['spanbuf-parts'] === '1' ? undefined : true);
    }
    for (const [of, numbers] of parts) {
      const count = Number(of.split(',').at(-1));
      expect(numbers.sort()).toEqual(Array.from({ length: count }, (_, i) => String(i + 1)).sort());
    }
    const { output } = await system.verified();
    expect(output.cutGenerations).toBeGreaterThan(0);
    expect(output.cutGenerations).toBeLessThan(output.generations);
  });
});
