/** What can be in a log, and happen to it: transactions, compaction, retention, deletion. */
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import kafkajs from 'kafkajs';
import { expect, it, onTestFinished } from 'vitest';
import { Brokers } from '../src/brokers.ts';
import { decodeRecordBatches } from '../src/decode-record-batch.ts';
import { GroupMember } from '../src/group-member.ts';
import { KafkaTopicMissingError } from '../src/index.ts';
import { fetchRequest, metadataRequest } from '../src/requests.ts';
import { assigned, connect, newGroup, newTopic, numbered, read, textOf, until, write } from './fixture.ts';

/** kafkajs' own clients, for what this package does not do. They warn of a negative timeout: that is #1751. */
function adminOf(brokers: string) {
  const client = new kafkajs.Kafka({ brokers: [brokers], logLevel: kafkajs.logLevel.NOTHING });
  const admin = client.admin();
  onTestFinished(() => admin.disconnect());
  return { client, admin };
}

describeWithKafka('a log', (brokers) => {
  it('of transactions gives the messages of those that were committed, and the markers are passed over', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const transactions = adminOf(brokers).client.producer({
      transactionalId: `test-${topic}`,
      maxInFlightRequests: 1,
      idempotent: true,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
    });
    await transactions.connect();
    onTestFinished(() => transactions.disconnect());
    for (const [name, isKept] of [
      ['kept', true],
      ['dropped', false],
      ['kept too', true],
      ['dropped too', false],
    ] as const) {
      const transaction = await transactions.transaction();
      await transaction.send({ topic, messages: [{ value: `${name} 0` }, { value: `${name} 1` }] });
      await (isKept ? transaction.commit() : transaction.abort());
    }
    const { messages, batches, consumer } = await read(kafka, { topic });
    // 8 messages and 4 markers.
    await until(() => batches.at(-1)?.nextOffset === 12n);
    expect(messages.map(textOf)).toEqual(['kept 0', 'kept 1', 'kept too 0', 'kept too 1']);
    expect(await consumer.commit(await assigned(consumer), new Map([[0, 12n]]))).toBe(true);
  });

  it('goes on at its beginning when what comes next is not there any more', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    await write(kafka, topic, numbered('a', 20));
    const first = await read(kafka, { topic, groupId });
    await first.consumer.commit(await assigned(first.consumer), new Map([[0, 5n]]));
    await first.consumer.stop();
    const { admin } = adminOf(brokers);
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '12' }] });
    const second = await read(kafka, { topic, groupId });
    await until(() => second.messages.length === 8);
    expect(second.messages[0]?.offset).toBe(12n);
    expect((await kafka.readWatermarks(topic)).get(0)).toEqual({ low: 12n, high: 20n });
  });

  it.each([
    ['while it is read', false],
    ['while reading is paused, so that no error tells of it', true],
  ])('that is created anew %s is another one, read from the beginning, under another id', async (_, isPaused) => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2);
    const groupId = newGroup();
    await write(kafka, topic, numbered('old', 20));
    const { consumer, messages, batches } = await read(kafka, { topic, groupId });
    await until(() => messages.length === 20);
    const before = await assigned(consumer);
    expect(
      await consumer.commit(
        before,
        new Map([
          [0, 10n],
          [1, 10n],
        ]),
      ),
    ).toBe(true);

    if (isPaused) consumer.pause();
    const { admin } = adminOf(brokers);
    await admin.deleteTopics({ topics: [topic] });
    await expect(until(() => kafka.describeTopic(topic).then(() => false))).rejects.toThrow(KafkaTopicMissingError);
    await until(() =>
      kafka.createTopics([{ topic, partitionCount: 2 }]).then(
        () => true,
        () => false,
      ),
    );
    // More than there was before, so that no offset is out of range.
    await write(kafka, topic, numbered('new', 60));
    consumer.resume();
    await until(() => messages.length === 80);
    const news = batches.flatMap((batch) => batch.messages.map((message) => ({ ...message, batch })));
    for (const { batch, ...message } of news) {
      expect(batch.assignment.topicId === before.topicId).toBe(textOf(message).startsWith('old'));
    }
    expect(new Set(messages.slice(20).map(textOf)).size).toBe(60);
    expect(await consumer.commit(before, new Map([[0, 10n]]))).toBe(false);
    expect(consumer.assignment?.topicId).toBe((await kafka.describeTopic(topic)).topicId);
  });

  it.each([
    ['is read from the beginning when the offset that is committed belongs to another of its name', 'f'.repeat(32), 0n],
    ['is read where a tool has set the offset, which knows no ids', '', 7n],
  ])('%s', async (_, committedId, beginning) => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    await write(kafka, topic, numbered('a', 10));
    const connections = new Brokers({ brokers: [brokers], clientId: 'test' });
    onTestFinished(() => connections.close());
    const member = new GroupMember(connections, { topic, groupId, sessionTimeoutMs: 6_000, rebalanceTimeoutMs: 6_000 });
    const membership = await until(() => member.join().catch(() => undefined));
    await member.commit(membership, committedId, new Map([[0, 7n]]), '');
    await member.leave();
    const known = beginning === 0n ? new Map() : new Map([[0, beginning]]);
    expect(await kafka.readCommitted(groupId, topic)).toEqual(known);
    const { messages } = await read(kafka, { topic, groupId });
    await until(() => messages.length > 0);
    expect(messages[0]?.offset).toBe(beginning);
  });

  it('that does not exist is reported as missing, by every call, and is not created', async () => {
    const kafka = connect(brokers);
    const topic = 'no-such-topic';
    const missing = { code: 'SPANBUF_KAFKA_TOPIC_MISSING', message: 'Kafka has no topic no-such-topic' };
    await expect(kafka.describeTopic(topic)).rejects.toMatchObject(missing);
    await expect(kafka.readWatermarks(topic)).rejects.toMatchObject(missing);
    await expect(kafka.readCommitted('g', topic)).rejects.toMatchObject(missing);
    await expect(
      kafka.consume({ topic, groupId: 'g', onBatch: async () => {}, onFatal: () => {} }),
    ).rejects.toMatchObject(missing);
    await expect(kafka.addPartitions(topic, 3)).rejects.toThrow();
    await expect(kafka.describeTopic(topic)).rejects.toThrow(KafkaTopicMissingError);
  });

  it('can be created twice, and stays what it is', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 3, { 'max.message.bytes': '12345' });
    const before = await kafka.describeTopic(topic);
    expect(before).toMatchObject({
      partitionCount: 3,
      maxMessageBytes: 12_345,
      topicId: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    await kafka.createTopics([{ topic, partitionCount: 5 }]);
    expect(await kafka.describeTopic(topic)).toEqual(before);
    await expect(kafka.createTopics([{ topic: 'not a name', partitionCount: 1 }])).rejects.toMatchObject({
      code: 'SPANBUF_KAFKA_REFUSED',
    });
  });

  it('says what an operator has to know of it', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2, { 'max.message.bytes': '12345', 'cleanup.policy': 'compact,delete' });
    const { partitions, config } = await kafka.inspectTopic(topic);
    const whole = { hasLeader: true, replicaCount: 1, inSyncCount: 1 };
    expect(partitions).toEqual(new Map([0, 1].map((partition) => [partition, whole])));
    expect(config?.get('max.message.bytes')).toBe('12345');
    expect(config?.get('cleanup.policy')).toBe('compact,delete');
    // Those of the broker as well.
    expect(config?.get('min.insync.replicas')).toBe('1');
    await expect(kafka.inspectTopic('no-such-topic')).rejects.toThrow(KafkaTopicMissingError);
  });

  it('can be read from brokers that know no topic ids', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2);
    await write(kafka, topic, numbered('a', 3, 1));
    const connections = new Brokers({ brokers: [brokers], clientId: 'test' });
    onTestFinished(() => connections.close());
    const broker = await connections.any();
    const { topic: found } = await connections.send(broker, metadataRequest(topic, false));
    expect(found).toMatchObject({ topicId: '', errorCode: 0 });
    expect([...(found?.leaders.keys() ?? [])].sort()).toEqual([0, 1]);
    const limits = { maxWaitMs: 20, minBytes: 1, maxBytes: 1_000_000, maxBytesPerPartition: 1_000_000 };
    const request = fetchRequest({ name: topic, topicId: '' }, [{ partition: 1, offset: 1n }], limits);
    const { partitions } = await connections.send(broker, request);
    const records = await decodeRecordBatches(partitions[0]?.records ?? Buffer.alloc(0), 1, 1n, []);
    expect(records.messages.map(textOf)).toEqual(['a 1', 'a 2']);
  });
});
