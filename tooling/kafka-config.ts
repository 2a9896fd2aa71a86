/** Configuration of the brokers that kafka-servers.ts starts, apart from their ports. */
import type { Certificates } from './certificates.ts';

/** Configuration by name, as in Kafka's documentation. */
export type KafkaConfig = Readonly<Record<string, string>>;

/** Letters, digits, dots and dashes only: both end up in configuration that has quotes, commas and brackets of its own. */
export interface KafkaUser {
  readonly username: string;
  readonly password: string;
}

/** What is the same on every broker, of one or of three. */
export function clusterConfig(brokers: number): KafkaConfig {
  const copies = `${brokers}`;
  const inSync = brokers === 1 ? '1' : '2';
  return {
    'process.roles': 'broker,controller',
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'auto.create.topics.enable': 'false',
    'default.replication.factor': copies,
    'min.insync.replicas': inSync,
    'offsets.topic.num.partitions': '4',
    'offsets.topic.replication.factor': copies,
    'transaction.state.log.num.partitions': '1',
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': inSync,
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    // How long a broker that was killed is believed to be there: until then nobody takes over, nor can it come back.
    'broker.session.timeout.ms': '2000',
    'broker.heartbeat.interval.ms': '300',
    // Tests write messages with old timestamps.
    'log.retention.ms': '-1',
    // Of 128 MiB, which would be a third of the heap.
    'log.cleaner.dedupe.buffer.size': `${4 * 1024 * 1024}`,
  };
}

/** Two listeners on which each of the users may log in by each mechanism. */
export function saslConfig(users: readonly KafkaUser[]): KafkaConfig {
  const security = 'org.apache.kafka.common.security';
  const plain = users.map(({ username, password }) => ` user_${username}="${password}"`).join('');
  const config: Record<string, string> = {};
  for (const listener of users.length > 0 ? ['sasl_plaintext', 'sasl_ssl'] : []) {
    const prefix = `listener.name.${listener}`;
    config[`${prefix}.sasl.enabled.mechanisms`] = 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512';
    config[`${prefix}.plain.sasl.jaas.config`] = `${security}.plain.PlainLoginModule required${plain};`;
    for (const mechanism of ['scram-sha-256', 'scram-sha-512']) {
      config[`${prefix}.${mechanism}.sasl.jaas.config`] = `${security}.scram.ScramLoginModule required;`;
    }
  }
  return config;
}

/** A client's certificate is not asked for, unless `config` sets `ssl.client.auth`. */
export function tlsConfig(certificates: Certificates | undefined): KafkaConfig {
  if (certificates === undefined) return {};
  return {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': certificates.keyStoreFile,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': certificates.caFile,
  };
}
