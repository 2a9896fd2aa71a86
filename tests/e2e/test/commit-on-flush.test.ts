import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { findRepeats } from '@spanbuf/chaos/find-repeats';
import type { AppProcess } from '@spanbuf/stack/processes';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type RedisServer, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { System, type SystemOptions, stop, sumOf } from '../system.ts';

const FLUSHED = { SPANBUF_COMMIT: 'flushed' };

/** On a cluster of its own, as its data is destroyed. */
async function openFlushed(options: { replicas?: number } & SystemOptions = {}) {
  const cluster = await startRedisCluster({ replicas: 0, nodeTimeoutMs: 1_500, ...options });
  onTestFinished(() => cluster.stop());
  const system = await System.open({ redisUrl: cluster.url, env: { ...FLUSHED, ...options.env } });
  return { cluster, system };
}

async function flushAll(nodes: readonly RedisServer[]): Promise<void> {
  for (const node of nodes) {
    const client = new Redis(node.connection);
    await client.flushall();
    client.disconnect();
  }
}

/** Receipts that are older have been copied: some commits, on a machine that is busy. */
const KNOWN_MS = 5_000;
/** Above the largest age: polls, a send, a commit, on a machine that is busy. */
const COMMIT_MARGIN_SECONDS = 8;

async function producedBy(flushers: readonly AppProcess[]): Promise<number> {
  const counts = await Promise.all(flushers.map((flusher) => sumOf(flusher, 'spanbuf_flusher_spans_total')));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Sends a trace whose spans come one by one, for so long. */
async function aSpanASecond(system: System, seconds: number) {
  const producer = await system.kafka.createProducer({ requestTimeoutMs: 10_000 });
  const traceId = randomBytes(16).toString('hex');
  const root = randomBytes(8).toString('hex');
  const send = async (isRoot: boolean): Promise<void> => {
    const now = Date.now() / 1_000;
    const value = JSON.stringify({
      ...{ organization_id: 1, project_id: 1, trace_id: traceId, retention_days: 30, name: null, status: 'ok' },
      ...{ span_id: isRoot ? root : randomBytes(8).toString('hex'), parent_span_id: isRoot ? null : root },
      ...{ is_segment: isRoot, start_timestamp: now, end_timestamp: now, received: now, attributes: {} },
    });
    await producer.send(system.topics.input, [{ key: traceId, value: Buffer.from(value) }]);
  };
  await send(true);
  let isSending = true;
  const sent = (async () => {
    for (let i = 0; i < seconds; i++) {
      await delay(1_000);
      await send(false);
    }
  })().finally(() => {
    isSending = false;
  });
  return {
    /** Repeats something until all are sent. */
    while: async (task: () => Promise<void>): Promise<void> => {
      while (isSending) await task();
      await sent;
      await producer.close();
    },
  };
}

async function commitLag(app: AppProcess): Promise<number> {
  return sumOf(app, 'spanbuf_consumer_commit_lag_messages');
}

/** How many segments are leased. */
async function waitingFor(flusher: AppProcess): Promise<number> {
  return sumOf(flusher, 'spanbuf_flusher_queued_segments', { state: 'in-flight' });
}

describeWithKafka('with SPANBUF_COMMIT=flushed', () => {
  it('an offset is committed once its segment is produced, and not before', async () => {
    const system = await System.open({ env: FLUSHED });
    const consumer = await system.consumer();
    await system.generate({ spans: 500, seed: 81 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBe(500);
    await expect.poll(() => commitLag(consumer)).toBe(500);
    const committed = await system.kafka.readCommitted(system.group, system.topics.input);
    expect([...committed.values()].every((offset) => offset === 0n)).toBe(true);
    await stop(consumer);
    const next = await system.consumer();
    await system.flusher();
    await system.drained();
    await expect.poll(() => commitLag(next)).toBe(0);
    expect(await sumOf(next, 'spanbuf_consumer_spans_total', { outcome: 'replayed' })).toBe(500);
    await system.verified();
  });

  it('nothing is lost and every segment is complete when all of Redis is emptied under load', async () => {
    const { cluster, system } = await openFlushed();
    const first = await system.consumer();
    const consumers = [first, await system.consumer()];
    const flushers = [await system.flusher(), await system.flusher()];
    const load = system.generate({ spans: 14_000, rate: 400, seed: 82 });
    await expect.poll(() => producedBy(flushers), { timeout: 60_000 }).toBeGreaterThan(4_000);
    const producedBefore = await producedBy(flushers);
    await delay(KNOWN_MS);
    const lostMs = Date.now();
    await flushAll(cluster.nodes);
    await load;
    await system.drained(120_000);
    for (const consumer of consumers) {
      expect(await sumOf(consumer, 'spanbuf_consumer_redis_losses_total')).toBeGreaterThan(0);
    }
    // What was produced in the second before the loss may come again in part: the receipts are lost, too.
    const { incompleteSegments } = await system.verified({ mayRepeat: true });
    expect(incompleteSegments).toEqual([]);
    // All else that was produced is known, and does not.
    const repeats = await findRepeats(system.kafka, system.topics.output);
    expect(repeats.filter(({ firstMs }) => firstMs < lostMs - KNOWN_MS)).toEqual([]);
    expect(producedBefore).toBeGreaterThan(4_000);
  });

  it('offsets are committed no later than a segment may become old, however long its spans go on to come', async () => {
    // No less than the time-out of a segment without a root.
    const maxAgeSeconds = 12;
    const system = await System.open({
      partitionCount: 1,
      env: { ...FLUSHED, SPANBUF_MAX_AGE_SECONDS: String(maxAgeSeconds) },
    });
    const consumer = await system.consumer();
    await system.flusher();
    const spans = await aSpanASecond(system, 4 * maxAgeSeconds);
    const lags: number[] = [];
    await spans.while(async () => {
      lags.push(await sumOf(consumer, 'spanbuf_consumer_commit_lag_seconds'));
      await delay(200);
    });
    // Never idle, it waits until it is old; then come a look of the flusher, the broker, a commit.
    expect(Math.max(...lags)).toBeGreaterThan(maxAgeSeconds / 2);
    expect(Math.max(...lags)).toBeLessThan(maxAgeSeconds + COMMIT_MARGIN_SECONDS);
    await system.drained();
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_commit_lag_seconds')).toBe(0);
    const { output } = await system.verified({ maySplit: true });
    expect(output.generations).toBeGreaterThan(2);
  });

  it('nothing is lost when one node is emptied, and one is replaced by a replica that lacks its last writes', async () => {
    const { cluster, system } = await openFlushed({ replicas: 1 });
    const consumer = await system.consumer();
    const flusher = await system.flusher();
    const load = system.generate({ spans: 14_000, rate: 400, seed: 83 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(2_000);
    await flushAll(cluster.nodes.slice(0, 1));
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_redis_losses_total')).toBe(1);
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(5_000);
    const [, master, , , replica] = cluster.nodes;
    replica?.pause();
    const before = await sumOf(consumer, 'spanbuf_consumer_messages_total');
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(before + 400);
    await master?.kill();
    replica?.resume();
    if (master !== undefined) await cluster.failover(master);
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_redis_losses_total'), { timeout: 60_000 }).toBe(2);
    await load;
    await system.drained(120_000);
    expect(await sumOf(flusher, 'spanbuf_flusher_lost_spans_total')).toBe(0);
    await system.verified({ mayRepeat: true });
  });

  it('what Redis lost while no consumer ran is read again by the next one', async () => {
    const { cluster, system } = await openFlushed();
    const consumer = await system.consumer();
    await system.generate({ spans: 600, seed: 84 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBe(600);
    await stop(consumer);
    await flushAll(cluster.nodes);
    await system.consumer();
    await system.flusher();
    await system.drained();
    await system.verified();
  });

  it('nothing is lost when it is switched on under load, and a node is failed over that had all of its data', async () => {
    const { cluster, system } = await openFlushed({ replicas: 1, env: { SPANBUF_COMMIT: 'buffered' } });
    const buffered = await system.consumer();
    await system.flusher();
    const load = system.generate({ spans: 6_000, rate: 400, seed: 85 });
    await expect.poll(() => sumOf(buffered, 'spanbuf_consumer_messages_total')).toBeGreaterThan(2_000);
    await stop(buffered);
    const flushed = await system.consumer(FLUSHED);
    await expect.poll(() => sumOf(flushed, 'spanbuf_consumer_messages_total')).toBeGreaterThan(800);
    const replica = new Redis((cluster.nodes[3] as RedisServer).connection);
    await replica.call('CLUSTER', ['FAILOVER']);
    replica.disconnect();
    const losses = () => sumOf(flushed, 'spanbuf_consumer_redis_losses_total');
    await expect.poll(losses, { timeout: 30_000 }).toBeGreaterThan(0);
    await load;
    await system.drained(120_000);
    await system.verified({ mayRepeat: true });
  });

  it('no partial segment goes out while a consumer is frozen that has not seen the loss, nor by a flusher that starts then', async () => {
    // Of this slice the clocks, the list of shards and some queues are on the first node, which is spared, and the epoch is not.
    const env = { SPANBUF_CLOCK_GRACE_SECONDS: '7', SPANBUF_SLICE_ID: '140' };
    const { cluster, system } = await openFlushed({ env });
    const consumer = await system.consumer();
    await system.flusher();
    await system.generate({ spans: 3_000, rate: 600, seed: 86 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(2_000);
    consumer.freeze();
    await flushAll(cluster.nodes.slice(1));
    const late = await system.flusher();
    // Longer than the grace, after which a shard's time goes on by itself, and what is held becomes due.
    const isTried = async () => late.findLog('held back') !== undefined || (await waitingFor(late)) > 0;
    await expect.poll(isTried, { timeout: 60_000 }).toBe(true);
    consumer.thaw();
    await system.drained(120_000);
    const { incompleteSegments, output } = await system.verified({ mayRepeat: true });
    expect(incompleteSegments).toEqual([]);
    expect(output.partialGenerations).toBe(0);
  });

  it('no partial segment goes out when a node is emptied, and a consumer is frozen before it sees that', async () => {
    const env = { SPANBUF_CLOCK_GRACE_SECONDS: '7', SPANBUF_SLICE_ID: '140' };
    const { cluster, system } = await openFlushed({ env });
    const consumer = await system.consumer();
    const flusher = await system.flusher();
    await system.generate({ spans: 3_000, rate: 600, seed: 87 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(2_000);
    consumer.freeze();
    for (const node of cluster.nodes.slice(1)) {
      // The epoch survives: only sentinels tell.
      const client = new Redis(node.connection);
      if ((await client.keys('span-buf:epoch:*')).length === 0) await client.flushall();
      client.disconnect();
    }
    await expect.poll(() => flusher.findLog('held back'), { timeout: 60_000 }).toBeDefined();
    consumer.thaw();
    await system.drained(120_000);
    const { incompleteSegments, output } = await system.verified({ mayRepeat: true });
    expect(incompleteSegments).toEqual([]);
    expect(output.partialGenerations).toBe(0);
  });
});
