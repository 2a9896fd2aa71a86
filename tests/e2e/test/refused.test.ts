import { randomBytes } from 'node:crypto';
import { formatQueueKey } from '@spanbuf/keys';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { kcatConsume, kcatProduce } from '@spanbuf/tooling/kcat';
import { expect, it } from 'vitest';
import { System, sumOf } from '../system.ts';

function aSpan(name: string): string {
  const ids = { trace_id: randomBytes(16).toString('hex'), span_id: randomBytes(8).toString('hex') };
  return JSON.stringify({ project_id: 1, ...ids, name });
}

describeWithKafka('a message that the broker refuses for good', () => {
  it('parks its segment after a few tries, and the others come out at once', async () => {
    const system = await System.open({ outputConfig: { 'max.message.bytes': '6000' } });
    const { brokers, topics } = system;
    await system.consumer();
    const flusher = await system.flusher({ SPANBUF_OUTPUT_COMPRESSION: 'none' });
    const messages = [aSpan('x'.repeat(20_000)), aSpan('short')].map((value) => ({ key: null, value }));
    await kcatProduce({ brokers, topic: topics.input, messages });
    const parked = () => sumOf(flusher, 'spanbuf_flusher_parked_segments_total', { reason: 'refused' });
    await expect.poll(() => sumOf(flusher, 'spanbuf_flusher_spans_total'), { timeout: 40_000 }).toBe(1);
    await expect.poll(() => flusher.findLog('segment cannot be produced'), { timeout: 40_000 }).toBeDefined();
    expect(await parked()).toBe(0);
    // Two leases later.
    await expect.poll(parked, { timeout: 60_000 }).toBe(1);
    await expect.poll(() => sumOf(flusher, 'spanbuf_flusher_queued_segments', { state: 'parked' })).toBe(1);
    expect(flusher.findLog('segment parked')).toMatchObject({ level: 'error', spanCount: 1 });

    // A month later, as far as Redis is concerned: whichever flusher runs keeps what is parked.
    const { redis, sliceId } = system;
    const queues = Array.from({ length: 4 }, (_, shard) => formatQueueKey({ shard, sliceId, part: 'parked' }));
    const ttls = async () => Math.max(...(await Promise.all(queues.map((key) => redis.ttl(key)))));
    await Promise.all(queues.map((key) => redis.expire(key, 1_000)));
    expect(await ttls()).toBeLessThanOrEqual(1_000);
    await system.flusher();
    await expect.poll(ttls, { timeout: 20_000 }).toBeGreaterThan(29 * 86_400);
  });

  it('is a dead letter without its value when it is as long as a message may be', async () => {
    const system = await System.open();
    const { brokers, topics } = system;
    const value = randomBytes(1_048_400);
    await kcatProduce({
      brokers,
      topic: topics.input,
      messages: [
        { key: null, value },
        { key: null, value: 'short' },
      ],
    });
    const consumer = await system.consumer();
    const letters = (form: string) => sumOf(consumer, 'spanbuf_consumer_dead_letters_total', { form });
    await expect.poll(() => letters('without-value'), { timeout: 40_000 }).toBe(1);
    await expect.poll(() => letters('whole')).toBe(1);
    const records = await kcatConsume({ brokers, topic: topics.deadLetters });
    const omitted = records.filter(({ headers }) => headers.some(([name]) => name === 'spanbuf-value-omitted'));
    expect(omitted.map((record) => record.value?.length ?? 0)).toEqual([0]);
    expect(records).toHaveLength(2);
  });
});
