/** A broker that is killed, frozen, cut off or damaged. Each test leaves it running. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type KafkaServers, startKafka } from '@spanbuf/tooling/kafka-servers';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { KafkaUnreadableBatchError, type SendOutcome } from '../src/index.ts';
import { assigned, connect, newTopic, numbered, read, textOf, until } from './fixture.ts';
import { startProxy, type TcpProxy } from './tcp-proxy.ts';

describeWithKafka('when the broker', () => {
  let server: KafkaServers;
  let proxy: TcpProxy;

  beforeAll(async () => {
    proxy = await startProxy();
    // What clients are told leads through the proxy; a client that is given the real address comes to it as well.
    server = await startKafka({ config: { 'advertised.listeners': `PLAINTEXT://${proxy.address}` } });
    proxy.passTo(server.bootstrap);
  });

  afterAll(async () => {
    proxy?.close();
    await server?.stop();
  });

  it('is killed, sending fails in time; when it is back, reading and writing go on by themselves', async () => {
    const kafka = connect(server.bootstrap);
    const topic = await newTopic(kafka, 2);
    const producer = await kafka.createProducer({ requestTimeoutMs: 1_000 });
    await producer.send(topic, numbered('before', 20));
    const { consumer, messages, errors } = await read(kafka, { topic });
    await until(() => messages.length === 20);
    const before = await assigned(consumer);
    await consumer.commit(before, new Map(before.partitions.map((partition) => [partition, 10n])));

    await server.kill('SIGKILL');
    const during = await producer.send(topic, numbered('during', 20));
    expect(during.map(({ status }) => status)).toEqual(during.map(() => 'failed'));
    await expect(kafka.check()).rejects.toMatchObject({ code: 'SPANBUF_KAFKA_UNAVAILABLE', retriable: true });
    await server.restart();

    const isAcked = ({ status }: SendOutcome): boolean => status === 'acked';
    await until(async () => (await producer.send(topic, numbered('after', 20))).every(isAcked));
    await until(() => new Set(messages.map(textOf)).has('after 19'));
    await until(() => new Set(messages.map(textOf).filter((text) => text.startsWith('after'))).size === 20);
    expect(errors).toEqual([]);
    const after = await assigned(consumer);
    await until(async () => consumer.commit(await assigned(consumer), new Map([[0, 11n]])).catch(() => false));
    expect(after.topicId).toBe(before.topicId);
  });

  it('is frozen, nothing hangs: sending fails, the assignment ends with the session, commits say so', async () => {
    const kafka = connect(server.bootstrap, { requestTimeoutMs: 1_000 });
    const topic = await newTopic(kafka);
    const producer = await kafka.createProducer({ requestTimeoutMs: 1_500 });
    const { consumer, messages, errors } = await read(kafka, { topic, sessionTimeoutMs: 3_000 });
    await producer.send(topic, numbered('before', 5));
    await until(() => messages.length === 5);
    const assignment = await assigned(consumer);

    onTestFinished(() => server.resume());
    server.pause();
    const commit = () => consumer.commit(assignment, new Map([[0, 5n]]));
    // A process does not stop at once.
    const error = await until(() =>
      commit().then(
        (isCommitted) => !isCommitted,
        (reason) => reason,
      ),
    );
    expect(error).toMatchObject({ code: 'SPANBUF_KAFKA_UNAVAILABLE' });
    const during = producer.send(topic, numbered('during', 5));
    await until(() => assignment.signal.aborted);
    expect(consumer.assignment).toBeUndefined();
    expect(await commit()).toBe(false);
    expect((await during).map(({ status }) => status)).toEqual(['failed', 'failed', 'failed', 'failed', 'failed']);
    server.resume();

    await until(async () =>
      (await producer.send(topic, numbered('after', 5))).every(({ status }) => status === 'acked'),
    );
    await until(() => messages.map(textOf).includes('after 4'));
    expect(errors).toEqual([]);
  });

  // kafkajs goes on with the rest of the old answer, on the new connection.
  it('is cut off in the middle of its answers, what is read afterwards is whole and in order', async () => {
    const kafka = connect(server.bootstrap);
    const topic = await newTopic(kafka, 2);
    const count = 200;
    const value = (i: number): Buffer => Buffer.alloc(2_000, `${i} `);
    const all = Array.from({ length: count }, (_, i) => ({ key: null, value: value(i), partition: i % 2 }));
    // In batches of four: a batch comes whole or not at all.
    await (await kafka.createProducer({ compression: 'none', maxRequestBytes: 9_000 })).send(topic, all);
    // In the middle of every second answer or so.
    proxy.cutEvery(31_337);
    const { messages, errors } = await read(kafka, { topic, maxBytesPerPartition: 6_000 });
    await until(() => messages.length === count);
    proxy.cutEvery(undefined);
    for (const partition of [0, 1]) {
      const own = messages.filter((message) => message.partition === partition);
      expect(own.map(({ offset }) => Number(offset))).toEqual(Array.from({ length: count / 2 }, (_, i) => i));
      expect(own.every((message, i) => message.value?.equals(value(2 * i + partition)))).toBe(true);
    }
    expect(proxy.cutCount).toBeGreaterThan(5);
    expect(errors).toEqual([]);
  });

  it('has more to read, it is not asked for it while the consumer is paused', async () => {
    const kafka = connect(server.bootstrap);
    const topic = await newTopic(kafka);
    const { consumer, messages } = await read(kafka, { topic });
    await assigned(consumer);
    consumer.pause();
    await (await kafka.createProducer()).send(topic, [{ key: null, value: randomBytes(100_000) }]);
    // Lets a request that was under way come to its end.
    const heartbeat = (): Promise<boolean> => {
      const last = consumer.lastHeartbeatMs;
      return until(() => consumer.lastHeartbeatMs !== last);
    };
    await heartbeat();
    await heartbeat();
    const before = proxy.answeredBytes;
    for (let i = 0; i < 10; i++) await heartbeat();
    expect(proxy.answeredBytes - before).toBeLessThan(50_000);
    expect(messages).toEqual([]);
    consumer.resume();
    await until(() => messages.length === 1);
  });

  it('leads several partitions, it is asked once for all that wait for it', async () => {
    const kafka = connect(server.bootstrap);
    const topic = await newTopic(kafka, 16);
    const producer = await kafka.createProducer();
    const answeredTo = async (partitions: number): Promise<number> => {
      const messages = Array.from({ length: partitions }, (_, i) => numbered('a', 1, i)).flat();
      const before = proxy.answeredBytes;
      expect((await producer.send(topic, messages)).map(({ status }) => status)).toEqual(messages.map(() => 'acked'));
      return proxy.answeredBytes - before;
    };
    // Metadata are read before, and all leaders know that they are.
    await answeredTo(16);
    const one = await answeredTo(1);
    expect(await answeredTo(16)).toBeLessThan(12 * one);
  });

  it('has a log that is damaged, the consumer ends and says where', async () => {
    const kafka = connect(server.bootstrap);
    const topic = await newTopic(kafka);
    const producer = await kafka.createProducer({ compression: 'zstd' });
    for (const name of ['a', 'b', 'c']) await producer.send(topic, numbered(name, 10));
    const directory = join(server.nodes[0]?.directory ?? '', 'data', `${topic}-0`);
    const log = join(directory, readdirSync(directory).find((file) => file.endsWith('.log')) ?? '');
    const file = openSync(log, 'r+');
    writeSync(file, Buffer.alloc(20, 0xff), 0, 20, Math.floor(statSync(log).size / 3) + 70);
    closeSync(file);
    const { messages, errors } = await read(kafka, { topic });
    await until(() => errors.length > 0);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(KafkaUnreadableBatchError);
    expect(errors[0]).toMatchObject({ topic, partition: 0, offset: 10n });
    expect(messages.map(textOf)).toEqual(Array.from({ length: 10 }, (_, i) => `a ${i}`));
  });

  it('cannot be reached, check says so in one line', async () => {
    const free = await startProxy();
    free.close();
    for (const [address, word] of [
      [free.address, 'ECONNREFUSED'],
      ['no-such-host.invalid:9092', 'ENOTFOUND|EAI_AGAIN'],
    ] as const) {
      const failure = connect(address).check();
      await expect(failure).rejects.toMatchObject({ code: 'SPANBUF_KAFKA_UNAVAILABLE' });
      await expect(failure).rejects.toThrow(new RegExp(`^reach Kafka: [^\n]*(${word})[^\n]*$`));
      await expect(connect(address).createProducer()).rejects.toMatchObject({ retriable: true });
    }
  });
});
