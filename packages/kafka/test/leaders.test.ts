/** Three brokers, of which one at a time goes away: partitions move to other leaders, groups to other coordinators. */
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type KafkaServers, startKafka } from '@spanbuf/tooling/kafka-servers';
import { kcatConsume } from '@spanbuf/tooling/kcat';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { assigned, connect, newGroup, newTopic, numbered, read, textOf, until } from './fixture.ts';

describeWithKafka('with three brokers', () => {
  let servers: KafkaServers;

  beforeAll(async () => {
    servers = await startKafka({ brokers: 3 });
  }, 120_000);

  afterAll(async () => {
    await servers?.stop();
  });

  it('what is acknowledged is in the log and read, whichever broker goes and comes', { timeout: 120_000 }, async () => {
    const kafka = connect(servers.bootstrap, { requestTimeoutMs: 3_000, metadataMaxAgeMs: 1_000 });
    const topic = await newTopic(kafka, 6);
    const groupId = newGroup();
    const producer = await kafka.createProducer({ requestTimeoutMs: 5_000 });
    const { consumer, messages, errors } = await read(kafka, {
      topic,
      groupId,
      sessionTimeoutMs: 6_000,
      onBatch: async (batch) => {
        await consumer.commit(batch.assignment, new Map([[batch.partition, batch.nextOffset]])).catch(() => {});
      },
    });

    const acked = new Set<string>();
    let rounds = 0;
    let isOver = false;
    const writing = (async () => {
      for (; !isOver; rounds++) {
        // All partitions in one call: kafkajs would forget one that moves to a leader that has answered already.
        const round = numbered(`round ${rounds}`, 60);
        const outcomes = await producer.send(topic, round);
        for (const [i, { status }] of outcomes.entries()) if (status === 'acked') acked.add(`${round[i]?.value}`);
      }
    })();
    for (const [node, signal] of [
      [servers.nodes[0], 'SIGKILL'],
      [servers.nodes[1], 'SIGTERM'],
    ] as const) {
      const before = rounds;
      await until(() => rounds > before);
      await node?.kill(signal);
      const during = acked.size;
      await until(() => acked.size > during + 60);
      await node?.restart();
    }
    isOver = true;
    await writing;

    const inLog = new Set((await kcatConsume({ brokers: servers.bootstrap, topic })).map(({ value }) => `${value}`));
    expect([...acked].filter((text) => !inLog.has(text))).toEqual([]);
    const seen = (): Set<string> => new Set(messages.map(textOf));
    await until(() => seen().size === inLog.size);
    for (let partition = 0; partition < 6; partition++) {
      const offsets = messages.filter((message) => message.partition === partition).map(({ offset }) => offset);
      // From the beginning and without gaps; again from where it was committed after a rebalance.
      const jumps = offsets.filter((offset, i) => offset > (offsets[i - 1] ?? -1n) + 1n);
      expect(jumps).toEqual([]);
    }
    expect((await assigned(consumer)).partitions).toHaveLength(6);
    expect(errors).toEqual([]);
  });
});
