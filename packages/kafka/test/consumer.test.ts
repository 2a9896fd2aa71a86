import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { kcatProduce } from '@spanbuf/tooling/kcat';
import { expect, it } from 'vitest';
import type { LogBatch, OutgoingMessage } from '../src/index.ts';
import { assigned, connect, newGroup, newTopic, numbered, read, textOf, until, write } from './fixture.ts';

const texts = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name} ${i}`);

describeWithKafka('a consumer', (brokers) => {
  it.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const)(
    'reads what librdkafka writes with %s',
    async (compression) => {
      const kafka = connect(brokers);
      const topic = await newTopic(kafka);
      const value = 'span '.repeat(500);
      const headers = [
        ['a', 'b'],
        ['a', 'c'],
        ['none', null],
      ] as const;
      await kcatProduce({
        brokers,
        topic,
        compression,
        messages: [
          { key: 'k', value, headers },
          { key: null, value },
        ],
      });
      const { messages } = await read(kafka, { topic });
      await until(() => messages.length === 2);
      expect(messages).toMatchObject([
        { key: Buffer.from('k'), offset: 0n },
        { key: null, offset: 1n },
      ]);
      expect(messages.every((message) => message.value?.equals(Buffer.from(value)))).toBe(true);
      expect({ ...messages[0]?.headers }).toEqual({ a: [Buffer.from('b'), Buffer.from('c')], none: undefined });
    },
  );

  it('reads from the beginning, commits, and goes on there when it comes again', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2);
    const groupId = newGroup();
    await write(kafka, topic, [...numbered('a', 10, 0), ...numbered('b', 5, 1)]);
    const first = await read(kafka, { topic, groupId });
    await until(() => first.messages.length === 15);
    const assignment = await assigned(first.consumer);
    expect(assignment.partitions).toEqual([0, 1]);
    expect(assignment.topicId).toBe((await kafka.describeTopic(topic)).topicId);
    expect(await first.consumer.commit(assignment, new Map([[0, 7n]]))).toBe(true);
    expect(await kafka.readCommitted(groupId, topic)).toEqual(new Map([[0, 7n]]));
    expect(await kafka.readWatermarks(topic)).toEqual(
      new Map([
        [0, { low: 0n, high: 10n }],
        [1, { low: 0n, high: 5n }],
      ]),
    );
    await first.consumer.stop();
    const second = await read(kafka, { topic, groupId });
    await until(() => second.messages.length === 8);
    expect(second.messages.map(textOf).sort()).toEqual([...texts('a', 10).slice(7), ...texts('b', 5)].sort());
  });

  it('tells where reading goes on, and how much there is', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    await write(kafka, topic, numbered('a', 10));
    const { batches } = await read(kafka, { topic });
    await until(() => batches.at(-1)?.nextOffset === 10n);
    expect(batches.every(({ highWatermark }) => highWatermark === 10n)).toBe(true);
    for (const { messages, nextOffset } of batches) expect(nextOffset).toBe((messages.at(-1)?.offset ?? 0n) + 1n);
  });

  it('delivers nothing more of a partition whose handler is at work, everything of the others, and stays a member', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2);
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const begun: LogBatch[] = [];
    const { consumer, messages } = await read(kafka, {
      topic,
      sessionTimeoutMs: 1_000,
      onBatch: async (batch) => {
        begun.push(batch);
        if (batch.partition === 0) await held;
      },
    });
    const assignment = await assigned(consumer);
    await write(kafka, topic, numbered('slow', 1, 0));
    await until(() => begun.length === 1);
    // Three times the session timeout, in which ever more comes.
    const startMs = consumer.lastHeartbeatMs;
    for (let round = 0; consumer.lastHeartbeatMs < startMs + 3_000; round++) {
      await write(kafka, topic, [...numbered(`fast ${round}`, 1, 1), ...numbered(`slow ${round}`, 1, 0)]);
      await until(() => messages.length === round + 1);
    }
    expect(begun.filter(({ partition }) => partition === 0)).toHaveLength(1);
    expect(consumer.assignment).toBe(assignment);
    const count = messages.length + 1;
    release();
    const slow = () => messages.filter(({ partition }) => partition === 0);
    await until(() => slow().length >= count);
    expect(slow().map(({ offset }) => Number(offset))).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  it('delivers again what was not taken, and nothing that comes after it before', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    await write(kafka, topic, numbered('a', 5));
    let refusals = 2;
    const begun: string[] = [];
    const { messages } = await read(kafka, {
      topic,
      onBatch: async (batch) => {
        begun.push(...batch.messages.map(textOf));
        if (refusals-- > 0) throw new Error('not now');
      },
    });
    await until(() => begun.length === 5);
    await write(kafka, topic, numbered('b', 5));
    await until(() => messages.length === 10);
    expect(messages.map(textOf)).toEqual([...texts('a', 5), ...texts('b', 5)]);
    expect(begun.slice(0, 5)).toEqual(texts('a', 5));
    expect(begun.slice(5, 10)).toEqual(texts('a', 5));
  });

  it('stays a member while it is paused, for longer than its session, and across a rebalance', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2);
    const groupId = newGroup();
    const options = { topic, groupId, sessionTimeoutMs: 1_000 };
    const first = await read(kafka, options);
    const alone = await assigned(first.consumer);
    first.consumer.pause();
    expect(first.consumer.isPaused).toBe(true);
    const startMs = first.consumer.lastHeartbeatMs;
    await until(() => first.consumer.lastHeartbeatMs > startMs + 3_000);
    expect(first.consumer.assignment).toBe(alone);
    const second = await read(kafka, options);
    const half = await assigned(first.consumer, (partitions) => partitions.length === 1);
    expect(alone.signal.aborted).toBe(true);
    await write(kafka, topic, [...numbered('a', 20, 0), ...numbered('b', 20, 1)]);
    await until(() => second.messages.length === 20);
    expect(first.messages).toHaveLength(0);
    expect(first.consumer.assignment).toBe(half);
    first.consumer.resume();
    await until(() => first.messages.length === 20);
    expect(new Set(first.messages.map(({ partition }) => partition))).toEqual(new Set(half.partitions));
  });

  it('commits nothing for an assignment that has ended, nor for what is not in it', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 2);
    const groupId = newGroup();
    await write(kafka, topic, [...numbered('a', 10, 0), ...numbered('b', 10, 1)]);
    const first = await read(kafka, { topic, groupId });
    const alone = await assigned(first.consumer);
    expect(
      await first.consumer.commit(
        alone,
        new Map([
          [0, 5n],
          [1, 5n],
        ]),
      ),
    ).toBe(true);
    await expect(first.consumer.commit(alone, new Map([[2, 5n]]))).rejects.toThrow(RangeError);
    const second = await read(kafka, { topic, groupId });
    const seconds = await assigned(second.consumer);
    const half = await assigned(first.consumer, (partitions) => partitions.length === 1);
    const theirs = seconds.partitions[0] as number;
    expect(await second.consumer.commit(seconds, new Map([[theirs, 9n]]))).toBe(true);
    expect(await first.consumer.commit(alone, new Map([[theirs, 7n]]))).toBe(false);
    expect(await first.consumer.commit(half, new Map(half.partitions.map((partition) => [partition, 8n])))).toBe(true);
    expect(await kafka.readCommitted(groupId, topic)).toEqual(
      new Map([0, 1].map((partition) => [partition, partition === theirs ? 9n : 8n])),
    );
    await first.consumer.stop();
    expect(await first.consumer.commit(half, new Map(half.partitions.map((partition) => [partition, 9n])))).toBe(false);
  });

  it('commits in the order of the calls', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    await write(kafka, topic, numbered('a', 100));
    const { consumer } = await read(kafka, { topic, groupId });
    const assignment = await assigned(consumer);
    const offsets = Array.from({ length: 100 }, (_, i) => BigInt(i + 1));
    const commits = offsets.map((offset) => consumer.commit(assignment, new Map([[0, offset]])));
    // Stopping waits for what was committed before.
    await consumer.stop();
    expect((await Promise.all(commits)).at(-1)).toBe(true);
    expect(await kafka.readCommitted(groupId, topic)).toEqual(new Map([[0, 100n]]));
  });

  it('delivers the first batch when onAssigned is done, and not before', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    await write(kafka, topic, numbered('a', 3));
    const order: string[] = [];
    const { consumer } = await read(kafka, {
      topic,
      onAssigned: async () => {
        await until(() => consumer.lastHeartbeatMs > 0);
        order.push('assigned');
      },
      onBatch: async () => void order.push('batch'),
    });
    await until(() => order.length >= 2);
    expect(order[0]).toBe('assigned');
  });

  it('ends the assignment when it is stopped, waits for handlers, and leaves what it had to others at once', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    await write(kafka, topic, numbered('a', 3));
    const order: string[] = [];
    const first = await read(kafka, {
      topic,
      groupId,
      onBatch: async ({ assignment }) => {
        order.push('begun');
        await new Promise((resolve) => assignment.signal.addEventListener('abort', resolve));
        // Slow to end what it has begun.
        await new Promise((resolve) => setTimeout(resolve, 300));
        order.push('ended');
        throw new Error('not done');
      },
    });
    await until(() => order.length === 1);
    await first.consumer.stop();
    order.push('stopped');
    expect(order).toEqual(['begun', 'ended', 'stopped']);
    expect(first.consumer.assignment).toBeUndefined();
    // A member that did not leave is waited for, for longer than this test may take.
    const second = await read(kafka, { topic, groupId });
    await until(() => second.messages.length === 3);
  });

  it('can be stopped while it joins', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    const consumers = await Promise.all([1, 2, 3].map(() => read(kafka, { topic, groupId })));
    await Promise.all(consumers.map(({ consumer }) => consumer.stop()));
    await write(kafka, topic, numbered('a', 3));
    const { messages } = await read(kafka, { topic, groupId });
    await until(() => messages.length === 3);
    expect(consumers.flatMap((stopped) => stopped.messages)).toEqual([]);
  });

  it('finds partitions that are added while it reads', async () => {
    const kafka = connect(brokers, { metadataMaxAgeMs: 200 });
    const topic = await newTopic(kafka, 4);
    const groupId = newGroup();
    const options = { topic, groupId };
    const readers = await Promise.all([read(kafka, options), read(kafka, options)]);
    await until(() => readers.every(({ consumer }) => consumer.assignment?.partitions.length === 2));
    await kafka.addPartitions(topic, 8);
    const perPartition = (partition: number): OutgoingMessage[] => numbered(`p${partition}`, 5, partition);
    await write(kafka, topic, Array.from({ length: 8 }, (_, partition) => perPartition(partition)).flat());
    await until(() => readers.every(({ consumer }) => consumer.assignment?.partitions.length === 4));
    const all = () => new Set(readers.flatMap(({ messages }) => messages).map(textOf));
    await until(() => all().size === 40);
  });
});
