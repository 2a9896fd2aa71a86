/**
 * Real Apache Kafka brokers for tests and for the stack: KRaft, one process for each broker, on loopback, on free ports,
 * with data in temporary directories. They end with `stop()`, and also when the process that started them ends in any
 * way, SIGKILL included.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Certificates } from './certificates.ts';
import { clusterConfig, type KafkaConfig, type KafkaUser, saslConfig, tlsConfig } from './kafka-config.ts';
import { type KafkaJars, kafkaJars } from './kafka-jars.ts';
import { KafkaServer } from './kafka-server.ts';
import { freePort, HOST, releasePort } from './server-process.ts';

export type { KafkaConfig, KafkaUser } from './kafka-config.ts';
export { KafkaMissingError } from './kafka-jars.ts';
export type { KafkaServer } from './kafka-server.ts';

const START_ATTEMPTS = 5;

/** As Kafka calls them. */
export type KafkaProtocol = 'PLAINTEXT' | 'SASL_PLAINTEXT' | 'SSL' | 'SASL_SSL';

export interface KafkaOptions {
  /** How many brokers. Three hold each partition three times and want two in sync (`min.insync.replicas`). */
  readonly brokers?: 1 | 3;
  /** Opens a listener that asks for one of them, by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. */
  readonly users?: readonly KafkaUser[];
  /** Opens a listener that speaks TLS; with `users`, one more that also asks for a user. */
  readonly certificates?: Certificates;
  /** For every broker, passed last: `{ 'auto.create.topics.enable': 'true' }`. */
  readonly config?: KafkaConfig;
  /** Of each broker, in megabytes (384). */
  readonly heapMegabytes?: number;
}

/** One broker or three. All of them together, or one of `nodes` alone, can be killed, paused and started again. */
export class KafkaServers {
  readonly nodes: readonly KafkaServer[];
  /** `host:port,…` of the listener without TLS and user. */
  readonly bootstrap: string;
  /** `host:port,…` of each listener there is. */
  readonly listeners: Readonly<Partial<Record<KafkaProtocol, string>>>;
  readonly #ports: readonly number[];

  /** Use `startKafka` instead. */
  constructor(nodes: readonly KafkaServer[], listeners: KafkaServers['listeners'], ports: readonly number[]) {
    this.nodes = nodes;
    this.listeners = listeners;
    this.bootstrap = listeners.PLAINTEXT ?? '';
    this.#ports = ports;
  }

  /** Stops all brokers at once and deletes their data. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.remove()));
    for (const port of this.#ports) releasePort(port);
  }

  /** Ends all processes, without warning or (SIGTERM) in an orderly way, and waits until they have ended. Data stays. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill(signal)));
  }

  /** Kills what runs and starts all brokers, on the same ports and with their data. Waits until they take requests. */
  async restart(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.restart()));
  }

  /** Freezes all processes (SIGSTOP): connections stay open and nothing answers, until `resume()`. */
  pause(): void {
    for (const node of this.nodes) node.pause();
  }

  /** Lets paused processes go on (SIGCONT). */
  resume(): void {
    for (const node of this.nodes) node.resume();
  }
}

/**
 * Starts brokers and waits until they take requests. Topics are not created by use, offsets are there at once, groups
 * do not wait for more members, nothing is deleted for its age.
 * @throws KafkaMissingError when this machine cannot run Kafka; Error with its output when it does not start.
 */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaServers> {
  const jars = await prepareKafka();
  for (let attempt = 1; ; attempt += 1) {
    const servers = await layOut(jars, options);
    try {
      await servers.restart();
      return servers;
    } catch (error) {
      await servers.stop();
      if (attempt === START_ATTEMPTS || !/Address already in use|BindException/.test(String(error))) throw error;
    }
  }
}

/** What the first start on a machine needs, about half a minute: fetches the jars and has the class-data archive made. */
export async function prepareKafka(): Promise<KafkaJars> {
  const jars = await kafkaJars();
  if (existsSync(jars.archive)) return jars;
  const servers = await layOut(jars, {});
  try {
    await servers.nodes[0]?.writeArchive();
  } finally {
    await servers.stop();
  }
  return jars;
}

async function layOut(jars: KafkaJars, options: KafkaOptions): Promise<KafkaServers> {
  const { brokers = 1, users = [], certificates, config = {}, heapMegabytes = 384 } = options;
  const protocols: KafkaProtocol[] = ['PLAINTEXT'];
  if (users.length > 0) protocols.push('SASL_PLAINTEXT');
  if (certificates) protocols.push('SSL');
  if (users.length > 0 && certificates) protocols.push('SASL_SSL');

  const names = [...protocols, 'CONTROLLER'];
  const ports = await Promise.all(
    Array.from({ length: brokers }, () => Promise.all(names.map(async (name) => [name, await freePort()] as const))),
  );
  const addresses = ports.map((pairs) => new Map(pairs.map(([name, port]) => [name, `${HOST}:${port}`])));
  const voters = addresses.map((own, index) => `${index + 1}@${own.get('CONTROLLER')}`).join(',');
  const format = [
    `--cluster-id=${randomBytes(16).toString('base64url')}`,
    ...['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) =>
      users.map(({ username, password }) => `--add-scram=${mechanism}=[name=${username},password=${password}]`),
    ),
  ];
  const nodes = addresses.map((own, index) => {
    const listeners = (of: readonly string[]) => of.map((name) => `${name}://${own.get(name)}`).join(',');
    const identity = {
      'node.id': `${index + 1}`,
      'controller.quorum.voters': voters,
      listeners: listeners(names),
      'advertised.listeners': listeners(protocols),
      'listener.security.protocol.map': names
        .map((name) => `${name}:${name.replace('CONTROLLER', 'PLAINTEXT')}`)
        .join(),
    };
    const all = { ...clusterConfig(brokers), ...saslConfig(users), ...tlsConfig(certificates), ...identity, ...config };
    return new KafkaServer(jars, index + 1, all, format, heapMegabytes);
  });
  const bootstraps = protocols.map((name) => [name, addresses.map((own) => own.get(name)).join(',')]);
  return new KafkaServers(
    nodes,
    Object.fromEntries(bootstraps),
    ports.flat().map(([, port]) => port),
  );
}
