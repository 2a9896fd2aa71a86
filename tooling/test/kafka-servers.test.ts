import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Certificates, makeCertificates } from '../certificates.ts';
import { describeWithKafka } from '../kafka-clients.ts';
import { type KafkaProtocol, type KafkaServers, startKafka } from '../kafka-servers.ts';
import { kcatConsume, kcatPartitions, kcatProduce } from '../kcat.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

// The brokers' directories go here, where no other process has any. That it is empty in the end is a test, too.
const temporary = mkdtempSync(join(tmpdir(), 'spanbuf-tooling-'));
vi.stubEnv('TMPDIR', temporary);
afterAll(() => rmdirSync(temporary));

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** kcat can create topics only by using them. */
const config = { 'auto.create.topics.enable': 'true', 'num.partitions': '3' };

async function valuesOf(brokers: string, topic: string): Promise<string[]> {
  return (await kcatConsume({ brokers, topic })).map(({ value }) => String(value)).sort();
}

function answers(address: string): Promise<boolean> {
  const [host, port] = address.split(':');
  return new Promise((resolve) => {
    const socket = connect(Number(port), host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

describeWithKafka('the broker of a run', (brokers) => {
  it('answers, and creates no topic by use', async () => {
    const target = { brokers, topic: 'never-created', settings: { 'topic.metadata.propagation.max.ms': '500' } };
    await expect(kcatProduce({ ...target, messages: [{ key: 'k', value: 'v' }] })).rejects.toThrow('Unknown topic');
    await expect(kcatPartitions(target)).rejects.toThrow('Unknown topic or partition');
  });
});

describeWithKafka('startKafka', () => {
  let certificates: Certificates;
  let kafka: KafkaServers;
  beforeAll(async () => {
    certificates = await makeCertificates();
    kafka = await startKafka({ config, certificates, users: [{ username: 'alice', password: 'wonderland' }] });
  });
  afterAll(async () => {
    await kafka.stop();
    certificates.remove();
  });

  /** Tries to produce one message through a listener. Ends at once when the broker does not let kcat in. */
  function knock(listener: KafkaProtocol, settings: Record<string, string>): Promise<void> {
    const brokers = kafka.listeners[listener] ?? '';
    const messages = [{ key: null, value: listener, partition: 0 }];
    return kcatProduce({
      brokers,
      topic: 'guarded',
      messages,
      settings: { 'security.protocol': listener, ...settings },
    });
  }
  const trust = ({ caFile } = certificates) => ({ 'ssl.ca.location': caFile });
  const login = (password: string, mechanism = 'PLAIN') => ({
    'sasl.mechanisms': mechanism,
    'sasl.username': 'alice',
    'sasl.password': password,
  });

  it('lets in by each listener who has what it asks for', async () => {
    expect(kafka.bootstrap).toBe(kafka.listeners.PLAINTEXT);
    await knock('PLAINTEXT', {});
    await knock('SASL_PLAINTEXT', login('wonderland'));
    await knock('SSL', trust());
    await knock('SASL_SSL', { ...trust(), ...login('wonderland') });
    const listeners = ['PLAINTEXT', 'SASL_PLAINTEXT', 'SASL_SSL', 'SSL'];
    expect(await valuesOf(kafka.bootstrap, 'guarded')).toEqual(listeners);
  });

  it('lets in nobody else', async () => {
    const other = await makeCertificates();
    closing.push(() => other.remove());
    const disconnected = /Disconnected|transport failure/;
    await expect(knock('SASL_PLAINTEXT', { 'security.protocol': 'PLAINTEXT' })).rejects.toThrow(disconnected);
    await expect(knock('SSL', { 'security.protocol': 'PLAINTEXT' })).rejects.toThrow(disconnected);
    await expect(knock('SSL', trust(other))).rejects.toThrow('certificate verify failed');
    await expect(knock('SASL_SSL', { 'security.protocol': 'SSL', ...trust() })).rejects.toThrow(disconnected);
    for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']) {
      const refusal = /Authentication failed.*(Invalid username or password|with SASL mechanism SCRAM)/;
      await expect(knock('SASL_PLAINTEXT', login('wrong', mechanism))).rejects.toThrow(refusal);
      await expect(knock('SASL_SSL', { ...trust(), ...login('wrong', mechanism) })).rejects.toThrow(refusal);
    }
    expect(await valuesOf(kafka.bootstrap, 'guarded')).toHaveLength(4);
  });

  it('keeps what was acknowledged when it is killed and started again, and what is sent while it is frozen', async () => {
    const target = { brokers: kafka.bootstrap, topic: 'durable' };
    await kcatProduce({ ...target, messages: [{ key: 'a', value: '1' }] });
    const [pid] = kafka.nodes.map((node) => node.pid);
    await kafka.kill();
    expect(await answers(kafka.bootstrap)).toBe(false);
    await kafka.restart();
    expect(kafka.nodes[0]?.pid).not.toBe(pid);
    expect(await valuesOf(kafka.bootstrap, 'durable')).toEqual(['1']);

    kafka.pause();
    const order: string[] = [];
    const sent = kcatProduce({ ...target, messages: [{ key: 'b', value: '2' }] }).then(() => order.push('sent'));
    expect(await answers(kafka.bootstrap)).toBe(true); // the kernel still takes connections
    order.push('resumed');
    kafka.resume();
    await sent;
    expect(order).toEqual(['resumed', 'sent']);
    expect(await valuesOf(kafka.bootstrap, 'durable')).toEqual(['1', '2']);
  });
});

describeWithKafka('three brokers', () => {
  it('hold every partition three times, go on when one is killed, and are stopped without a trace', async () => {
    const directories = readdirSync(temporary);
    const kafka = await startKafka({ brokers: 3, config });
    closing.push(() => kafka.stop());
    const target = { brokers: kafka.bootstrap, topic: 'replicated' };
    const send = (value: string) =>
      kcatProduce({ ...target, messages: [0, 1, 2].map((partition) => ({ key: null, value, partition })) });
    await send('1');
    const before = await kcatPartitions(target);
    expect(before.map(({ replicas }) => replicas.toSorted())).toEqual([1, 2, 3].map(() => [1, 2, 3]));
    expect(before.map(({ leader }) => leader).toSorted()).toEqual([1, 2, 3]);

    const [victim] = kafka.nodes;
    await victim?.kill();
    await vi.waitFor(
      async () => expect((await kcatPartitions(target)).every(({ leader }) => [2, 3].includes(leader))).toBe(true),
      { timeout: 30_000, interval: 200 },
    );
    await send('2');
    expect(await valuesOf(kafka.bootstrap, 'replicated')).toEqual(['1', '1', '1', '2', '2', '2']);
    await victim?.restart();
    await vi.waitFor(
      async () => expect((await kcatPartitions(target)).map(({ inSync }) => inSync.length)).toEqual([3, 3, 3]),
      { timeout: 30_000, interval: 200 },
    );

    const pids = kafka.nodes.map(({ pid }) => pid);
    await kafka.stop();
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    for (const address of kafka.bootstrap.split(',')) expect(await answers(address)).toBe(false);
    expect(readdirSync(temporary)).toEqual(directories);
    await kafka.stop();
  });
});

describeWithKafka('a broker process', () => {
  it('ends with its parent', async () => {
    const directories = readdirSync(temporary);
    const module = new URL('../kafka-servers.ts', import.meta.url).href;
    const program = `
    const kafka = await (await import(${JSON.stringify(module)})).startKafka();
    console.log(kafka.bootstrap);
    setInterval(() => {}, 1e6);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', program]);
    const [line] = await once(parent.stdout, 'data');
    const address = String(line).trim();
    expect(await answers(address)).toBe(true);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    await vi.waitFor(async () => expect(await answers(address)).toBe(false), { timeout: 10_000 });
    await vi.waitFor(() => expect(readdirSync(temporary)).toEqual(directories), { timeout: 10_000 });
  });

  it('says what is wrong when it does not start, and leaves nothing', async () => {
    const directories = readdirSync(temporary);
    await expect(startKafka({ config: { 'process.roles': 'cook' } })).rejects.toThrow(/process\.roles/);
    expect(readdirSync(temporary)).toEqual(directories);
  });
});

describe('without Java', () => {
  it('says in one line what is missing', async () => {
    const path = process.env['PATH'];
    closing.push(() => vi.stubEnv('PATH', path));
    vi.stubEnv('PATH', '/nonexistent');
    const failure = await startKafka().catch((error: Error) => error);
    expect(failure).toMatchObject({ name: 'KafkaMissingError', code: 'KAFKA_MISSING' });
    expect(String(failure)).toMatch(
      /^KafkaMissingError: Kafka needs Java 17\. .*apt-get install default-jre-headless$/,
    );
  });
});
