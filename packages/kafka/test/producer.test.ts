import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { kcatConsume } from '@spanbuf/tooling/kcat';
import { expect, it } from 'vitest';
import { KafkaUnavailableError, MessageRefusedError } from '../src/index.ts';
import { connect, newTopic, numbered, until, write } from './fixture.ts';

const COMPRESSIONS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;

describeWithKafka('a producer', (brokers) => {
  it.each(COMPRESSIONS)('writes with %s what librdkafka reads: keys, values, headers, time', async (compression) => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const producer = await kafka.createProducer({ compression });
    const value = Buffer.from('span '.repeat(500));
    const timestampMs = 1_600_000_000_123;
    const outcomes = await producer.send(topic, [
      { key: 'key', value, timestampMs, headers: { one: 'x', two: [Buffer.from('a'), 'b'], none: undefined } },
      { key: null, value: null, timestampMs: timestampMs - 5_000 },
      { key: Buffer.from([0, 255]), value: Buffer.alloc(0), timestampMs: timestampMs + 1 },
    ]);
    expect(outcomes).toEqual([0n, 1n, 2n].map((offset) => ({ status: 'acked', partition: 0, offset })));
    const bytes = (text: string) => Buffer.from(text);
    expect(await kcatConsume({ brokers, topic })).toMatchObject([
      {
        key: bytes('key'),
        value,
        timestampMs,
        headers: [
          ['one', bytes('x')],
          ['two', bytes('a')],
          ['two', bytes('b')],
          ['none', null],
        ],
      },
      { key: null, value: null, timestampMs: timestampMs - 5_000 },
      { key: Buffer.from([0, 255]), timestampMs: timestampMs + 1 },
    ]);
  });

  it('chooses the partition by the key, keeps the order within it, and takes one that is given', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 3);
    // murmur2("foobar") and murmur2("21") as Java's client has them, modulo 3.
    const javas = { foobar: (-790332482 & 0x7fffffff) % 3, '21': (-973932308 & 0x7fffffff) % 3 };
    const keyed = Object.keys(javas).flatMap((key) =>
      Array.from({ length: 2_500 }, (_, i) => ({ key, value: Buffer.from(`${i}`) })),
    );
    const outcomes = await write(kafka, topic, [...keyed, { key: 'foobar', value: null, partition: 2 }]);
    expect(outcomes.at(-1)).toMatchObject({ partition: 2 });
    const records = (await kcatConsume({ brokers, topic })).filter(({ value }) => value !== null);
    for (const [key, partition] of Object.entries(javas)) {
      const own = records.filter((record) => `${record.key}` === key);
      expect(new Set(own.map((record) => record.partition))).toEqual(new Set([partition]));
      expect(own.map(({ value }) => Number(value))).toEqual(Array.from({ length: 2_500 }, (_, i) => i));
    }
  });

  it('takes partitions in turn without a key, and finds new ones when metadata are read again', async () => {
    const kafka = connect(brokers, { metadataMaxAgeMs: 100 });
    const topic = await newTopic(kafka, 2);
    const producer = await kafka.createProducer();
    const partitionsOf = async (count: number) => {
      const outcomes = await producer.send(topic, numbered('a', count));
      return outcomes.map((outcome) => outcome.status === 'acked' && outcome.partition);
    };
    expect(await partitionsOf(10)).toEqual([0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    await kafka.addPartitions(topic, 4);
    await until(async () => new Set(await partitionsOf(4)).size === 4);
  });

  it('refuses what is too large for the topic and that alone, wherever it is among others', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 1, { 'max.message.bytes': '20000' });
    expect((await kafka.describeTopic(topic)).maxMessageBytes).toBe(20_000);
    const producer = await kafka.createProducer({ compression: 'none' });
    const size = (i: number): number => (i % 10 === 3 ? 30_000 : 3_000);
    const messages = Array.from({ length: 40 }, (_, i) => ({ key: `${i}`, value: Buffer.alloc(size(i), 'x') }));
    const outcomes = await producer.send(topic, messages);
    expect(outcomes.map(({ status }) => status)).toEqual(messages.map((_, i) => (i % 10 === 3 ? 'refused' : 'acked')));
    const [refused] = outcomes.flatMap((outcome) => (outcome.status === 'refused' ? [outcome.error] : []));
    expect(refused).toBeInstanceOf(MessageRefusedError);
    expect(refused).toMatchObject({ reason: 'MESSAGE_TOO_LARGE', retriable: false });
    const written = await kcatConsume({ brokers, topic });
    expect(written.map(({ key }) => Number(key))).toEqual(messages.flatMap((_, i) => (i % 10 === 3 ? [] : [i])));
  });

  it('sends no more than a request may hold at once, and a larger message alone', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const producer = await kafka.createProducer({ compression: 'none', maxRequestBytes: 10_000 });
    const sizes = [4_000, 4_000, 4_000, 15_000, 100, 100];
    const outcomes = await producer.send(
      topic,
      sizes.map((size) => ({ key: null, value: Buffer.alloc(size) })),
    );
    expect(outcomes.map((outcome) => outcome.status === 'acked' && outcome.offset)).toEqual([0n, 1n, 2n, 3n, 4n, 5n]);
  });

  it('says at once that a topic is missing, or a partition of it', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const producer = await kafka.createProducer();
    const [missing] = await producer.send('no-such-topic', numbered('a', 1));
    expect(missing).toMatchObject({
      status: 'failed',
      error: { message: 'write to no-such-topic: Kafka has no topic no-such-topic' },
    });
    const outcomes = await producer.send(topic, [...numbered('a', 1, 7), ...numbered('b', 1, 0)]);
    expect(outcomes).toMatchObject([
      { status: 'failed', error: { message: expect.stringContaining('not partition 7') } },
      { status: 'acked' },
    ]);
    expect(outcomes[0]?.status === 'failed' && outcomes[0].error).toBeInstanceOf(KafkaUnavailableError);
  });

  it('refuses what is not a message, and says so of that one alone', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const producer = await kafka.createProducer();
    const outcomes = await producer.send(topic, [
      { key: null, value: null, timestampMs: Number.NaN },
      { key: 'a', value: Buffer.from('b') },
      { key: null, value: 5 as unknown as Buffer },
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['refused', 'acked', 'refused']);
    expect(await producer.send(topic, [])).toEqual([]);
  });

  it('keeps apart calls that are made side by side', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 4);
    const producer = await kafka.createProducer();
    const calls = Array.from({ length: 50 }, (_, call) => producer.send(topic, numbered(`call ${call}`, 20)));
    const all = (await Promise.all(calls)).flat();
    expect(all.every(({ status }) => status === 'acked')).toBe(true);
    const places = all.map((outcome) => outcome.status === 'acked' && `${outcome.partition}/${outcome.offset}`);
    expect(new Set(places).size).toBe(1_000);
    expect(await kcatConsume({ brokers, topic })).toHaveLength(1_000);
  });

  it('writes the messages of one partition in the order of the calls', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2);
    const producer = await kafka.createProducer();
    const calls = Array.from({ length: 20 }, (_, call) =>
      producer.send(topic, [...numbered(`call ${call}`, 1, 0), ...numbered(`call ${call}`, 1, 1)]),
    );
    const offsets = (await Promise.all(calls)).map((outcomes) =>
      outcomes.map((each) => each.status === 'acked' && each.offset),
    );
    expect(offsets).toEqual(Array.from({ length: 20 }, (_, call) => [BigInt(call), BigInt(call)]));
  });

  it('refuses what is too large alone, though it was sent with batches of other partitions', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 8, { 'max.message.bytes': '10000' });
    const producer = await kafka.createProducer({ compression: 'none' });
    const messages = Array.from({ length: 8 }, (_, partition) => ({
      key: null,
      value: Buffer.alloc(partition === 5 ? 20_000 : 100),
      partition,
    }));
    const statuses = (await producer.send(topic, messages)).map(({ status }) => status);
    expect(statuses).toEqual(messages.map((_, partition) => (partition === 5 ? 'refused' : 'acked')));
  });

  it('fails what is sent after close, and waits in close for what was sent before', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const producer = await kafka.createProducer();
    const before = producer.send(topic, numbered('a', 100));
    await producer.close();
    expect((await before).every(({ status }) => status === 'acked')).toBe(true);
    expect(await producer.send(topic, numbered('b', 1))).toMatchObject([{ status: 'failed' }]);
  });
});
