/**
 * Real Redis servers for tests and benchmarks: single nodes and clusters, on loopback, on free ports, without
 * persistence, each in a temporary directory of its own. They end with `stop()`, and also when the process that started
 * them ends in any way, SIGKILL included. Servers that ask for a password are not supported in a cluster.
 */
import { Redis } from 'ioredis';
import { type RedisOptions, type RedisServer, START_TIMEOUT_MS, startServer } from './redis-server.ts';
import { HOST, until } from './server-process.ts';

export type { RedisOptions, RedisServer } from './redis-server.ts';

const SLOTS = 16_384;

/**
 * Starts one Redis server and waits until it answers.
 * @throws Error when redis-server is not installed, or with its output when it does not start.
 */
export function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  return startServer(options);
}

interface ClusterNodeLine {
  readonly id: string;
  readonly flags: readonly string[];
  readonly masterId: string;
  readonly configEpoch: number;
  readonly connected: boolean;
  readonly slots: readonly string[];
}

/** A slot on its way from one node to another. */
export interface SlotMigration {
  /** Moves these keys, or all that are left, with MIGRATE. Throws when none of the given keys exists. */
  moveKeys(keys?: readonly (string | Buffer)[]): Promise<void>;
  /** Moves the keys that are left, gives the slot to the new node, waits until every node knows. */
  finish(): Promise<void>;
}

/** A Redis Cluster on loopback. Nodes that are killed or paused are left out of everything until they run again. */
export class RedisClusterServers {
  /** The nodes that started as masters first, then the replicas: the first replica of each master, and so on. */
  readonly nodes: readonly RedisServer[];
  readonly url: string;
  /** `rediss-cluster://…`, of nodes with certificates. */
  readonly tlsUrl: string | undefined;
  readonly seeds: readonly { readonly host: string; readonly port: number }[];
  readonly #masters: number;
  readonly #timeoutMs: number;
  readonly #ids = new Map<RedisServer, string>();

  /** Use `startRedisCluster` instead. */
  constructor(nodes: readonly RedisServer[], masters: number, nodeTimeoutMs: number) {
    this.nodes = nodes;
    this.seeds = nodes.map((node) => node.connection);
    this.url = `redis-cluster://${nodes.map((node) => `${HOST}:${node.port}`).join(',')}`;
    const tlsPorts = nodes.flatMap(({ tlsPort }) => tlsPort ?? []);
    this.tlsUrl = tlsPorts.length > 0 ? `rediss-cluster://${tlsPorts.map((port) => `${HOST}:${port}`)}` : undefined;
    this.#masters = masters;
    this.#timeoutMs = START_TIMEOUT_MS + 4 * nodeTimeoutMs;
  }

  /** Stops all nodes. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  /** Makes a cluster of the started nodes. Called once, by `startRedisCluster`. */
  async form(): Promise<void> {
    const { nodes } = this;
    for (const [index, node] of nodes.entries()) {
      this.#ids.set(node, String(await clusterCall(node, 'MYID')));
      await clusterCall(node, 'SET-CONFIG-EPOCH', index + 1);
      const first = (share: number) => Math.floor((SLOTS * share) / this.#masters);
      if (index < this.#masters) await clusterCall(node, 'ADDSLOTSRANGE', first(index), first(index + 1) - 1);
    }
    // Everyone meets everyone: quicker than waiting for gossip.
    for (const [index, node] of nodes.entries()) {
      for (const other of nodes.slice(index + 1))
        await clusterCall(node, 'MEET', HOST, peerPort(other), other.busPort ?? 0);
    }
    await this.#until('nodes know each other', () => this.#everyNodeSeesTheOthers());
    for (const [index, node] of nodes.entries()) {
      const master = nodes[index % this.#masters];
      if (index >= this.#masters && master) await clusterCall(node, 'REPLICATE', this.#id(master));
    }
    await this.settled();
  }

  /**
   * Waits until all running nodes are up, agree who owns which slot at which epoch, and replicas are in step. Throws on
   * time-out. A node that had not heard of the last epoch would take the same one for the next slot it is given, and a late
   * packet of the other node could then take that slot back for ever.
   */
  async settled(): Promise<void> {
    await this.#until('nodes agree and are ok', async () => {
      if (!(await this.#everyNodeSeesTheOthers())) return false;
      const views = await Promise.all(this.#running().map((node) => this.#view(node)));
      return new Set(views).size === 1 && !views.includes('not ok') && (await this.#epochsDiffer());
    });
  }

  /** The running master that owns a slot. */
  async ownerOf(slot: number): Promise<RedisServer> {
    let owner: { node: RedisServer; configEpoch: number } | undefined;
    for (const node of this.#running()) {
      const { slots, configEpoch } = await this.#self(node);
      if (slots.some((range) => contains(range, slot)) && configEpoch >= (owner?.configEpoch ?? 0)) {
        owner = { node, configEpoch };
      }
    }
    if (!owner) throw new Error(`no running node owns slot ${slot}`);
    return owner.node;
  }

  /** Moves a slot with all its keys to another master. */
  async migrateSlot(slot: number, toNode: RedisServer): Promise<void> {
    await (await this.beginSlotMigration(slot, toNode)).finish();
  }

  /** Opens a slot for moving (ASK and TRYAGAIN from now on) and moves nothing yet. */
  async beginSlotMigration(slot: number, toNode: RedisServer): Promise<SlotMigration> {
    const fromNode = await this.ownerOf(slot);
    if (fromNode === toNode) throw new Error(`the node on port ${toNode.port} has slot ${slot} already`);
    await clusterCall(toNode, 'SETSLOT', slot, 'IMPORTING', this.#id(fromNode));
    await clusterCall(fromNode, 'SETSLOT', slot, 'MIGRATING', this.#id(toNode));
    const moveKeys = (keys?: readonly (string | Buffer)[]) =>
      keys ? migrateKeys(fromNode, toNode, keys) : migrateSlotKeys(fromNode, toNode, slot);
    const finish = async () => {
      await moveKeys();
      const others = await this.#runningMasters();
      // The new owner first: it raises the epoch, so that nobody is told of an owner that does not know it yet.
      for (const node of new Set([toNode, fromNode, ...others])) {
        await clusterCall(node, 'SETSLOT', slot, 'NODE', this.#id(toNode));
      }
      await this.settled();
    };
    return { moveKeys, finish };
  }

  /**
   * Makes a replica take over. A running master is replaced in an orderly way (CLUSTER FAILOVER) and becomes a replica; of
   * a killed or paused one the automatic fail-over is awaited, which needs most masters alive.
   * @returns the new master. @throws Error when no replica took over in time.
   */
  async failover(master: RedisServer): Promise<RedisServer> {
    const shard = this.nodes.indexOf(master) % this.#masters;
    const heirs = this.#running().filter(
      (node) => node !== master && this.nodes.indexOf(node) % this.#masters === shard,
    );
    if (heirs.length === 0) throw new Error(`the master on port ${master.port} has no running replica`);
    if (master.running && heirs[0]) await clusterCall(heirs[0], 'FAILOVER');
    let successor: RedisServer | undefined;
    await this.#until('replica has taken over', async () => {
      for (const heir of heirs) {
        if ((await this.#self(heir)).flags.includes('master')) successor = heir;
      }
      return successor !== undefined;
    });
    await this.settled();
    return successor as RedisServer;
  }

  #running(): RedisServer[] {
    return this.nodes.filter((node) => node.running);
  }

  #id(node: RedisServer): string {
    const id = this.#ids.get(node);
    if (id === undefined) throw new Error(`the server on port ${node.port} is not a node of this cluster`);
    return id;
  }

  async #runningMasters(): Promise<RedisServer[]> {
    const nodes = this.#running();
    const lines = await Promise.all(nodes.map((node) => this.#self(node)));
    return nodes.filter((_, index) => lines[index]?.flags.includes('master'));
  }

  async #self(node: RedisServer): Promise<ClusterNodeLine> {
    const line = (await clusterNodes(node)).find(({ flags }) => flags.includes('myself'));
    if (!line) throw new Error(`the node on port ${node.port} does not list itself`);
    return line;
  }

  async #everyNodeSeesTheOthers(): Promise<boolean> {
    const nodes = this.#running();
    const ids = nodes.map((node) => this.#id(node));
    const views = await Promise.all(nodes.map(clusterNodes));
    const healthy = ({ connected, flags }: ClusterNodeLine) =>
      connected && !['fail', 'fail?', 'handshake', 'noaddr'].some((flag) => flags.includes(flag));
    return views.every((view) => ids.every((id) => view.some((line) => line.id === id && healthy(line))));
  }

  /** What a node thinks of the running nodes, in a form that can be compared, or 'not ok'. */
  async #view(node: RedisServer): Promise<string> {
    const state = String(await clusterCall(node, 'INFO'));
    const replication = await withClient(node, (client) => client.info('replication'));
    const ok = /cluster_state:ok/.test(state) && /cluster_slots_ok:16384/.test(state);
    if (!ok || /master_link_status:down/.test(replication)) return 'not ok';
    const ids = this.#running().map((other) => this.#id(other));
    const lines = (await clusterNodes(node)).filter(({ id }) => ids.includes(id));
    return lines
      .map(({ id, masterId, configEpoch, slots }) => [id, masterId, configEpoch, ...slots].join(' '))
      .sort()
      .join('\n');
  }

  async #epochsDiffer(): Promise<boolean> {
    const masters = await this.#runningMasters();
    const lines = await Promise.all(masters.map((node) => this.#self(node)));
    return new Set(lines.map(({ configEpoch }) => configEpoch)).size === lines.length;
  }

  #until(what: string, condition: () => Promise<boolean>): Promise<void> {
    return until(what, this.#timeoutMs, async () => {
      try {
        return await condition();
      } catch (error) {
        if (/LOADING/.test(String(error))) return false; // a replica that takes over its master's data
        throw error;
      }
    });
  }
}

/**
 * Starts a Redis Cluster and waits until every node says it is ok and knows all slots.
 * @param options `masters` (3; a fail-over needs 3 or more), `replicas` for each master (0), `nodeTimeoutMs`
 *   (`cluster-node-timeout`, 5000); the others are for every node.
 */
export async function startRedisCluster(
  options: RedisOptions & { masters?: number; replicas?: number; nodeTimeoutMs?: number } = {},
): Promise<RedisClusterServers> {
  const { masters = 3, replicas = 0, nodeTimeoutMs = 5_000, args = [], ...nodeOptions } = options;
  // Replicas stay with their master, and masters stay masters, whatever slots move; replicas are in step at once.
  const nodeArgs = [
    `--cluster-announce-ip ${HOST} --cluster-node-timeout ${nodeTimeoutMs} --cluster-require-full-coverage yes`,
    '--cluster-allow-replica-migration no --repl-diskless-sync-delay 0',
  ].flatMap((line) => line.split(' '));
  const count = masters * (1 + replicas);
  const started = await Promise.allSettled(
    Array.from({ length: count }, () => startServer({ ...nodeOptions, args: [...nodeArgs, ...args] }, true)),
  );
  const nodes = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const servers = new RedisClusterServers(nodes, masters, nodeTimeoutMs);
  try {
    for (const result of started) if (result.status === 'rejected') throw result.reason;
    await servers.form();
    return servers;
  } catch (error) {
    await servers.stop();
    throw error;
  }
}

async function withClient<T>(node: RedisServer, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({
    ...node.connection,
    enableReadyCheck: false,
    retryStrategy: () => null,
    commandTimeout: START_TIMEOUT_MS,
  });
  client.on('error', () => {});
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

function clusterCall(node: RedisServer, ...args: (string | number)[]): Promise<unknown> {
  return withClient(node, (client) => client.call('CLUSTER', args));
}

async function clusterNodes(node: RedisServer): Promise<ClusterNodeLine[]> {
  const lines = String(await clusterCall(node, 'NODES'))
    .trim()
    .split('\n');
  return lines.map((line) => {
    const [id = '', , flags = '', masterId = '', , , configEpoch, link, ...slots] = line.split(' ');
    const owned = slots.filter((slot) => !slot.startsWith('['));
    return {
      id,
      flags: flags.split(','),
      masterId,
      configEpoch: Number(configEpoch),
      connected: link === 'connected',
      slots: owned,
    };
  });
}

/** The port that other nodes know a node by. */
const peerPort = ({ tlsPort, port }: RedisServer): number => tlsPort ?? port;

function contains(range: string, slot: number): boolean {
  const [first, last = first] = range.split('-').map(Number);
  return first !== undefined && last !== undefined && first <= slot && slot <= last;
}

async function migrateKeys(from: RedisServer, to: RedisServer, keys: readonly (string | Buffer)[]): Promise<void> {
  const target = [HOST, peerPort(to), '', 0, START_TIMEOUT_MS, 'KEYS'];
  const reply = await withClient(from, (client) => client.call('MIGRATE', [...target, ...keys]));
  if (reply !== 'OK') throw new Error(`MIGRATE moved nothing: ${reply}`);
}

async function migrateSlotKeys(from: RedisServer, to: RedisServer, slot: number): Promise<void> {
  for (;;) {
    const keys = await withClient(from, (client) => client.callBuffer('CLUSTER', ['GETKEYSINSLOT', slot, 100]));
    if ((keys as Buffer[]).length === 0) return;
    await migrateKeys(from, to, keys as Buffer[]);
  }
}
