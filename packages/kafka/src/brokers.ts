import { KafkaTopicMissingError } from './errors.ts';
import { BrokerError, brokerErrorType, isConnectionLost, isPassing, throwIfError } from './kafka-error.ts';
import { ConnectionClosedError, closeBroker, openBroker, sendRequest } from './kafkajs.ts';
import type { Broker, BrokerAddress } from './kafkajs-broker.ts';
import type { KafkaConnection } from './log.ts';
import { API, type ClusterMetadata, metadataRequest, type TopicMetadata, type WireRequest } from './requests.ts';
import { withDeadline } from './waiting.ts';

const METADATA_ATTEMPTS = 3;
const UNSUPPORTED_VERSION = 35;

/** The brokers of a cluster: finds them, connects to them on demand, and gives up those that do not answer in time. */
export class Brokers {
  readonly requestTimeoutMs: number;
  readonly metadataMaxAgeMs: number;
  readonly #connection: KafkaConnection;
  readonly #seeds: readonly BrokerAddress[];
  /** One of those in the settings. The cluster may name it otherwise, or not at all. */
  #seed: { address: BrokerAddress; broker: Broker } | undefined;
  #opening: Promise<Broker> | undefined;
  readonly #nodes = new Map<number, { address: BrokerAddress; broker: Broker }>();
  #closed = false;

  constructor(connection: KafkaConnection) {
    this.#connection = connection;
    this.requestTimeoutMs = connection.requestTimeoutMs ?? 10_000;
    this.metadataMaxAgeMs = connection.metadataMaxAgeMs ?? 10_000;
    this.#seeds = connection.brokers.map(parseAddress);
  }

  /** Any broker, connected; one that is already, if there is one. */
  async any(): Promise<Broker> {
    const nodes = shuffle([...this.#nodes.values()].map(({ broker }) => broker));
    const known = this.#seed === undefined ? nodes : [...nodes, this.#seed.broker];
    const connected = known.find(isReady);
    if (connected !== undefined) return connected;
    this.#opening ??= this.#open(nodes).finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(nodes: readonly Broker[]): Promise<Broker> {
    let failure: unknown;
    const note = (error: unknown): void => {
      // That one says no tells more than that another is away.
      if (failure === undefined || isPassing(failure)) failure = error;
    };
    for (const broker of nodes) {
      try {
        return await this.#connect(broker);
      } catch (error) {
        note(error);
      }
    }
    for (const address of shuffle(this.#seeds)) {
      const broker = openBroker(address, this.#connection);
      try {
        await this.#connect(broker);
        this.#seed = { address, broker };
        return broker;
      } catch (error) {
        closeBroker(broker, 'it cannot be connected to');
        note(error);
      }
    }
    throw failure ?? new Error('no brokers');
  }

  /** The broker with that id, connected. @throws when the cluster has not named it. */
  async node(nodeId: number): Promise<Broker> {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) throw new ConnectionClosedError(`broker ${nodeId} is not known`);
    return this.#connect(node.broker);
  }

  /** Connected. */
  async coordinator(groupId: string): Promise<Broker> {
    const broker = await this.any();
    // kafkajs' own search asks all brokers and takes any error for "not found", a missing authorisation too.
    const { coordinator } = await this.call(broker, () => broker.findGroupCoordinator({ groupId, coordinatorType: 0 }));
    const nodeId = coordinator.nodeId ?? -1;
    this.#note(nodeId, coordinator);
    return this.node(nodeId);
  }

  /** Asks any broker; what it says of the brokers is remembered. */
  async metadata(topic?: string): Promise<ClusterMetadata> {
    for (let attempt = 1; ; attempt++) {
      try {
        const broker = await this.any();
        const known = broker.versions?.[API.metadata.key]?.maxVersion ?? 0;
        const metadata = await this.send(broker, metadataRequest(topic, known >= API.metadata.withTopicIds));
        this.#replace(metadata.brokers);
        return metadata;
      } catch (error) {
        if (attempt === METADATA_ATTEMPTS || !isConnectionLost(error) || this.#closed) throw error;
      }
    }
  }

  /** @throws KafkaTopicMissingError, or BrokerError. */
  async topic(topic: string): Promise<TopicMetadata> {
    const { topic: found } = await this.metadata(topic);
    try {
      throwIfError(found?.errorCode ?? 0);
    } catch (error) {
      const isMissing = brokerErrorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION';
      throw isMissing ? new KafkaTopicMissingError(topic, { cause: error }) : error;
    }
    if (found === undefined || found.leaders.size === 0) throw new KafkaTopicMissingError(topic);
    return found;
  }

  /** Of a partition: the first offset that is in the log, or the one that the next message gets. */
  async offset(leader: number, topic: string, partition: number, which: 'first' | 'next'): Promise<bigint> {
    const offset = (await this.offsets(leader, topic, [partition], which)).get(partition);
    if (offset === undefined) throw new Error(`the broker did not answer for partition ${partition}`);
    return offset;
  }

  /** The same of all partitions that a broker leads, in one request. @throws BrokerError when it cannot tell one of them. */
  async offsets(
    leader: number,
    topic: string,
    partitions: readonly number[],
    which: 'first' | 'next',
  ): Promise<ReadonlyMap<number, bigint>> {
    const broker = await this.node(leader);
    const timestamp = which === 'first' ? -2 : -1;
    const topics = [{ topic, partitions: partitions.map((partition) => ({ partition, timestamp })) }];
    const request = { replicaId: -1, isolationLevel: 0, topics } as const;
    const { responses } = await this.call(broker, () => broker.listOffsets(request));
    const answers = responses.flatMap((response) => response.partitions);
    return new Map(answers.map(({ partition, offset }) => [partition, BigInt(offset)]));
  }

  /** Sends a request of our own encoding. */
  async send<T>(broker: Broker, request: WireRequest<T>, timeoutMs = this.requestTimeoutMs): Promise<T> {
    const known = broker.versions?.[request.apiKey]?.maxVersion ?? 0;
    if (known < request.apiVersion) throw new BrokerError(UNSUPPORTED_VERSION, 'Kafka 2.4 or newer is needed');
    return this.call(broker, () => sendRequest(broker, request, timeoutMs), timeoutMs);
  }

  /** Runs a request of kafkajs. When no answer comes in time or the connection is lost, the broker is connected to anew. */
  async call<T>(broker: Broker, run: () => Promise<T>, timeoutMs = this.requestTimeoutMs): Promise<T> {
    try {
      return await withDeadline(run(), timeoutMs, 'the answer of a broker');
    } catch (error) {
      if (isConnectionLost(error)) this.#giveUp(broker);
      throw error;
    }
  }

  /** Closes all connections; what is under way is rejected. */
  close(): void {
    this.#closed = true;
    if (this.#seed !== undefined) closeBroker(this.#seed.broker, CLOSED);
    for (const { broker } of this.#nodes.values()) closeBroker(broker, CLOSED);
    this.#nodes.clear();
  }

  async #connect(broker: Broker): Promise<Broker> {
    if (this.#closed) throw new Error(CLOSED);
    if (isReady(broker)) return broker;
    await this.call(broker, () => broker.connect(), broker.connectionPool.connectionTimeout + this.requestTimeoutMs);
    if (!this.#closed) return broker;
    closeBroker(broker, CLOSED);
    throw new Error(CLOSED);
  }

  #giveUp(broker: Broker): void {
    closeBroker(broker, 'it did not answer');
    if (this.#seed?.broker === broker) this.#seed = undefined;
    for (const node of this.#nodes.values()) {
      if (node.broker === broker) node.broker = openBroker(node.address, this.#connection);
    }
  }

  #note(nodeId: number, { host, port }: BrokerAddress): void {
    const node = this.#nodes.get(nodeId);
    if (node?.address.host === host && node.address.port === port) return;
    if (node !== undefined) closeBroker(node.broker, `broker ${nodeId} has moved`);
    const address = { nodeId, host, port };
    const isSeed = this.#seed?.address.host === host && this.#seed.address.port === port;
    const broker = isSeed && this.#seed !== undefined ? this.#seed.broker : openBroker(address, this.#connection);
    if (isSeed) this.#seed = undefined;
    this.#nodes.set(nodeId, { address, broker });
  }

  #replace(brokers: ClusterMetadata['brokers']): void {
    if (this.#closed || brokers.length === 0) return;
    for (const broker of brokers) this.#note(broker.nodeId, broker);
    const named = new Set(brokers.map(({ nodeId }) => nodeId));
    for (const [nodeId, { broker }] of this.#nodes) {
      if (named.has(nodeId)) continue;
      closeBroker(broker, `broker ${nodeId} has left the cluster`);
      this.#nodes.delete(nodeId);
    }
  }
}

const CLOSED = 'the client was closed';

/** Connected, and its API versions are known: without them kafkajs can send nothing, and we would take it for an old one. */
function isReady(broker: Broker): boolean {
  return broker.isConnected() && broker.versions !== null;
}

function parseAddress(text: string): BrokerAddress {
  const [, host = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(text) ?? [];
  if (host === '' || port === '') throw new TypeError(`not host:port: ${text}`);
  return { host, port: Number(port) };
}

function shuffle<T>(items: readonly T[]): T[] {
  return items
    .map((item) => [Math.random(), item] as const)
    .sort((a, b) => a[0] - b[0])
    .map(([, item]) => item);
}
