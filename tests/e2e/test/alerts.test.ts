/**
 * A real Prometheus reads the apps while they are well, and while they are not, and judges the rules of deploy/prometheus. For it time
 * goes 30 times as fast: it looks once a second where others look every half minute, and ten minutes of a rule are 20 seconds. Limits are
 * as they are.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fasterRules, filledIn, readDashboardQueries } from '@spanbuf/deploy/monitoring-files';
import type { OutgoingMessage } from '@spanbuf/kafka';
import type { AppProcess } from '@spanbuf/stack/processes';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { isPrometheusInstalled, type PrometheusServer, startPrometheus } from '@spanbuf/tooling/prometheus-server';
import { type RedisClusterServers, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';
import { Kafka } from 'kafkajs';
import { expect, it, onTestFinished } from 'vitest';
import { System, stop, sumOf } from '../system.ts';

const FASTER = 30;
const FIRING_MS = 120_000;
const canRun = isPrometheusInstalled();
if (!canRun && process.env['CI'] !== undefined) throw new Error('prometheus is not installed');

/** A Prometheus with our rules, and apps to read. */
class Watch {
  readonly #prometheus: PrometheusServer;
  readonly #sinceMs: number;

  private constructor(prometheus: PrometheusServer) {
    this.#prometheus = prometheus;
    this.#sinceMs = performance.now();
  }

  /** @param apps - Are read also when they have ended. It ends with the test. */
  static async open(apps: readonly AppProcess[]): Promise<Watch> {
    const targets = apps.map(({ name, url }) => ({ job: `spanbuf-${name}`, url }));
    const prometheus = await startPrometheus({ rules: fasterRules(FASTER), targets });
    onTestFinished(() => prometheus.stop());
    // It takes some seconds to begin, in which it misses them, and what it makes of that is not judged.
    const isReading = async () => (await prometheus.query('up == 1')).length === targets.length;
    await expect.poll(isReading).toBe(true);
    await expect.poll(() => prometheus.firingAlerts()).toEqual([]);
    return new Watch(prometheus);
  }

  query(expr: string) {
    return this.#prometheus.query(expr);
  }

  async names(): Promise<string[]> {
    const alerts = await this.#prometheus.firingAlerts();
    for (const { annotations } of alerts) {
      for (const text of Object.values(annotations)) expect(text).not.toMatch(/<error|no value|\{\{|NaN|^$/);
    }
    return [...new Set(alerts.map(({ labels }) => labels['alertname'] as string))].sort();
  }

  /** Waits until all of them have fired; not at the same moment. */
  async fired(alerts: readonly string[], timeoutMs = FIRING_MS): Promise<void> {
    const seen = new Set<string>();
    const missing = async () => {
      for (const name of await this.names()) seen.add(name);
      return alerts.filter((name) => !seen.has(name));
    };
    await expect.poll(missing, { timeout: timeoutMs, interval: 500 }).toEqual([]);
  }

  /** All that have fired since it was opened. */
  async everFired(): Promise<string[]> {
    const seconds = Math.floor((performance.now() - this.#sinceMs) / 1_000);
    const series = await this.query(`count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[${seconds}s]))`);
    return series.map(({ labels }) => labels['alertname'] as string);
  }
}

/** A file of drop rules; goes with the test. */
function dropRules(rules: readonly object[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'spanbuf-e2e-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'rules.json');
  writeFileSync(file, JSON.stringify({ rules }));
  return file;
}

/** Spans that are segments of their own, as old as that. */
function spans(count: number, ageSeconds: number, nameBytes = 10): OutgoingMessage[] {
  return Array.from({ length: count }, (_, i) => {
    const traceId = randomBytes(16).toString('hex');
    const timestampMs = Date.now() - ageSeconds * 1_000 + i;
    const span = {
      ...{ project_id: 1, trace_id: traceId, span_id: randomBytes(8).toString('hex') },
      ...{ start_timestamp: timestampMs / 1_000, end_timestamp: timestampMs / 1_000, received: timestampMs / 1_000 },
      // Of no use to compression.
      name: randomBytes(nameBytes / 2).toString('hex'),
    };
    return { key: traceId, value: Buffer.from(JSON.stringify(span)), timestampMs };
  });
}

/** A cluster of its own, as it is ill-treated. */
async function ownCluster(): Promise<RedisClusterServers> {
  const cluster = await startRedisCluster({ replicas: 0 });
  onTestFinished(() => cluster.stop());
  return cluster;
}

async function onEachNode(cluster: RedisClusterServers, task: (client: Redis) => Promise<unknown>): Promise<void> {
  for (const node of cluster.nodes) {
    const client = new Redis(node.connection);
    await task(client).finally(() => client.disconnect());
  }
}

/** Keys of payloads on a node. */
async function payloadKeys(client: Redis): Promise<string[]> {
  return client.keys('span-buf:s:*');
}

const isDelivering = (flusher: AppProcess) =>
  expect.poll(() => sumOf(flusher, 'spanbuf_flusher_segments_total'), { timeout: 40_000 }).toBeGreaterThan(0);

describeWithKafka('a Prometheus that reads the apps', () => {
  if (!canRun) return it.skip('is not installed: apt-get install prometheus');

  it('fires nothing while all is well, and every panel shows something; then tells when processes go', async () => {
    const system = await System.open({
      env: {
        SPANBUF_PAUSE_WITHOUT_FLUSHER_SECONDS: '3',
        SPANBUF_DROP_RULES_FILE: dropRules([{ name: 'one', project: 1 }]),
      },
    });
    const consumer = await system.consumer();
    const flusher = await system.flusher();
    const other = await system.flusher();
    const watch = await Watch.open([consumer, flusher, other]);
    const load = system.startLoad({ rate: 300, seed: 91, args: ['--invalid-share', '0.003'] });
    const produced = async () =>
      (await sumOf(flusher, 'spanbuf_flusher_spans_total')) + (await sumOf(other, 'spanbuf_flusher_spans_total'));
    await expect.poll(produced, { timeout: 120_000, interval: 500 }).toBeGreaterThan(12_000);
    const empty = [];
    for (const { name, expr } of readDashboardQueries()) {
      const samples = await watch.query(filledIn(expr, 30));
      if (samples.length === 0 || samples.every(({ value }) => Number.isNaN(value))) empty.push(name);
    }
    expect(empty).toEqual([]);
    expect(await watch.everFired()).toEqual([]);

    await other.kill();
    await watch.fired(['SpanbufTargetDown']);
    await stop(flusher);
    await watch.fired(['SpanbufNoFlusher', 'SpanbufReadingPaused']);
    await load.stop();
    // As the one that comes after it does, where the port is fixed.
    const port = new URL(flusher.url).port;
    const isUp = async () => (await watch.query(`process_start_time_seconds{instance="127.0.0.1:${port}"}`)).length > 0;
    for (let i = 0; i < 4; i++) {
      // Seen to be away in between, so that each starts in another second: that is what tells them apart.
      await expect.poll(isUp).toBe(false);
      const again = await system.flusher({ SPANBUF_HTTP_PORT: port });
      await expect.poll(isUp).toBe(true);
      await stop(again);
    }
    await watch.fired(['SpanbufRestarting']);
    await stop(consumer);
    await watch.fired(['SpanbufNoConsumer']);
  });

  it('tells when Redis loses data, refuses writes, is full, and does not answer', async () => {
    const cluster = await ownCluster();
    const system = await System.open({
      redisUrl: cluster.url,
      partitionCount: 8,
      env: { SPANBUF_PAUSE_MEMORY_SHARE: '0.7', SPANBUF_RESUME_MEMORY_SHARE: '0.6' },
    });
    const consumer = await system.consumer();
    const flusher = await system.flusher();
    const watch = await Watch.open([consumer, flusher]);
    const load = system.startLoad({ rate: 200, seed: 92 });
    await isDelivering(flusher);
    expect(await watch.names()).toEqual([]);

    await onEachNode(cluster, async (client) => {
      for (const key of await payloadKeys(client)) await client.unlink(key);
    });
    await watch.fired(['SpanbufSpansLost']);
    await load.stop();
    await onEachNode(cluster, (client) => client.flushall());
    await watch.fired(['SpanbufReceiptsLost']);

    // By mistake; and further back than what was read before.
    await onEachNode(cluster, (client) => client.acl('SETUSER', 'spanbuf-consumer', '-set'));
    await system.send(spans(400, 1_200));
    await watch.fired(['SpanbufConsumerRetrying', 'SpanbufInputLag']);
    await onEachNode(cluster, (client) => client.acl('SETUSER', 'spanbuf-consumer', '+set'));

    await onEachNode(cluster, async (client) => {
      const usedBytes = Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1]);
      await client.config('SET', 'maxmemory', String(Math.round(usedBytes / 0.85)));
    });
    await watch.fired(['SpanbufRedisMemoryHigh', 'SpanbufReadingPaused']);

    for (const node of cluster.nodes) node.pause();
    onTestFinished(() => {
      for (const node of cluster.nodes) node.resume();
    });
    await watch.fired(['SpanbufNotReady']);
  });

  it('tells what cannot be read or produced, and when offsets wait for it', async () => {
    const cluster = await ownCluster();
    const system = await System.open({
      redisUrl: cluster.url,
      partitionCount: 1,
      env: { SPANBUF_COMMIT: 'flushed' },
      outputConfig: { 'max.message.bytes': '6000' },
    });
    const consumer = await system.consumer();
    const flusher = await system.flusher({ SPANBUF_OUTPUT_COMPRESSION: 'none' });
    const watch = await Watch.open([consumer, flusher]);
    // The broker refuses the first one for good.
    await system.send([...spans(1, 1_500, 20_000), ...spans(20, 1_500)]);
    await expect.poll(() => sumOf(flusher, 'spanbuf_flusher_spans_total'), { timeout: 40_000 }).toBeGreaterThan(0);
    const load = system.startLoad({ rate: 100, seed: 93, args: ['--invalid-share', '0.05'] });
    await expect
      .poll(async () => {
        let count = 0;
        await onEachNode(cluster, async (client) => {
          const [key] = await payloadKeys(client);
          if (key !== undefined) count += (await client.set(key, 'garbage', 'KEEPTTL')) === 'OK' ? 1 : 0;
        });
        return count;
      })
      .toBe(3);
    await watch.fired(['SpanbufSegmentsParked', 'SpanbufPayloadUnreadable', 'SpanbufDeadLetters', 'SpanbufCommitLag']);
    await load.stop();
    await onEachNode(cluster, (client) => client.flushall());
    await watch.fired(['SpanbufInputReadAgain']);
  });

  it('tells when Kafka does not take what comes out', async () => {
    const system = await System.open({ env: { SPANBUF_PAUSE_OVERDUE_SECONDS: '3600' } });
    const consumer = await system.consumer();
    const flusher = await system.flusher({ SPANBUF_FLUSH_SEGMENTS: '4' });
    const watch = await Watch.open([consumer, flusher]);
    const load = system.startLoad({ rate: 100, seed: 94 });
    await isDelivering(flusher);
    const admin = new Kafka({ brokers: system.brokers.split(','), logLevel: 0 }).admin();
    await admin.connect();
    await admin.deleteTopics({ topics: [system.topics.output] }).finally(() => admin.disconnect());
    await watch.fired(['SpanbufProduceFailing', 'SpanbufNothingComesOut', 'SpanbufSegmentsOverdue'], 180_000);
    await load.stop();
  });
});
