import { type Address, connectRedisNode, type RedisConnection, type RedisLocation, readHello } from '@spanbuf/service';
import type { Redis } from 'ioredis';

/** What was found where Redis is said to be. */
export interface RedisSystem {
  readonly kind: RedisLocation['kind'];
  readonly nodes: readonly RedisNode[];
  /** Of a cluster: CLUSTER INFO and the slots that some node serves; `undefined` where this user may not ask. */
  readonly cluster: { readonly info: string; readonly slotCount: number } | undefined;
  /** Where nothing could be asked what nodes there are. */
  readonly problem: string | undefined;
  close(): void;
}

/** One node, as far as it answers. */
export interface RedisNode {
  /** `host:port` */
  readonly name: string;
  readonly isReplica: boolean;
  /** Why it cannot be connected to; then all the rest is missing. */
  readonly problem: string | undefined;
  readonly client: Redis | undefined;
  /** Fields of HELLO. */
  readonly hello: ReadonlyMap<string, string>;
  /** Fields of INFO; `undefined` where this user may not ask. */
  readonly info: ReadonlyMap<string, string> | undefined;
}

const SLOT_FROM = 0;
const SLOT_TO = 1;

/** Connects to every node there is, one by one: what one of them does not do is to be said of that one. */
export async function openRedisNodes({ location, tlsCa }: RedisConnection): Promise<RedisSystem> {
  const identity = { clientName: 'spanbuf-doctor', tlsCa };
  const connect = (address: Address): Promise<Redis> => connectRedisNode(location, address, identity);
  const clients: Redis[] = [];
  const close = (): void => {
    for (const client of clients) client.disconnect();
  };
  const open = async (address: Address, isReplica: boolean): Promise<RedisNode> => {
    const name = nameOf(address);
    const nothing = { name, isReplica, client: undefined, hello: new Map<string, string>(), info: undefined };
    try {
      const client = await connect(address);
      clients.push(client);
      return {
        name,
        isReplica,
        problem: undefined,
        client,
        hello: await readHello(client),
        info: await readInfo(client),
      };
    } catch (error) {
      return { ...nothing, problem: (error as Error).message };
    }
  };
  if (location.kind === 'node') {
    const node = await open(location.address, false);
    return { kind: 'node', nodes: [node], cluster: undefined, problem: node.problem, close };
  }
  const problems: string[] = [];
  for (const seed of location.seeds) {
    try {
      const client = await connect(seed);
      clients.push(client);
      if ((await readHello(client)).get('mode') !== 'cluster') {
        const node = await open(seed, false);
        return { kind: 'cluster', nodes: [node], cluster: undefined, problem: undefined, close };
      }
      const slots = (await client.call('CLUSTER', 'SLOTS')) as SlotRange[];
      const nodes = await Promise.all(
        [...addressesOf(slots, seed)].map(async ([, { address, isReplica }]) => open(address, isReplica)),
      );
      const slotCount = slots.reduce((sum, range) => sum + Number(range[SLOT_TO]) - Number(range[SLOT_FROM]) + 1, 0);
      const info = String(await client.call('CLUSTER', 'INFO'));
      return { kind: 'cluster', nodes, cluster: { info, slotCount }, problem: undefined, close };
    } catch (error) {
      problems.push(`${nameOf(seed)}: ${(error as Error).message}`);
    }
  }
  return { kind: 'cluster', nodes: [], cluster: undefined, problem: problems.join('; '), close };
}

/** First slot, last slot, then the master and its replicas: host, port, … */
type SlotRange = readonly [number, number, ...(readonly [string | null, number, ...unknown[]])[]];

function addressesOf(slots: readonly SlotRange[], seed: Address) {
  const found = new Map<string, { address: Address; isReplica: boolean }>();
  for (const [, , ...nodes] of slots) {
    for (const [at, [host, port]] of nodes.entries()) {
      // A node that does not know its own address means the one that it was asked at.
      const address = { host: host || seed.host, port: Number(port) };
      const name = nameOf(address);
      if (!found.has(name)) found.set(name, { address, isReplica: at > 0 });
    }
  }
  return found;
}

async function readInfo(client: Redis): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    const lines = String(await client.info()).split(/\r?\n/);
    return new Map(lines.flatMap((line) => (line.includes(':') ? [line.split(/:(.*)/s, 2) as [string, string]] : [])));
  } catch (error) {
    if (isDenied(error)) return undefined;
    throw error;
  }
}

/** Whether Redis does not let this user ask, or does not know the command: managed ones leave some out. */
export function isDenied(error: unknown): boolean {
  return error instanceof Error && /^(NOPERM|ERR unknown (command|subcommand))/.test(error.message);
}

function nameOf({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
