import { readFileSync } from 'node:fs';
import { formatPayloadKey, formatSegmentKey, formatTraceKey, hashSlot } from '@spanbuf/keys';
import { connectCluster } from '@spanbuf/tooling/redis-clients';
import { type RedisClusterServers, type RedisServer, startRedis } from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  createAuditor,
  createBufferControl,
  createInspector,
  createLedger,
  createLossWatch,
  createRedisStore,
  createRollout,
  createTraceWatch,
  type Ledger,
  ReceiptsKeeper,
  type RedisStoreOptions,
  type SealedGeneration,
  type SegmentPolicy,
  type SegmentStore,
  type TraceAddition,
} from '../src/index.ts';
import { segmentStoreContract } from '../src/testing/index.ts';
import { on, startClusterWithSpare } from './servers.ts';
import { aSlice, aTrace } from './stores.ts';

/** deploy/redis/users.acl: what it permits is enough, needed, and all there is. */

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const USERS = ['spanbuf-consumer', 'spanbuf-flusher', 'spanbuf-operator'] as const;
type User = (typeof USERS)[number];

const RULES = new Map(
  readFileSync(new URL('../../../deploy/redis/users.acl', import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      // Selectors have blanks inside.
      const [, name, ...rules] = line.match(/\([^)]*\)|\S+/g) ?? [];
      return [name as User, rules];
    }),
);
const passwordOf = (user: User) =>
  RULES.get(user)
    ?.find((rule) => rule.startsWith('>'))
    ?.slice(1) as string;
const commandsOf = (user: User) =>
  (RULES.get(user) ?? []).filter((rule) => rule.startsWith('+')).map((rule) => rule.slice(1));

let single: RedisServer;
let servers: RedisClusterServers;
let spare: RedisServer;

async function setUsers(nodes: readonly RedisServer[]): Promise<void> {
  for (const node of nodes) {
    await on(node, async (admin) => {
      for (const [user, rules] of RULES) await admin.call('ACL', ['SETUSER', user, 'reset', ...rules]);
    });
  }
}

const clients: (Redis | Cluster)[] = [];

beforeAll(async () => {
  single = await startRedis();
  ({ servers, spare } = await startClusterWithSpare());
  await setUsers([single, ...servers.nodes]);
});
afterAll(async () => {
  for (const client of clients) client.disconnect();
  await Promise.all([single.stop(), servers.stop()]);
});

const TOPOLOGIES = ['one node', 'a cluster'] as const;
type Topology = (typeof TOPOLOGIES)[number];
const nodesOf = (topology: Topology) => (topology === 'one node' ? [single] : servers.nodes);

/** As the services connect. Without a user: as the one who may do everything. */
async function login(topology: Topology, user?: User): Promise<Redis | Cluster> {
  const options = {
    ...(user && { username: user, password: passwordOf(user) }),
    connectionName: 'spanbuf',
    disableClientInfo: true,
  };
  const client =
    topology === 'one node'
      ? new Redis({ ...single.connection, ...options, retryStrategy: () => null })
      : connectCluster(servers.url, { redisOptions: options, clusterRetryStrategy: () => null });
  client.on('error', () => undefined);
  clients.push(client);
  if (client.status !== 'ready')
    await new Promise<void>((resolve, reject) => {
      client.once('ready', resolve);
      client.once('end', () => reject(new Error('no connection')));
    });
  return client;
}

const POLICY: SegmentPolicy = {
  rootTimeoutSeconds: 10,
  timeoutSeconds: 60,
  maxAgeSeconds: 600,
  maxSegmentBytes: 1_000,
};
/** What is written to both places takes all commands that payloads need, but for that which reads the other place. */
const LAYOUT = 'dual-read-colocated';
const T0 = 1_700_000_000;
const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];

function addition(
  trace: ReturnType<typeof aTrace>,
  topId: string,
  spans: readonly (readonly [spanId: string, offset?: bigint, bytes?: number])[],
  partition = 0,
): TraceAddition {
  const stored = spans.map(([spanId, offset, bytes = 2]) => {
    const span = { spanId, parentId: topId, partition, payload: Buffer.alloc(bytes, 'x') };
    return offset === undefined ? span : { ...span, offset };
  });
  return { ...trace, subsegments: [{ topId, hasRoot: spans.some(([id]) => id === topId), spans: stored }] };
}

/** All that a consumer ever does: unites, seals for size, leaves out replays; marks clocks and reads the state. */
async function consume(client: Redis | Cluster, sliceId: number): Promise<void> {
  const options = { sliceId, deadlineSeconds: 5 };
  const losses = createLossWatch(client, options);
  const { epoch } = await losses.check(0);
  expect((await losses.check(epoch)).epoch).toBe(epoch);
  await losses.suspect(epoch, 'a payload is missing');
  const { epoch: next } = await losses.check(epoch);
  await keepBooks(createLedger(client, options));
  const store = createRedisStore(client, {
    ...options,
    layout: LAYOUT,
    epoch: next,
    waitReplicas: 1,
    waitSeconds: 0.01,
  });
  const control = createBufferControl(client, options);
  await createTraceWatch(client, options).read();
  const trace = aTrace();
  const add = async (one: TraceAddition, policy = POLICY): Promise<void> => {
    // There are no replicas to wait for.
    await expect(store.add([one], policy, { now: T0 })).rejects.toThrow('0 of 1 replicas');
  };
  await control.markClocks(new Map([[0, { messageSeconds: T0, behindSeconds: 0 }]]));
  const process = { id: 'consumer', app: 'consumer', version: '1', layout: LAYOUT } as const;
  await control.announceProcess({ ...process, writes: { maxAgeSeconds: 600, shards: [0] } }, 60);
  await control.withdrawProcess('consumer');
  await add(addition(trace, B, [[C, 1n]]));
  await add(addition(trace, A, [[A, 2n]], 1));
  await add(addition(trace, A, [[B, 3n]], 1));
  await add(addition(trace, A, [['d'.repeat(16), 4n, 1_000]], 1));
  await add(
    addition(
      trace,
      A,
      [
        ['e'.repeat(16), 4n],
        ['f'.repeat(16), 5n],
      ],
      1,
    ),
  );
  await add(addition(trace, A, [['f'.repeat(16), 5n]], 1));
  // Several, as some of what is found is parked.
  for (const from of [100n, 200n, 300n]) {
    const inARow = Array.from({ length: 40 }, (_, i) => [i.toString(16).padStart(16, '0'), from + BigInt(i)] as const);
    await add(addition(aTrace(), A, inARow, 1));
  }
  const state = await control.readState();
  expect(state.shards.map(({ shard }) => shard)).toContain(1);
  expect(state.memory.length, 'nodes that let INFO be asked').toBeGreaterThan(0);
}

async function keepBooks(ledger: Ledger): Promise<void> {
  // Of their own, as they are begun earlier than they were.
  const source = aTrace().traceId;
  await ledger.open([
    { partition: 0, source, offset: 9n },
    { partition: 1, source: '', offset: 0n },
  ]);
  await ledger.take([{ partition: 0, source, offset: 60n }]);
  await ledger.settle([{ partition: 0, source, fromOffset: 11n, toOffset: 50n, fate: 'absent' }]);
  await ledger.open([{ partition: 0, source, offset: 6n }]);
  const books = await ledger.read([0]);
  expect(books.find((each) => each.source === source)?.firstOpenOffset).toBe(6n);
  for (const copy of await ledger.copy([0])) await ledger.restore(copy);
  expect(await ledger.settledAmong(0, source, [10n, 20n])).toEqual(new Set([20n]));
}

/** A claim draws its order by lot; what has many spans is not to be the one that is parked. */
function smallestFirst(generations: readonly SealedGeneration[]): SealedGeneration[] {
  return [...generations].sort((a, b) => a.spanCount - b.spanCount);
}

/** All that a flusher ever does, with what a consumer has left: gives back, parks, completes; says that it lives. */
async function flush(client: Redis | Cluster, sliceId: number): Promise<void> {
  const options = { sliceId, deadlineSeconds: 5 };
  const losses = createLossWatch(client, options);
  const epoch = await losses.readEpoch();
  await losses.suspect(epoch as number, 'a payload is missing');
  await losses.isWhole(epoch as number);
  const store = createRedisStore(client, { ...options, layout: LAYOUT, dedupeWindowSeconds: 0, epoch });
  const control = createBufferControl(client, options);
  await control.announceFlusher('one', 60);
  const process = { id: 'one', app: 'flusher', version: '1', layout: LAYOUT } as const;
  await control.announceProcess({ ...process, reads: { leaseSeconds: 60 } }, 60);
  await createTraceWatch(client, options).read();
  expect((await control.readState()).memory.length, 'nodes that let INFO be asked').toBeGreaterThan(0);
  const claimed = await store.claim({ now: T0, limit: 100, drain: true });
  expect(claimed.length).toBeGreaterThan(2);
  const read = await store.read(claimed);
  // A generation claimed again is another object; segments of different traces share their id here.
  const nameOf = ({ traceId, segmentId, generation }: SealedGeneration) => `${traceId} ${segmentId} ${generation}`;
  const spans = new Map(claimed.map((generation, i) => [nameOf(generation), read[i] ?? []]));
  await store.release(claimed);
  const [first, ...others] = smallestFirst(await store.claim({ now: T0 + 1_000, limit: 100 }));
  if (first) await store.park([{ generation: first, reason: 'refused' }], { tries: 2 });
  for await (const _ of store.keepParked());
  await store.complete(
    others,
    others.map((generation) => spans.get(nameOf(generation)) ?? []),
  );
  expect(await store.claim({ now: T0 + 1_000, limit: 100 })).toEqual([]);
  await lookAfterReceipts(createLedger(client, options));
  await control.withdrawFlusher('one');
  await control.withdrawProcess('one');
}

/** Gives receipts again as if Redis had lost them, with the books and without. */
async function lookAfterReceipts(ledger: Ledger): Promise<void> {
  const source = aTrace().traceId;
  const keeper = new ReceiptsKeeper(ledger);
  await ledger.open([{ partition: 0, source, offset: 5n }]);
  keeper.given([{ partition: 0, source, fromOffset: 7n, toOffset: 50n, fate: 'idle' }]);
  expect(await keeper.look()).toEqual([{ partition: 0, receiptCount: 43 }]);
  await ledger.open([{ partition: 0, source, offset: 2n }]);
  for (const copy of await ledger.copy([0])) await ledger.restore(copy);
}

/** All that an operator ever does: looks at what there is; sees to what is parked; audits; asks about a layout; watches a trace. */
async function operate(client: Redis | Cluster, sliceId: number): Promise<void> {
  const options = { sliceId, deadlineSeconds: 5 };
  const epoch = await createLossWatch(client, options).readEpoch();
  const store = createRedisStore(client, { ...options, epoch, layout: LAYOUT });
  const watch = createTraceWatch(client, options);
  const trace = aTrace();
  expect(await watch.watch(trace, 60)).toBe(true);
  expect(await watch.read()).toHaveLength(1);
  expect(await watch.unwatch(trace)).toBe(true);
  const parked = await store.listParked({ limit: 100 });
  expect(parked.length).toBeGreaterThan(1);
  const inspector = createInspector(client, options);
  const report = await inspector.readQueues();
  expect((await inspector.sampleQueues(report, 100)).sampledCount).toBeGreaterThan(0);
  await inspector.readTotals(report.shards.map(({ shard }) => shard));
  expect((await inspector.readNodes()).map(({ load }) => load)).not.toContain(undefined);
  for (const trace of parked) expect((await inspector.inspectTrace(trace))?.segments).not.toEqual([]);
  await store.readParked(parked);
  await store.retryParked(parked.filter(({ shard }) => shard !== 2));
  await store.deleteParked(parked.filter(({ shard }) => shard === 2));
  // What is old is told by its idle time, or is not asked for.
  for (const minAgeSeconds of [0.001, 0])
    await createAuditor(client, { ...options, minAgeSeconds }).audit({ repair: true, writeOff: true });
  await createRollout(client, options).check(LAYOUT);
}

const WORK = { 'spanbuf-consumer': consume, 'spanbuf-flusher': flush, 'spanbuf-operator': operate };

/** What each of them finds: what others have left of every kind, something parked, payloads of every layout, a late entry. */
async function prepare(topology: Topology, sliceId: number): Promise<void> {
  const admin = await login(topology);
  await consume(admin, sliceId);
  const store = createRedisStore(admin, { sliceId, epoch: await createLossWatch(admin, { sliceId }).readEpoch() });
  const [first, ...others] = smallestFirst(await store.claim({ now: T0, limit: 100, shards: [1] }));
  if (first) await store.park([{ generation: first, reason: 'refused' }]);
  await store.release(others);
  // Receipts of many offsets in a row are not written as those of a few.
  const many = Array.from({ length: 50 }, (_, i) => [`${i}`.padStart(16, 'a'), BigInt(i < 40 ? i : 2 * i)] as const);
  await createLedger(admin, { sliceId }).open([{ partition: 2, source: '', offset: 0n }]);
  await store.add([addition(aTrace(), many[0]?.[0] as string, many, 2)], POLICY, { now: T0 });
  const more = await store.claim({ now: T0 + 10, limit: 100, shards: [2] });
  await store.park(more.map((generation) => ({ generation, reason: 'refused' })));
  await store.add([addition(aTrace(), B, [[C]])], { ...POLICY, maxAgeSeconds: 0.001 }, { now: T0 });
  // What a consumer wrote that died before it linked it.
  const orphan = { ...aTrace(), spanId: A, writeId: 'w' };
  await admin.set(formatPayloadKey(orphan), 'bytes', 'EX', 1_000);
  await admin.hset(formatSegmentKey(orphan), 'w', 'bytes');
}

describe.each(TOPOLOGIES)('the users are permitted all that the contract asks for, on %s', (topology) => {
  let own: (Redis | Cluster)[];
  beforeAll(async () => {
    own = await Promise.all(USERS.map((user) => login(topology, user)));
  });

  segmentStoreContract((options) => {
    const same: RedisStoreOptions = { sliceId: aSlice(), layout: LAYOUT, ...options };
    const stores = own.map((client) => createRedisStore(client, same));
    const [consumer, flusher, operator] = stores as [SegmentStore, SegmentStore, SegmentStore];
    return {
      add: (...call) => consumer.add(...call),
      claim: (...call) => flusher.claim(...call),
      read: (...call) => flusher.read(...call),
      complete: (...call) => flusher.complete(...call),
      release: (...call) => flusher.release(...call),
      park: (...call) => flusher.park(...call),
      keepParked: () => flusher.keepParked(),
      listParked: (...call) => operator.listParked(...call),
      readParked: (...call) => operator.readParked(...call),
      retryParked: (...call) => operator.retryParked(...call),
      deleteParked: (...call) => operator.deleteParked(...call),
    };
  });
});

describe('anything else', () => {
  it.each(USERS)('is refused to %s', async (user) => {
    const client = await login('one node', user);
    const refused = [
      ['FLUSHALL'],
      ['FLUSHDB'],
      ['KEYS', '*'],
      ...(user === 'spanbuf-operator' ? [] : [['SCAN', '0']]),
      ['CONFIG', 'GET', '*'],
      ['DEBUG', 'SLEEP', '0'],
      ['SHUTDOWN'],
      ['ACL', 'LIST'],
      ['CLIENT', 'LIST'],
      ['CLUSTER', 'RESET'],
      ['SCRIPT', 'FLUSH'],
      ['MIGRATE', '127.0.0.1', '1', 'span-buf:shards', '0', '1'],
      ['SUBSCRIBE', 'channel'],
      ['PUBLISH', 'channel', 'message'],
      ['HGET', 'other:key', 'field'],
      ['HSET', 'other:key', 'field', 'value'],
      ['UNLINK', 'other:key'],
      ['GETRANGE', 'span-buf:s:{1}', '0', '-1'],
      ['EVAL', "return redis.call('HGET', 'other:key', 'field')", '0'],
      ['EVAL', "return redis.call('FLUSHALL')", '0'],
      user === 'spanbuf-consumer' ? ['GET', 'span-buf:s:{1}'] : ['SET', 'span-buf:s:{1}', 'value'],
      ...(user === 'spanbuf-operator' ? [] : [['ZADD', 'span-buf:watched', '1', 'x']]),
      ...(user === 'spanbuf-consumer' ? [['ZADD', 'span-buf:flushers', '1', 'x']] : []),
      ...(user === 'spanbuf-flusher' ? [['HSET', 'span-buf:clocks', '1', '1 1 0']] : []),
    ];
    for (const [name = '', ...args] of refused) {
      await expect(client.call(name, args), [name, ...args].join(' ')).rejects.toThrow(
        /NOPERM|user executing the script can't|ACL failure in script|DEBUG command not allowed/,
      );
    }
  });
});

describe.each(USERS)('each command that %s is permitted', (user) => {
  // ioredis sends ASKING where nobody waits for its answer: a refusal would end the process.
  const ON_A_CLUSTER = ['eval', 'cluster|slots', 'cluster|info'];

  it.each(commandsOf(user).filter((command) => command !== 'asking'))('is one that it needs: %s', async (command) => {
    const topology = ON_A_CLUSTER.includes(command) ? 'a cluster' : 'one node';
    const nodes = nodesOf(topology);
    const sliceId = aSlice();
    // An audit looks at everything: what other tests have left would take it longer each time.
    for (const node of nodes) await on(node, (admin) => admin.flushall());
    await prepare(topology, sliceId);
    for (const node of nodes) {
      await on(node, async (admin) => {
        await admin.call('ACL', ['SETUSER', user, `-${command}`]);
        await admin.call('ACL', ['LOG', 'RESET']);
        await admin.script('FLUSH');
      });
    }
    onTestFinished(() => setUsers(nodes));
    // ioredis goes on without some of them, and says so.
    const warnings = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const work = login(topology, user).then((client) =>
      command === 'eval' ? followAMove(client, user, sliceId) : WORK[user](client, sliceId),
    );
    await work.catch(() => undefined);
    warnings.mockRestore();
    const refused = await Promise.all(nodes.map((node) => on(node, (admin) => admin.call('ACL', ['LOG']))));
    expect(refused.flat().map((entry) => objectOf(entry as unknown[] | Record<string, unknown>))).toContain(command);
  });

  it('is one that it needs: asking', async () => {
    const client = await login('a cluster', user);
    await on(spare, (admin) => admin.config('RESETSTAT'));
    await followAMove(client, user, aSlice());
    expect(await on(spare, (admin) => admin.info('commandstats'))).toMatch(/cmdstat_asking:calls=\d/);
  });

  const objectOf = (entry: unknown[] | Record<string, unknown>): unknown =>
    Array.isArray(entry) ? entry[entry.indexOf('object') + 1] : entry['object'];

  /** A trace on its way to a node that the client does not know: see RedisRunner. */
  async function followAMove(client: Redis | Cluster, of: User, sliceId: number): Promise<void> {
    const trace = aTrace();
    const key = formatTraceKey(trace);
    const store = createRedisStore(client, { sliceId, deadlineSeconds: 5 });
    const writer = of === 'spanbuf-consumer' ? store : createRedisStore(await login('a cluster'), { sliceId });
    await writer.add([addition(trace, A, [[A]])], POLICY, { now: T0 });
    if (of === 'spanbuf-operator') {
      const claimed = await writer.claim({ now: T0 + 1_000, limit: 100 });
      await writer.park(claimed.map((generation) => ({ generation, reason: 'refused' })));
    }
    const migration = await servers.beginSlotMigration(hashSlot(key), spare);
    await migration.moveKeys([key]);
    try {
      if (of === 'spanbuf-consumer') await store.add([addition(trace, A, [[B]])], POLICY, { now: T0 });
      else if (of === 'spanbuf-operator') await store.deleteParked(await store.listParked({ limit: 100 }));
      else expect(await store.claim({ now: T0 + 1_000, limit: 10 })).toHaveLength(1);
    } finally {
      await migration.finish();
      await servers.migrateSlot(hashSlot(key), servers.nodes[0] as RedisServer);
    }
  }
});
