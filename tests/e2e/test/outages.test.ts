import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { startKafka } from '@spanbuf/tooling/kafka-servers';
import { type RedisServer, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { expect, it, onTestFinished } from 'vitest';
import { LEASE_SECONDS, System, stop, sumOf } from '../system.ts';

/** By partition: what the group has committed, and where the input ends. */
async function offsets({ kafka, topics, group }: System) {
  const watermarks = await kafka.readWatermarks(topics.input);
  const high = new Map([...watermarks].map(([partition, { high }]) => [partition, high]));
  return { committed: await kafka.readCommitted(group, topics.input), high };
}

describeWithKafka('an outage under load', () => {
  it('of a Redis node that is killed and failed over loses nothing, and is told by readiness until it is over', async () => {
    const cluster = await startRedisCluster({ replicas: 1, nodeTimeoutMs: 1_500 });
    onTestFinished(() => cluster.stop());
    const system = await System.open({ redisUrl: cluster.url });
    const apps = [await system.consumer(), await system.flusher()] as const;
    const load = system.startLoad({ rate: 300, seed: 71 });
    await expect.poll(() => sumOf(apps[0], 'spanbuf_consumer_messages_total')).toBeGreaterThan(500);
    const [master, , , replica] = cluster.nodes as [RedisServer, RedisServer, RedisServer, RedisServer];
    await master.kill();
    // It takes over no sooner than readiness has told.
    replica.pause();
    for (const app of apps) {
      await expect.poll(() => app.readyProblem(), { timeout: 60_000 }).toContain('Redis has not answered');
    }
    replica.resume();
    await cluster.failover(master);
    for (const app of apps) await expect.poll(() => app.readyProblem(), { timeout: 60_000 }).toBe('');
    await load.stop();
    await system.drained(90_000);
    await system.verified();
  });

  it('of the whole Redis stops commits and readiness, and is over when Redis is back', async () => {
    const cluster = await startRedisCluster();
    onTestFinished(() => cluster.stop());
    const system = await System.open({ redisUrl: cluster.url });
    const apps = [await system.consumer(), await system.flusher()];
    await system.generate({ spans: 500, seed: 72 });
    await system.drained();
    const before = await offsets(system);
    expect(before.committed).toEqual(before.high);
    for (const node of cluster.nodes) node.pause();
    await system.generate({ spans: 500, seed: 73 });
    for (const app of apps) {
      await expect.poll(() => app.readyProblem(), { timeout: 40_000 }).toContain('Redis has not answered');
    }
    const { committed, high } = await offsets(system);
    expect(high).not.toEqual(before.high);
    expect(committed).toEqual(before.committed);
    for (const node of cluster.nodes) node.resume();
    for (const app of apps) await expect.poll(() => app.readyProblem(), { timeout: 40_000 }).toBe('');
    await system.drained(90_000);
    await system.verified();
  });

  it('of the Kafka broker loses nothing, and is told by readiness until it is over; a flusher that ends in it gives back', async () => {
    const kafka = await startKafka();
    onTestFinished(() => kafka.stop());
    const system = await System.open({ brokers: kafka.bootstrap });
    const consumer = await system.consumer();
    // With less in hand than is due, so that some of it waits.
    const flusher = await system.flusher({ SPANBUF_FLUSH_SEGMENTS: '40', SPANBUF_READY_MAX_OVERDUE_SECONDS: '3' });
    const ending = await system.flusher({ SPANBUF_LEASE_SECONDS: '60', SPANBUF_FLUSH_SEGMENTS: '40' });
    const load = system.startLoad({ rate: 400, seed: 74 });
    const messages = () => sumOf(consumer, 'spanbuf_consumer_messages_total');
    await expect.poll(messages).toBeGreaterThan(500);
    for (const app of [flusher, ending]) app.freeze();
    const before = await messages();
    // Longer than segments wait, so that there is something to produce.
    await expect.poll(messages, { timeout: 60_000 }).toBeGreaterThan(before + 400 * 8);
    await kafka.kill();
    ending.thaw();
    await expect.poll(() => system.leased(LEASE_SECONDS)).toBeGreaterThan(0);
    await stop(ending);
    expect(ending.findLog('segments given up for now')).toBeDefined();
    expect(await system.leased(LEASE_SECONDS)).toBe(0);
    flusher.thaw();
    await expect.poll(() => flusher.readyProblem(), { timeout: 40_000 }).toContain('limit 3 s');
    for (const app of [consumer, flusher]) {
      await expect.poll(() => app.readyProblem(), { timeout: 40_000 }).toMatch(/Kafka has not answered|no partitions/);
    }
    await kafka.restart();
    for (const app of [consumer, flusher]) await expect.poll(() => app.readyProblem(), { timeout: 60_000 }).toBe('');
    await load.stop();
    await system.drained(90_000);
    await system.verified();
  });
});
