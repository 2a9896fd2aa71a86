import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithKafka } from '../kafka-clients.ts';
import { type KafkaServers, startKafka } from '../kafka-servers.ts';
import { type KcatMessage, kcatConsume, kcatProduce } from '../kcat.ts';

/** In the order of their numbers in Kafka's record format. */
const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;

// Concurrent: kcat waits a second for each topic that is created.
describeWithKafka('kcat', () => {
  let kafka: KafkaServers;
  beforeAll(async () => {
    // kcat can create topics only by using them.
    kafka = await startKafka({ config: { 'auto.create.topics.enable': 'true', 'num.partitions': '2' } });
  });
  afterAll(() => kafka.stop());

  let topics = 0;
  const newTarget = () => {
    topics += 1;
    return { brokers: kafka.bootstrap, topic: `topic-${topics}` };
  };
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

  /** From the log file of a partition: the lowest three bits of a batch's attributes. */
  function codecOfFirstBatch(topic: string, partition: number): number {
    const directory = join(String(kafka.nodes[0]?.directory), 'data', `${topic}-${partition}`);
    return readFileSync(join(directory, '00000000000000000000.log')).readUInt16BE(21) & 7;
  }

  it.concurrent.each(CODECS)('takes any bytes there and back, %s', async (compression) => {
    const target = newTarget();
    const messages = [
      { key: everyByte, value: Buffer.concat([everyByte, everyByte.toReversed()]) },
      { key: Buffer.from('ключ\n'), value: Buffer.from('a'.repeat(10_000)) },
      { key: Buffer.from(''), value: Buffer.from('') },
      { key: null, value: gzipSync('value') },
      { key: Buffer.from('tombstone'), value: null },
      { key: null, value: null },
    ].map((message) => ({ ...message, partition: 1 }));
    const beforeMs = Date.now();
    await kcatProduce({ ...target, messages, compression });
    const records = await kcatConsume(target);
    expect(records).toEqual(
      messages.map((message, offset) => ({ ...message, offset, timestampMs: expect.any(Number), headers: [] })),
    );
    expect(codecOfFirstBatch(target.topic, 1)).toBe(CODECS.indexOf(compression));
    for (const { timestampMs } of records) expect(timestampMs).toBeGreaterThanOrEqual(beforeMs);
  });

  it.concurrent('keeps headers apart, in order, with repeated names, empty values and none', async () => {
    const target = newTarget();
    const headers = [
      ['reason', 'a=b, c="d"\n\\'],
      ['имя', 'значение'],
      ['reason', ''],
      ['absent', null],
    ] as const;
    const messages: KcatMessage[] = [
      { key: 'k', value: '1', partition: 0 },
      { key: 'k', value: '2', partition: 0, headers },
      { key: 'k', value: '3', partition: 0, headers: [['other', 'one']] },
      { key: 'k', value: '4', partition: 0 },
    ];
    await kcatProduce({ ...target, messages });
    const records = await kcatConsume(target);
    expect(records.map(({ value }) => String(value))).toEqual(['1', '2', '3', '4']);
    expect(records[1]?.headers).toEqual(
      headers.map(([name, value]) => [name, value === null ? null : Buffer.from(value)]),
    );
    expect(records.map((record) => record.headers.length)).toEqual([0, 4, 1, 0]);
  });

  it.concurrent('reads all partitions or one', async () => {
    const target = newTarget();
    const messages = Array.from({ length: 1_000 }, (_, index) => ({
      key: null,
      value: `${index}`,
      partition: index < 400 ? 0 : 1,
    }));
    await kcatProduce({ ...target, messages, compression: 'lz4' });
    const partitionSizes = [0, 1].map(async (partition) => (await kcatConsume({ ...target, partition })).length);
    expect(await Promise.all(partitionSizes)).toEqual([400, 600]);
    const all = (await kcatConsume(target)).sort((a, b) => Number(a.value) - Number(b.value));
    expect(all.map(({ value }) => String(value))).toEqual(messages.map(({ value }) => value));
  });

  it.concurrent('says what is wrong', async () => {
    const target = newTarget();
    await expect(kcatConsume({ ...target, topic: 'not/a/name' })).rejects.toThrow('Invalid topic');
    await expect(kcatProduce({ ...target, messages: [{ key: null, value: 'x', partition: 9 }] })).rejects.toThrow(
      /Unknown partition/,
    );
    const large = { key: null, value: 'x'.repeat(2_000_000) };
    await expect(kcatProduce({ ...target, messages: [large] })).rejects.toThrow('Message size too large');
    await expect(kcatProduce({ ...target, messages: [{ key: '', value: null }] })).rejects.toThrow(
      'kcat cannot produce',
    );
    await expect(kcatProduce({ ...target, messages: [{ key: null, value: '' }] })).rejects.toThrow(
      'kcat cannot produce',
    );
  });
});
