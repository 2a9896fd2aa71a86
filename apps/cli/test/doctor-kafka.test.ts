/** What `spanbuf doctor` sees of Kafka where brokers are lost, or do not permit everything. */
import { createKafka, type NewTopic } from '@spanbuf/kafka';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type KafkaServer, type KafkaServers, startKafka } from '@spanbuf/tooling/kafka-servers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { checkKafka } from '../src/doctor/check-kafka.ts';
import { parseDoctorSettings } from '../src/doctor/doctor-settings.ts';

const TOPICS: readonly NewTopic[] = ['ingest-spans', 'ingest-spans-dlq', 'buffered-segments'].map((topic, i) => ({
  topic,
  partitionCount: 6,
  config: { 'max.message.bytes': i === 0 ? '1000000' : '2000000' },
}));

async function check(env: Readonly<Record<string, string>>) {
  const { system: settings, apps } = parseDoctorSettings({}, { SPANBUF_REDIS_URL: 'redis://127.0.0.1:1', ...env });
  return (await checkKafka({ settings, apps, clockMs: Date.now })).filter(({ level }) => level !== 'ok');
}

describeWithKafka('what spanbuf doctor sees of Kafka, where a broker is lost', () => {
  let servers: KafkaServers;

  beforeAll(async () => {
    servers = await startKafka({
      brokers: 3,
      config: { 'default.replication.factor': '1', 'min.insync.replicas': '1' },
      heapMegabytes: 256,
    });
    const kafka = createKafka({ brokers: servers.bootstrap.split(','), clientId: 'doctor-test' });
    await kafka.createTopics(TOPICS);
    await kafka.close();
  }, 180_000);
  afterAll(() => servers?.stop());

  it('is that nobody leads some partitions', async () => {
    const env = { SPANBUF_KAFKA_BROKERS: servers.bootstrap };
    expect(await check(env)).toEqual([]);
    await (servers.nodes[2] as KafkaServer).kill();
    await expect
      .poll(async () => (await check(env)).map(({ check: name, level }) => `${level} ${name}`), { timeout: 60_000 })
      .toEqual(Array(3).fill('fault kafka-partitions'));
    expect((await check(env))[0]?.detail).toMatch(/^nobody leads partitions \d, \d$/);
  }, 120_000);
});

describeWithKafka('what spanbuf doctor sees of Kafka, where it may not see all', () => {
  let servers: KafkaServers;

  beforeAll(async () => {
    servers = await startKafka({
      users: [{ username: 'stranger', password: 'secret' }],
      config: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS',
      },
    });
    const kafka = createKafka({ brokers: [servers.bootstrap], clientId: 'doctor-test' });
    await kafka.createTopics(TOPICS);
    await kafka.close();
  }, 180_000);
  afterAll(() => servers?.stop());

  it('is that it could not look', async () => {
    const env = {
      SPANBUF_KAFKA_BROKERS: servers.listeners.SASL_PLAINTEXT as string,
      SPANBUF_KAFKA_SASL_MECHANISM: 'plain',
      SPANBUF_KAFKA_SASL_USERNAME: 'stranger',
      SPANBUF_KAFKA_SASL_PASSWORD: 'secret',
    };
    const found = await check(env);
    expect(found.map(({ level, check: name }) => `${level} ${name}`)).toEqual(Array(3).fill('unknown kafka-topic'));
    expect(found[0]?.detail).toMatch(/^could not look: .*AUTHORIZATION_FAILED/);
    const wrong = await check({ ...env, SPANBUF_KAFKA_SASL_PASSWORD: 'wrong' });
    expect(wrong).toMatchObject([{ level: 'unknown', check: 'kafka-reach' }]);
  });
});
