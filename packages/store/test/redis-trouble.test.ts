/**
 * What one Redis does to its clients, caused on real servers: it goes away, comes back, freezes, fills up, refuses, is
 * busy, or takes a command and does not answer.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { formatQueueKey, formatTraceKey } from '@spanbuf/keys';
import { type GateDecision, openCommandGate } from '@spanbuf/tooling/command-gate';
import { connectCluster } from '@spanbuf/tooling/redis-clients';
import {
  type RedisClusterServers,
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '@spanbuf/tooling/redis-servers';
import { type Cluster, Redis, type RedisOptions } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  type AddResult,
  createRedisStore,
  type RedisStoreOptions,
  type SealedGeneration,
  type SegmentPolicy,
  type SegmentStore,
  type StoredSpan,
  StoreRefusedError,
  StoreUnavailableError,
  type Subsegment,
  type TraceAddition,
} from '../src/index.ts';
import { aSlice, aTrace } from './stores.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const T0 = 1_700_000_000;
const POLICY: SegmentPolicy = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1e9 };
const QUERY = { now: T0 + 10, limit: 1_000 };

type ClientOptions = Omit<RedisOptions, 'replyMapping'>;

let server: RedisServer;
let direct: Redis;
beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.connection);
});
afterAll(async () => {
  direct.disconnect();
  await server.stop();
});

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function clientOf(options: ClientOptions): Redis {
  const client = new Redis(options);
  client.on('error', () => {});
  closing.push(() => client.disconnect());
  return client;
}

function storeOn(client: Redis | Cluster, options: RedisStoreOptions = {}): SegmentStore {
  return createRedisStore(client, { sliceId: aSlice(), ...options });
}

function aSpan(spanId: string, parentId: string, offset: number, bytes = 100, partition = 0): StoredSpan {
  return { spanId: id(spanId), parentId: id(parentId), partition, offset: BigInt(offset), payload: randomBytes(bytes) };
}

function id(digits: string): string {
  return digits.padStart(16, '0');
}

function subsegment(topId: string, spans: readonly StoredSpan[], hasRoot = false): Subsegment {
  return { topId: id(topId), hasRoot, spans };
}

/** A whole segment of one span. */
function anAddition(offset = 1, bytes = 100): TraceAddition {
  return { ...aTrace(), subsegments: [subsegment('a', [aSpan('a', 'a', offset, bytes)], true)] };
}

const add = (store: SegmentStore, ...additions: TraceAddition[]) => store.add(additions, POLICY, { now: T0 });

async function rejectionOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => 'resolved',
    (error: unknown) => error,
  );
}

/** It rejects as it should, instead of waiting for ever. */
async function expectUnavailable(call: () => Promise<unknown>): Promise<void> {
  const error = await rejectionOf(call());
  expect(error).toBeInstanceOf(StoreUnavailableError);
  expect(error).toMatchObject({ retriable: true, code: 'SPANBUF_STORE_UNAVAILABLE' });
}

/** Everything comes out, once. */
async function expectHeld(store: SegmentStore, additions: readonly TraceAddition[]): Promise<void> {
  const claimed = await store.claim(QUERY);
  expect(claimed.map(({ traceId }) => traceId).sort()).toEqual(additions.map(({ traceId }) => traceId).sort());
  for (const spans of await store.read(claimed)) expect(spans).toHaveLength(1);
  await store.complete(claimed);
  expect(await store.claim({ ...QUERY, drain: true })).toEqual([]);
}

describe('a connection that is cut before the reply', () => {
  const LAYOUT = 'dual-read-distributed';
  const SMALL: SegmentPolicy = { ...POLICY, maxSegmentBytes: 1_000 };

  interface Outcome {
    readonly added: AddResult[];
    readonly generations: string[];
    readonly left: string[];
  }

  /** Adds with a merge and an overflow, claims, releases, reads, completes, replays: says what came of it. */
  async function workload(client: Redis, control: Redis, options: RedisStoreOptions): Promise<Outcome> {
    const sliceId = aSlice();
    const store = createRedisStore(client, { sliceId, layout: LAYOUT, ...options });
    const [one, two] = [aTrace(), aTrace()];
    const added: AddResult[] = [];
    const generations: string[] = [];
    const put = async (...additions: TraceAddition[]) => added.push(await store.add(additions, SMALL, { now: T0 }));
    /** All that is due; leases that nobody heard of end, as they would with time. */
    const claim = async (spanCount: number): Promise<SealedGeneration[]> => {
      const found = new Map<string, SealedGeneration>();
      const spans = () => [...found.values()].reduce((sum, generation) => sum + generation.spanCount, 0);
      for (let round = 0; spans() < spanCount && round < 50; round++) {
        if (round > 0) await endLeases(control, sliceId);
        for (const generation of await store.claim(QUERY)) {
          found.set(`${generation.traceId} ${generation.segmentId} ${generation.generation}`, generation);
        }
      }
      return [...found.values()];
    };
    const flush = async (spanCount: number): Promise<void> => {
      const claimed = await claim(spanCount);
      const contents = await store.read(claimed);
      for (const [i, { segmentId, generation, reason, shard }] of claimed.entries()) {
        const offsets = contents[i]?.map((span) => Number(span.offset)).sort((a, b) => a - b);
        generations.push(JSON.stringify({ segmentId, generation, reason, shard, offsets }));
      }
      await store.complete(claimed);
    };
    await put(
      {
        ...one,
        subsegments: [
          subsegment('b', [aSpan('c', 'b', 1), aSpan('d', 'b', 2)]),
          subsegment('a', [aSpan('a', 'a', 3)], true),
        ],
      },
      { ...two, subsegments: [subsegment('a', [aSpan('a', 'a', 1, 100, 1)], true)] },
    );
    // The first merges, the second is too large for what is there.
    await put(
      { ...one, subsegments: [subsegment('a', [aSpan('b', 'a', 4)])] },
      { ...one, subsegments: [subsegment('a', [aSpan('e', 'a', 5, 900)])] },
      { ...two, subsegments: [subsegment('a', [aSpan('f', 'a', 2, 100, 1)])] },
    );
    // Partly a replay.
    await put({ ...two, subsegments: [subsegment('a', [aSpan('f', 'a', 2, 100, 1), aSpan('9', 'a', 3, 100, 1)])] });
    await store.release(await claim(8));
    await flush(8);
    await put({ ...one, subsegments: [subsegment('c', [aSpan('8', 'c', 6)])] });
    await flush(1);
    expect(await store.claim({ ...QUERY, drain: true })).toEqual([]);
    const keys = [...(await control.keys(`*${one.traceId}*`)), ...(await control.keys(`*${two.traceId}*`))];
    const left = [...keys.sort(), ...(await control.keys(`*{${sliceId}-*`))];
    expect(
      left.filter((key) => !key.includes(':ssr:')),
      'payloads and queues that were left',
    ).toEqual([]);
    return { added, generations: generations.sort(), left: left.map((key) => key.split('{')[0] as string).sort() };
  }

  async function endLeases(control: Redis, sliceId: number): Promise<void> {
    for (const shard of [0, 1]) {
      const key = formatQueueKey({ shard, sliceId, part: 'in-flight' });
      for (const entry of await control.zrange(key, '0', '-1')) await control.zadd(key, 'XX', '1', entry);
    }
  }

  /** Runs the workload through a gate that cuts the connections at one command. */
  async function runThroughGate(
    decision: GateDecision,
    at: number,
    clientOptions: ClientOptions,
  ): Promise<{ outcome: Outcome; commands: string[] }> {
    const commands: string[] = [];
    const gate = await openCommandGate(server, {
      onCommand: ({ name, index }) => {
        commands.push(name);
        return index === at ? decision : 'pass';
      },
    });
    const client = new Redis({ port: gate.port, retryStrategy: () => 1, ...clientOptions });
    client.on('error', () => {});
    try {
      return { outcome: await workload(client, direct, { attemptSeconds: 0.3 }), commands };
    } finally {
      client.disconnect();
      await gate.close();
    }
  }

  const ADDED: AddResult[] = [
    { added: 4, replayed: 0 },
    { added: 3, replayed: 0 },
    { added: 1, replayed: 1 },
    { added: 1, replayed: 0 },
  ];

  it.each<[string, ClientOptions]>([
    ['sends again', {}],
    ['does not send again', { autoResendUnfulfilledCommands: false }],
  ])('changes nothing, whatever the command, where ioredis %s', async (_, clientOptions) => {
    // The scripts are there from here on.
    await runThroughGate('pass', -1, clientOptions);
    const undisturbed = await runThroughGate('pass', -1, clientOptions);
    expect(new Set(undisturbed.commands)).toEqual(
      new Set(['SET', 'EVALSHA', 'HGETALL', 'HMGET', 'GET', 'UNLINK', 'HDEL']),
    );
    expect(undisturbed.outcome.added).toEqual(ADDED);
    expect(undisturbed.outcome.generations).toHaveLength(4);
    const cuts = (['cut-before', 'cut-after'] as const).flatMap((decision) =>
      undisturbed.commands.map((name, at) => ({ decision, at, name })),
    );
    const next = async (): Promise<void> => {
      for (let cut = cuts.pop(); cut; cut = cuts.pop()) {
        const { outcome } = await runThroughGate(cut.decision, cut.at, clientOptions);
        expect(outcome, JSON.stringify(cut)).toEqual(undisturbed.outcome);
      }
    };
    await Promise.all(Array.from({ length: 12 }, next));
  });

  it('changes nothing while scripts are loaded', async () => {
    const run = async (decision: GateDecision, at: number) => {
      await direct.script('FLUSH');
      return runThroughGate(decision, at, { enableOfflineQueue: false });
    };
    const undisturbed = await run('pass', -1);
    const loads = [...undisturbed.commands.entries()].filter(([, name]) => name === 'SCRIPT').map(([at]) => at);
    expect(loads.length).toBeGreaterThan(6);
    for (const at of loads) {
      for (const decision of ['cut-before', 'cut-after'] as const) {
        const { outcome } = await run(decision, at);
        expect(outcome, `${decision} ${at}`).toEqual(undisturbed.outcome);
      }
    }
  });

  it('is the same in RESP2', async () => {
    const { outcome } = await runThroughGate('pass', -1, { protocol: 2 });
    expect(outcome.added).toEqual(ADDED);
  });
});

describe('a Redis that is away', () => {
  const deadlineSeconds = 0.5;

  it.each<[string, ClientOptions]>([
    ['queues commands for ever', { maxRetriesPerRequest: null }],
    ['queues commands as it does by default', {}],
    ['queues nothing', { enableOfflineQueue: false }],
  ])('is waited for until the deadline where ioredis %s', async (_, clientOptions) => {
    const gone = await startRedis();
    closing.push(() => gone.stop());
    const store = storeOn(clientOf({ ...gone.connection, ...clientOptions }), { deadlineSeconds });
    await vi.waitFor(() => add(store, anAddition()), { timeout: 5_000 });
    await gone.kill();
    const addition = anAddition();
    await expectUnavailable(() => add(store, addition));
    await expectUnavailable(() => store.claim(QUERY));
    await gone.restart();
    await vi.waitFor(() => add(store, addition), { timeout: 10_000 });
    await expectHeld(store, [addition]);
  });

  it('is not there from the start, and is used when it comes', async () => {
    const late = await startRedis();
    closing.push(() => late.stop());
    await late.kill();
    const store = storeOn(clientOf(late.connection), { deadlineSeconds });
    const addition = anAddition();
    await expectUnavailable(() => add(store, addition));
    const adding = vi.waitFor(() => add(store, addition), { timeout: 10_000 });
    await late.restart();
    await adding;
    await expectHeld(store, [addition]);
  });

  it('is frozen, and is waited for until the deadline', async () => {
    const store = storeOn(clientOf(server.connection), { deadlineSeconds });
    const before = anAddition();
    await add(store, before);
    server.pause();
    closing.push(() => server.running || server.resume());
    const addition = anAddition();
    await expectUnavailable(() => add(store, addition));
    const adding = add(store, addition);
    server.resume();
    await adding;
    await expectHeld(store, [before, addition]);
  });

  it('loses no claim to calls that were given up: what is due is there for the call that is repeated', async () => {
    const gate = await openCommandGate(server, { refuseAfterCut: true });
    closing.push(() => gate.close());
    const client = clientOf({ port: gate.port, maxRetriesPerRequest: null, retryStrategy: () => 20 });
    const store = storeOn(client, { deadlineSeconds, attemptSeconds: 0.1, leaseSeconds: 3_600 });
    const additions = Array.from({ length: 20 }, () => anAddition());
    await add(store, ...additions);
    await store.release(await store.claim({ ...QUERY, shards: [0] }));
    gate.cut();
    await vi.waitUntil(() => client.status !== 'ready');
    await expectUnavailable(() => store.claim({ ...QUERY, shards: [0] }));
    gate.reopen();
    await expectHeld(store, additions);
  });

  it('is reached over a new connection when the old one does not answer any more', async () => {
    const proxy = await openBlackHole(server);
    const store = storeOn(clientOf({ port: proxy.port }), { attemptSeconds: 0.3, deadlineSeconds: 5 });
    const [before, after] = [anAddition(1), anAddition(2)];
    await add(store, before);
    proxy.swallow();
    await add(store, after);
    await expectHeld(store, [before, after]);
  });

  /** Passes connections on. From `swallow()` on, those that are open stay open and pass nothing: as when a host is gone. */
  async function openBlackHole(target: { port: number }) {
    const sockets: Socket[] = [];
    const proxy = createServer((client) => {
      const upstream = connect(target.port, '127.0.0.1');
      sockets.push(client, upstream);
      for (const socket of [client, upstream]) socket.on('error', () => {});
      client.pipe(upstream).pipe(client);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    closing.push(() => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    });
    return {
      port: (proxy.address() as AddressInfo).port,
      swallow: () => {
        for (const socket of sockets) socket.unpipe().resume();
      },
    };
  }
});

describe('a Redis that loads its data', () => {
  // Each key takes a millisecond to load, and commands are answered in between.
  const args = ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024'];
  const KEYS = 1_500;

  async function fill(node: RedisServer): Promise<void> {
    const client = clientOf(node.connection);
    const pipeline = client.pipeline();
    for (let i = 0; i < KEYS; i++) pipeline.set(`filler:${i}`, randomBytes(100));
    await pipeline.exec();
    await client.save();
  }

  async function isLoading(node: RedisServer): Promise<boolean> {
    const client = clientOf({ ...node.connection, enableReadyCheck: false });
    return (await client.info('persistence')).includes('loading:1');
  }

  async function loadingAnswers(node: RedisServer): Promise<number> {
    const info = await clientOf(node.connection).info('errorstats');
    return Number(/errorstat_LOADING:count=(\d+)/.exec(info)?.[1] ?? 0);
  }

  it('is waited for, whether ioredis checks that it is ready or not', async () => {
    const node = await startRedis({ args });
    closing.push(() => node.stop());
    const clients = [{ maxLoadingRetryTime: 100 }, { enableReadyCheck: false }].map((options) =>
      clientOf({ ...node.connection, ...options }),
    );
    const sliceId = aSlice();
    const stores = clients.map((client) => storeOn(client, { sliceId }));
    const [before, ...after] = [anAddition(1), anAddition(2), anAddition(3)] as const;
    await add(stores[0] as SegmentStore, before);
    await fill(node);
    const restarting = node.restart();
    const calls = stores.flatMap((store, i) => [
      add(store, after[i] as TraceAddition),
      store.claim({ ...QUERY, shards: [1] }),
    ]);
    await restarting;
    expect(await isLoading(node)).toBe(true);
    await Promise.all(calls);
    expect(await isLoading(node)).toBe(false);
    expect(await loadingAnswers(node)).toBeGreaterThan(2);
    await expectHeld(stores[0] as SegmentStore, [before, ...after]);
  });

  describe('in a cluster', () => {
    let servers: RedisClusterServers;
    let node: RedisServer;
    beforeAll(async () => {
      servers = await startRedisCluster({ masters: 1, args });
      node = servers.nodes[0] as RedisServer;
    });
    afterAll(() => servers.stop());

    async function clusterStore(
      options: Parameters<typeof connectCluster>[1],
      storeOptions: RedisStoreOptions = {},
    ): Promise<SegmentStore> {
      const client = connectCluster(servers.url, options);
      closing.push(() => client.disconnect());
      client.on('error', () => {});
      await new Promise((resolve) => client.once('ready', resolve));
      return storeOn(client, storeOptions);
    }

    it('was away, and was waited for until the deadline, whether ioredis queues commands or not', async () => {
      const deadlineSeconds = 0.5;
      const stores = await Promise.all(
        [true, false].map((enableOfflineQueue) => clusterStore({ enableOfflineQueue }, { deadlineSeconds })),
      );
      for (const store of stores) await add(store, anAddition());
      await node.kill();
      const addition = anAddition();
      await Promise.all(
        stores.flatMap((store) => [
          expectUnavailable(() => add(store, addition)),
          expectUnavailable(() => store.claim(QUERY)),
        ]),
      );
      await node.restart();
      for (const store of stores) {
        const own = anAddition();
        await vi.waitFor(() => add(store, own), { timeout: 10_000 });
        await expectHeld(store, [own]);
      }
    });

    it('is waited for', async () => {
      const store = await clusterStore({ redisOptions: { enableReadyCheck: false } });
      const [before, after] = [anAddition(1), anAddition(2)];
      await add(store, before);
      await fill(node);
      const restarting = node.restart();
      const calls = Promise.all([add(store, after), store.claim({ ...QUERY, shards: [1] })]);
      await restarting;
      expect(await isLoading(node)).toBe(true);
      await calls;
      await expectHeld(store, [before, after]);
    });
  });
});

describe('a Redis that refuses', () => {
  it('is full: adding waits for flushing, and flushing needs no memory', async () => {
    const store = storeOn(direct);
    const used = Number(/used_memory:(\d+)/.exec(await direct.info('memory'))?.[1]);
    await direct.config('SET', 'maxmemory', used + 6_000_000);
    closing.push(() => direct.config('SET', 'maxmemory', 0));
    const held: TraceAddition[] = [];
    let refused: { addition: TraceAddition; error: unknown } | undefined;
    for (let offset = 1; refused === undefined; offset++) {
      const addition = anAddition(offset, 200_000);
      const error = await rejectionOf(add(store, addition));
      if (error === 'resolved') held.push(addition);
      else refused = { addition, error };
    }
    expect(held.length).toBeGreaterThan(10);
    expect(refused.error).toBeInstanceOf(StoreRefusedError);
    expect(refused.error).toMatchObject({
      retriable: true,
      code: 'SPANBUF_STORE_REFUSED',
      message: expect.stringMatching(/full.*OOM.*maxmemory/),
    });
    // Not even a script is there any more.
    await direct.script('FLUSH');
    await direct.config('SET', 'maxmemory', used);
    const [first, ...others] = await store.claim(QUERY);
    await store.release([first as SealedGeneration]);
    const claimed = [...others, ...(await store.claim(QUERY))];
    expect(claimed.map(({ traceId }) => traceId).sort()).toEqual(held.map(({ traceId }) => traceId).sort());
    for (const spans of await store.read(claimed)) expect(spans).toHaveLength(1);
    expect(await rejectionOf(add(store, anAddition()))).toBeInstanceOf(StoreRefusedError);
    await store.complete(claimed);
    await direct.config('SET', 'maxmemory', used + 6_000_000);
    expect(await add(store, refused.addition)).toEqual({ added: 1, replayed: 0 });
    await expectHeld(store, [refused.addition]);
  });

  it.each([
    ['the command', '~* +@all -evalsha', /NOPERM.*evalsha/],
    ['the keys', '~span-buf:s:* +@all', /NOPERM.*key/],
    ['loading scripts', '~* +@all -script', /NOPERM.*script/],
  ])('has not been told to permit %s', async (_, rules, message) => {
    const user = `user-${randomBytes(4).toString('hex')}`;
    const allow = (rule: string) => direct.call('ACL', ['SETUSER', user, 'reset', 'on', '>secret', ...rule.split(' ')]);
    await allow(rules);
    await direct.script('FLUSH');
    closing.push(() => direct.call('ACL', ['DELUSER', user]));
    const login = { ...server.connection, username: user, password: 'secret' };
    const sliceId = aSlice();
    const store = storeOn(clientOf(login), { sliceId, deadlineSeconds: 3 });
    const addition = anAddition();
    const error = await rejectionOf(add(store, addition));
    expect(error).toBeInstanceOf(StoreRefusedError);
    expect(error).toMatchObject({ retriable: false, message: expect.stringMatching(message) });
    await allow('~* +@all');
    const permitted = storeOn(clientOf(login), { sliceId });
    expect(await add(permitted, addition)).toEqual({ added: 1, replayed: 0 });
    await expectHeld(permitted, [addition]);
  });

  it('does not know the password', async () => {
    const user = `user-${randomBytes(4).toString('hex')}`;
    const client = clientOf({ ...server.connection, username: user, password: 'secret', retryStrategy: () => 20 });
    const store = storeOn(client);
    const addition = anAddition();
    const error = await rejectionOf(add(store, addition));
    expect(error).toBeInstanceOf(StoreRefusedError);
    expect(error).toMatchObject({ retriable: false, message: expect.stringMatching(/WRONGPASS/) });
    await direct.call('ACL', ['SETUSER', user, 'on', '>secret', '~*', '+@all']);
    closing.push(() => direct.call('ACL', ['DELUSER', user]));
    await vi.waitUntil(() => client.status === 'ready');
    await add(store, addition);
    await expectHeld(store, [addition]);
  });

  it('cannot write its snapshots: calls wait until it can', async () => {
    const node = await startRedis();
    closing.push(() => node.stop());
    const control = clientOf(node.connection);
    const store = storeOn(clientOf(node.connection));
    const [before, after] = [anAddition(1), anAddition(2)];
    await add(store, before);
    // A directory is where the snapshot should go.
    const [, directory] = (await control.config('GET', 'dir')) as [string, string];
    const obstacle = join(directory, 'dump.rdb');
    mkdirSync(obstacle);
    await control.config('SET', 'save', '3600 1000000');
    await snapshot('err');
    const adding = add(store, after);
    await vi.waitFor(async () => expect(await control.info('errorstats')).toMatch(/errorstat_MISCONF:count=[3-9]/));
    rmdirSync(obstacle);
    await snapshot('ok');
    await adding;
    await expectHeld(store, [before, after]);

    async function snapshot(status: string): Promise<void> {
      await control.bgsave();
      await vi.waitFor(async () => {
        const info = await control.info('persistence');
        expect(info).toContain('rdb_bgsave_in_progress:0');
        expect(info).toContain(`rdb_last_bgsave_status:${status}`);
      });
    }
  });

  it('finds something else under the key of a trace: says so, and loses nothing of the others', async () => {
    const store = storeOn(direct);
    const additions = [anAddition(1), anAddition(2), anAddition(3)];
    const key = formatTraceKey(additions[1] as TraceAddition);
    await direct.set(key, 'something else', 'EX', 100);
    const error = await rejectionOf(add(store, ...additions));
    expect(error).toBeInstanceOf(StoreRefusedError);
    expect(error).toMatchObject({ retriable: false, message: expect.stringMatching(/WRONGTYPE/) });
    await direct.del(key);
    expect(await add(store, ...additions)).toMatchObject({ replayed: 2 });
    await expectHeld(store, additions);
  });

  it('is a replica for a while: calls wait until it is a master again', async () => {
    const store = storeOn(clientOf(server.connection));
    const [before, after] = [anAddition(1), anAddition(2)];
    await add(store, before);
    await direct.call('REPLICAOF', ['127.0.0.1', '1']);
    closing.push(() => direct.call('REPLICAOF', ['NO', 'ONE']));
    const adding = add(store, after);
    await vi.waitFor(async () => expect(await direct.info('errorstats')).toMatch(/errorstat_READONLY:count=[2-9]/));
    await direct.call('REPLICAOF', ['NO', 'ONE']);
    await adding;
    await expectHeld(store, [before, after]);
  });

  it("is busy with somebody else's script: calls wait until that is over", async () => {
    const client = clientOf(server.connection);
    const store = storeOn(client);
    const [before, after] = [anAddition(1), anAddition(2)];
    await add(store, before);
    await direct.config('SET', 'busy-reply-threshold', 20);
    closing.push(() => direct.config('SET', 'busy-reply-threshold', 5_000));
    await direct.config('RESETSTAT');
    const runaway = rejectionOf(clientOf(server.connection).eval('while true do end', 0));
    await vi.waitFor(async () => expect(await rejectionOf(direct.ping())).toMatchObject({ message: /^BUSY/ }));
    let settled = 0;
    const sent = vi.spyOn(client, 'sendCommand');
    const calls = [add(store, after), store.claim({ ...QUERY, shards: [1] })].map((call) =>
      call.finally(() => {
        settled++;
      }),
    );
    await vi.waitFor(() => expect(sent.mock.calls.length).toBeGreaterThan(8));
    expect(settled).toBe(0);
    await direct.script('KILL');
    await Promise.all(calls);
    expect(String(await runaway)).toMatch(/killed/i);
    expect(await direct.info('commandstats')).toMatch(/cmdstat_set:.*rejected_calls=[1-9]/);
    await expectHeld(store, [before, after]);
  });
});
