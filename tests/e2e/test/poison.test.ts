import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type KcatRecord, kcatConsume } from '@spanbuf/tooling/kcat';
import { expect, it, onTestFinished } from 'vitest';
import { refusedMessages, strangeSpans } from '../hostile-messages.ts';
import { System, sumOf } from '../system.ts';

function headersOf(record: KcatRecord | undefined, name: string): (Buffer | null)[] {
  return (record?.headers ?? []).flatMap(([each, value]) => (each === name ? [value] : []));
}

describeWithKafka('what is not a span', () => {
  it('goes to the dead-letter topic as it came, with its reason; everything else comes out', async () => {
    // A broker takes no time stamp of 2099 unless it is told to.
    const system = await System.open({ inputConfig: { 'message.timestamp.after.max.ms': String(10 ** 13) } });
    const consumer = await system.consumer();
    await system.flusher();
    const load = system.generate({ spans: 4_000, rate: 800, seed: 51, args: ['--invalid-share', '0.02'] });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(500);
    const refused = refusedMessages();
    await system.send([...refused.values()]);
    await Promise.all(Object.values(strangeSpans()).map((spans) => system.send(spans)));
    await load;
    await system.drained();
    const { input, output, deadLetters } = await system.verified({ deadLetters: true });
    expect(input.invalid).toBe(80 + refused.size);
    expect(output.splitSegments).toBe(0);
    expect(deadLetters.messages).toBe(input.invalid);
    expect(await sumOf(consumer, 'spanbuf_consumer_dead_letters_total', { form: 'whole' })).toBe(input.invalid);
    const records = await kcatConsume({ brokers: system.brokers, topic: system.topics.deadLetters });
    for (const { headers } of records) {
      const names = headers.map(([name]) => name);
      for (const name of ['reason', 'topic', 'partition', 'offset']) expect(names).toContain(`spanbuf-${name}`);
    }
    for (const [reason, { key, value, headers = {} }] of refused) {
      const letter = records.find((record) => String(record.key) === key);
      expect(letter?.value?.equals(value as Buffer), reason).toBe(true);
      expect(headersOf(letter, 'spanbuf-reason').toString()).toContain(reason);
      for (const [name, sent] of Object.entries(headers).filter(([name]) => !name.startsWith('spanbuf-'))) {
        const each = Array.isArray(sent) ? sent : [sent];
        expect(headersOf(letter, name), name).toEqual(each.map((one) => (one === undefined ? null : Buffer.from(one))));
      }
    }
  });

  it('stops the consumer when it is nearly everything, and then nothing is lost for it', async () => {
    const system = await System.open({ partitionCount: 1 });
    // Ready before there is anything to stop it.
    const consumer = await system.consumer({ SPANBUF_MAX_INVALID_SHARE: '0.3', SPANBUF_BATCH_SPANS: '1000' });
    await system.generate({ spans: 3_000, seed: 52, args: ['--invalid-share', '0.7'] });
    const { code } = await consumer.ended;
    expect(code).toBe(1);
    expect(consumer.lastWords).toContain('SPANBUF_MAX_INVALID_SHARE');
    const flusher = await system.flusher();
    await system.consumer({ SPANBUF_MAX_INVALID_SHARE: '1' });
    await system.drained();
    expect(flusher.hasEnded).toBe(false);
    await system.verified({ deadLetters: true });
  });
});

describeWithKafka('drop rules', () => {
  it('are taken over while the consumer runs, and what they drop is counted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spanbuf-e2e-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'rules.json');
    writeFileSync(file, '{"rules": []}');
    const system = await System.open();
    const consumer = await system.consumer({ SPANBUF_DROP_RULES_FILE: file });
    await system.generate({ spans: 500, seed: 53 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_spans_total', { outcome: 'accepted' })).toBe(500);
    const rules = [0, 1, 2, 3].map((partition) => ({ name: `partition-${partition}`, partition }));
    writeFileSync(file, JSON.stringify({ rules }));
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_drop_rules'), { timeout: 20_000 }).toBe(4);
    await system.generate({ spans: 500, seed: 54 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_dropped_spans_total')).toBe(500);
    expect(await sumOf(consumer, 'spanbuf_consumer_spans_total', { outcome: 'accepted' })).toBe(500);
  });
});
