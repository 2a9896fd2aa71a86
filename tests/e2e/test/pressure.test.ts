import { setTimeout as delay } from 'node:timers/promises';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type RedisClusterServers, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { System, stop, sumOf } from '../system.ts';

const MAX_MEMORY_BYTES = 16 * 1024 * 1024;

describeWithKafka('back-pressure', () => {
  it('pauses reading when there is no flusher, says why, is not ready once it is behind, and goes on by itself', async () => {
    const system = await System.open({ env: { SPANBUF_PAUSE_WITHOUT_FLUSHER_SECONDS: '3' } });
    const consumer = await system.consumer({ SPANBUF_READY_MAX_LAG_SECONDS: '5' });
    const flusher = await system.flusher();
    const load = system.generate({ spans: 8_000, rate: 400, seed: 61 });
    await expect.poll(() => sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(500);
    await stop(flusher);
    const isPaused = () => sumOf(consumer, 'spanbuf_consumer_paused', { cause: 'no-flusher' });
    await expect.poll(isPaused, { timeout: 30_000 }).toBe(1);
    expect(consumer.findLog('reading is paused: no flusher has been seen')).toMatchObject({
      level: 'warn',
      cause: 'no-flusher',
    });
    const pausedAt = await sumOf(consumer, 'spanbuf_consumer_messages_total');
    await expect.poll(() => consumer.readyProblem()).toMatch(/^a partition is \d+ s behind, limit 5 s$/);
    await system.flusher();
    await expect.poll(isPaused, { timeout: 30_000 }).toBe(0);
    expect(consumer.findLog('reading goes on')).toBeDefined();
    await load;
    await system.drained();
    expect(await consumer.readyProblem()).toBe('');
    expect(await sumOf(consumer, 'spanbuf_consumer_messages_total')).toBeGreaterThan(pausedAt);
    await system.verified();
  });

  it('pauses reading before Redis is full when the flusher is gone, and goes on by itself when it is back', async () => {
    const cluster = await startRedisCluster({ args: ['--maxmemory', String(MAX_MEMORY_BYTES)] });
    onTestFinished(() => cluster.stop());
    const memory = watchMemory(cluster);
    const system = await System.open({
      redisUrl: cluster.url,
      env: {
        SPANBUF_PAUSE_MEMORY_SHARE: '0.6',
        SPANBUF_RESUME_MEMORY_SHARE: '0.5',
        SPANBUF_PAUSE_OVERDUE_SECONDS: '3600',
        SPANBUF_PAUSE_WITHOUT_FLUSHER_SECONDS: '3600',
      },
    });
    const consumer = await system.consumer();
    const flusher = await system.flusher();
    const load = system.startLoad({ rate: 3_000, seed: 62 });
    await expect.poll(() => sumOf(flusher, 'spanbuf_flusher_segments_total'), { timeout: 40_000 }).toBeGreaterThan(0);
    await stop(flusher);
    const isPaused = () => sumOf(consumer, 'spanbuf_consumer_paused', { cause: 'redis-memory' });
    await expect.poll(isPaused, { timeout: 60_000 }).toBe(1);
    expect(consumer.findLog('reading is paused: Redis node')).toMatchObject({ level: 'warn', cause: 'redis-memory' });
    const lag = () => sumOf(consumer, 'spanbuf_consumer_lag_messages');
    const before = await lag();
    // Nothing is read any more, though more and more waits.
    await expect.poll(lag, { timeout: 60_000 }).toBeGreaterThan(before + 9_000);
    expect(await isPaused()).toBe(1);
    await load.stop();
    await system.flusher();
    await expect.poll(() => consumer.findLog('reading goes on'), { timeout: 60_000 }).toBeDefined();
    await system.drained(240_000);
    const mostBytes = await memory.most();
    expect(mostBytes).toBeGreaterThan(0.5 * MAX_MEMORY_BYTES);
    expect(mostBytes).toBeLessThan(MAX_MEMORY_BYTES);
    // It was never refused.
    expect(await sumOf(consumer, 'spanbuf_consumer_retries_total', { step: 'store' })).toBe(0);
    // What was held had to go before the rest could come.
    await system.verified({ maySplit: true });
  }, 360_000);
});

/** Looks all the time, until the test ends. */
function watchMemory(cluster: RedisClusterServers): { most(): Promise<number> } {
  const clients = cluster.nodes.map(({ connection }) => new Redis(connection));
  let [mostBytes, isOver] = [0, false];
  const watching = (async () => {
    while (!isOver) {
      mostBytes = Math.max(mostBytes, ...(await Promise.all(clients.map(usedBytes))));
      await delay(50);
    }
  })();
  const end = async () => {
    isOver = true;
    await watching;
    for (const client of clients) client.disconnect();
  };
  onTestFinished(end);
  return {
    most: async () => {
      await end();
      return mostBytes;
    },
  };
}

async function usedBytes(client: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1]);
}
