import { createHook } from 'node:async_hooks';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, it, onTestFinished, vi } from 'vitest';
import { createKafka } from '../src/index.ts';
import { assigned, connect, newTopic, numbered, read, until, write } from './fixture.ts';
import { startProxy } from './tcp-proxy.ts';

describeWithKafka('a connection', (brokers) => {
  // kafkajs sets one of 1 ms whenever one has ended, on each connection: a thousand in the second that this takes.
  it('sets hardly any timers while it is idle, and none to a time in the past (kafkajs #1751)', async () => {
    const kafka = connect(brokers);
    const { consumer } = await read(kafka, { topic: await newTopic(kafka), maxWaitMs: 500 });
    await assigned(consumer);
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', onWarning);
    let timers = 0;
    const hook = createHook({
      init: (_, type) => {
        if (type === 'Timeout') timers++;
      },
    }).enable();
    // Ten heartbeats, and what it takes to wait for them.
    let polls = 0;
    for (let seen = 0, last = 0; seen < 10; polls++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (consumer.lastHeartbeatMs !== last) seen++;
      last = consumer.lastHeartbeatMs;
    }
    hook.disable();
    process.off('warning', onWarning);
    expect(timers - polls).toBeLessThan(200);
    expect(warnings).toEqual([]);
  });

  it('tells its log what happens, and writes nothing itself', async () => {
    const writes = [vi.spyOn(process.stdout, 'write'), vi.spyOn(process.stderr, 'write')];
    onTestFinished(() => {
      for (const spy of writes) spy.mockRestore();
    });
    const lines: string[] = [];
    const free = await startProxy();
    free.close();
    const sasl = { mechanism: 'plain', username: 'app', password: 'a secret' } as const;
    const log = (level: string, message: string, details: object): void =>
      void lines.push(`${level} ${message} ${JSON.stringify(details)}`);
    const kafka = createKafka({ brokers: [free.address], clientId: 'test', sasl, log });
    await expect(kafka.check()).rejects.toThrow();
    await kafka.close();
    const silent = createKafka({ brokers: [free.address], clientId: 'test' });
    await expect(silent.check()).rejects.toThrow();
    await silent.close();
    expect(lines.some((line) => line.startsWith('debug kafkajs') && line.includes('ECONNREFUSED'))).toBe(true);
    expect(lines.join()).not.toContain('a secret');
    for (const spy of writes) expect(spy).not.toHaveBeenCalled();
  });

  it('is made to any of the brokers that are named', async () => {
    const free = await startProxy();
    free.close();
    for (let attempt = 0; attempt < 5; attempt++) await connect(`${free.address},${brokers}`).check();
  });

  it('is shared by calls that are made at once', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka, 3);
    const [, , , watermarks, committed] = await Promise.all([
      kafka.check(),
      kafka.describeTopic(topic),
      kafka.describeTopic(topic),
      kafka.readWatermarks(topic),
      until(() => kafka.readCommitted('some group', topic).catch(() => undefined)),
    ]);
    expect(watermarks.size).toBe(3);
    expect(committed.size).toBe(0);
  });

  it('is gone after close, whatever was under way', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    await write(kafka, topic, numbered('a', 1));
    const { messages } = await read(kafka, { topic });
    await until(() => messages.length === 1);
    const calls = [kafka.readWatermarks(topic), kafka.describeTopic(topic)].map((call) => call.catch(() => {}));
    await kafka.close();
    await Promise.all(calls);
    await expect(kafka.check()).rejects.toMatchObject({ message: 'reach Kafka: the client was closed' });
  });
});
