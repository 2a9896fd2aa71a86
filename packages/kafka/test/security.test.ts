import { type Certificates, makeCertificates } from '@spanbuf/tooling/certificates';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type KafkaServers, startKafka } from '@spanbuf/tooling/kafka-servers';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { Kafka, KafkaConnection } from '../src/index.ts';
import { connect, newGroup, newTopic, numbered, read, until, write } from './fixture.ts';
import { startProxy } from './tcp-proxy.ts';

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

describeWithKafka('a broker that wants to know who comes', () => {
  let certificates: Certificates;
  let server: KafkaServers;
  /** On the listener without TLS and users, whose users may do anything. */
  let administrator: kafkajs.Admin;

  beforeAll(async () => {
    certificates = await makeCertificates();
    server = await startKafka({
      certificates,
      users: ['app', 'stranger'].map((username) => ({ username, password: `${username}'s secret` })),
      config: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS;User:app',
      },
    });
    const client = new kafkajs.Kafka({ brokers: [server.bootstrap], logLevel: kafkajs.logLevel.NOTHING });
    administrator = client.admin();
    await administrator.connect();
  });

  afterAll(async () => {
    await administrator?.disconnect();
    await server?.stop();
    certificates?.remove();
  });

  const login = (username = 'app', mechanism: NonNullable<KafkaConnection['sasl']>['mechanism'] = 'plain') => ({
    mechanism,
    username,
    password: `${username}'s secret`,
  });

  const at = (listener: 'SASL_PLAINTEXT' | 'SSL' | 'SASL_SSL', options: Partial<KafkaConnection>): Kafka =>
    connect(server.listeners[listener] ?? '', options);

  it.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'lets in who has the right password, by %s',
    async (mechanism) => {
      const options = { sasl: login('app', mechanism) };
      for (const kafka of [
        at('SASL_PLAINTEXT', options),
        at('SASL_SSL', { ...options, tls: { ca: certificates.ca } }),
      ]) {
        await kafka.check();
        const topic = await newTopic(kafka);
        await write(kafka, topic, numbered('a', 3));
        const { messages } = await read(kafka, { topic });
        await until(() => messages.length === 3);
      }
    },
  );

  it.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'refuses a wrong password at once, by %s',
    async (mechanism) => {
      const sasl = { ...login('app', mechanism), password: 'wrong' };
      const refused = { code: 'SPANBUF_KAFKA_REFUSED', retriable: false };
      const failure = at('SASL_PLAINTEXT', { sasl }).check();
      await expect(failure).rejects.toMatchObject(refused);
      await expect(failure).rejects.toThrow(/^reach Kafka: [^\n]*(?:Authentication failed|invalid credentials)[^\n]*$/);
      await expect(failure).rejects.not.toThrow('wrong');
      await expect(at('SASL_PLAINTEXT', { sasl }).createProducer()).rejects.toMatchObject(refused);
    },
  );

  // kafkajs does not tell the two apart.
  it.each(['plain', 'scram-sha-256'] as const)(
    'that hangs up while it is asked, by %s, has not refused anything',
    async (mechanism) => {
      const proxy = await startProxy();
      onTestFinished(() => proxy.close());
      proxy.passTo(server.listeners.SASL_PLAINTEXT ?? '');
      const check = () => connect(proxy.address, { sasl: login('app', mechanism) }).check();
      await check();
      const wholeBytes = proxy.answeredBytes;
      for (let cut = 1; cut < wholeBytes; cut += 1 + Math.floor(wholeBytes / 40)) {
        proxy.cutEvery(cut);
        await expect(check()).rejects.toMatchObject({ code: 'SPANBUF_KAFKA_UNAVAILABLE' });
      }
    },
  );

  it('is trusted only with a certificate that the CA has signed, for the host it is reached at', async () => {
    const kafka = at('SSL', { tls: { ca: certificates.ca } });
    await kafka.check();
    const others = await makeCertificates();
    for (const [tls, what] of [
      [{}, 'unable to verify|self-signed'],
      [{ ca: others.ca }, 'unable to verify|self-signed|signature'],
      [{ ca: 'no certificate' }, '.'],
      [{ ca: certificates.ca, cert: 'no certificate', key: 'no key' }, '.'],
    ] as const) {
      const failure = at('SSL', { tls }).check();
      await expect(failure).rejects.toMatchObject({ code: 'SPANBUF_KAFKA_REFUSED' });
      await expect(failure).rejects.toThrow(new RegExp(`^reach Kafka: TLS failed: [^\n]*(?:${what})[^\n]*$`));
    }
    others.remove();
  });

  it('is told apart from one that speaks another protocol', async () => {
    const plainToTls = connect(server.listeners.SSL ?? '').check();
    await expect(plainToTls).rejects.toThrow('does this port want TLS or a login?');
    const tlsToPlain = connect(server.bootstrap, { tls: {} }).check();
    await expect(tlsToPlain).rejects.toThrow('does this port speak TLS?');
    const withoutLogin = at('SASL_PLAINTEXT', {}).check();
    await expect(withoutLogin).rejects.toThrow('does this port want TLS or a login?');
    const loginToPlain = connect(server.bootstrap, { sasl: login() }).check();
    await expect(loginToPlain).rejects.toThrow('this port does not want a login');
  });

  it('says what a user may not do, and what it may not is not tried for ever', async () => {
    const app = at('SASL_PLAINTEXT', { sasl: login() });
    const topic = await newTopic(app);
    await write(app, topic, numbered('a', 3));
    const stranger = at('SASL_PLAINTEXT', { sasl: login('stranger') });
    const refused = { code: 'SPANBUF_KAFKA_REFUSED', retriable: false };
    await stranger.check();
    await expect(stranger.describeTopic(topic)).rejects.toMatchObject(refused);
    await expect(stranger.createTopics([{ topic: 'own', partitionCount: 1 }])).rejects.toMatchObject(refused);
    const producer = await stranger.createProducer();
    const [failed] = await producer.send(topic, numbered('b', 1));
    expect(failed).toMatchObject({
      status: 'failed',
      error: { message: expect.stringMatching(/TOPIC_AUTHORIZATION_FAILED/) },
    });

    const allow = (resourceType: number, resourceName: string, operation: number) => ({
      resourceType,
      resourceName,
      operation,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: 'User:stranger',
      host: '*',
      permissionType: AclPermissionTypes.ALLOW,
    });
    await administrator.createAcls({ acl: [allow(AclResourceTypes.TOPIC, topic, AclOperationTypes.READ)] });
    const description = await until(() => stranger.describeTopic(topic).catch(() => undefined));
    expect(description).toMatchObject({ partitionCount: 1, maxMessageBytes: undefined });

    const groupId = newGroup();
    const { errors } = await read(stranger, { topic, groupId });
    await until(() => errors.length > 0);
    expect(errors).toMatchObject([{ ...refused, message: expect.stringMatching(/[Gg]roup/) }]);

    await administrator.createAcls({ acl: [allow(AclResourceTypes.GROUP, groupId, AclOperationTypes.READ)] });
    const { messages } = await read(stranger, { topic, groupId });
    await until(() => messages.length === 3);
  });
});
