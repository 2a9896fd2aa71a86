/** Case `balance`: how the bytes of one trace spread over the nodes. */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { Redis } from 'ioredis';
import type { BenchCase } from '../bench-case.ts';
import { processAll } from '../measure/against-floor.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import type { Recording } from '../report/recording.ts';
import type { Bar } from '../report/result.ts';
import { mean } from '../report/statistics.ts';
import { ARRIVALS, segmentsOf } from '../workload/large.ts';
import { scaled } from '../workload/spans.ts';

const SPANS = 100_000;
const MOST_RATIO = 1.1;
const MAX_SEGMENT_BYTES = 1_000_000_000;
const SCAN_COUNT = 5_000;
const MIB = 2 ** 20;

export const balance: BenchCase = {
  name: 'balance',
  title: 'Bytes per node of one large trace',
  floor: 'none: a third on each of three nodes would be even',
  run: (recording, size) => withRedis([3], (redis) => run(recording, size, redis as BenchRedis)),
};

async function run(recording: Recording, size: number, redis: BenchRedis): Promise<void> {
  const spanCount = scaled(SPANS, size);
  recording.workload(`one segment of ${spanCount} spans, 1 KB each: ${ARRIVALS.join('; ')}`);
  const rows: string[][] = [];
  const bars: Bar[] = [];
  await fill(redis, segmentsOf('random', { segmentSpans: 1_000, spanCount: 1_000 }), 'distributed');
  await redis.clear();
  for (const arrival of ARRIVALS) {
    const workload = segmentsOf(arrival, { segmentSpans: spanCount, spanCount });
    for (const layout of ['distributed', 'colocated'] as const) {
      const before = await redis.usedMemory();
      await fill(redis, workload, layout);
      const after = await redis.usedMemory();
      const memory = after.map((bytes, i) => bytes - (before[i] as number));
      const payloads = await redis.onEachNode(payloadBytes);
      await redis.clear();
      const judge = (what: string, bytes: readonly number[]) => {
        const ratio = Math.max(...bytes) / mean(bytes);
        if (layout === 'colocated') return ratio.toFixed(2);
        const name = `${what}, largest / mean: ${arrival}`;
        return recording.ratio({ name, values: [ratio], better: 'lower' }, { acceptance: 5, atMost: MOST_RATIO });
      };
      rows.push([
        arrival,
        layout,
        sharesOf(memory),
        judge('all bytes', memory),
        sharesOf(payloads),
        judge('payload bytes', payloads),
      ]);
      bars.push({ label: `${arrival}: ${layout}`, value: Math.max(...memory) / mean(memory) });
    }
  }
  recording.table(
    'Shares of the nodes and their sum, MiB; all bytes: growth of used_memory',
    ['', 'layout', 'all bytes', 'largest / mean', 'payload bytes', 'largest / mean'],
    rows,
  );
  recording.chart({
    id: 'balance',
    title: `Bytes of one trace of ${spanCount} spans on three nodes`,
    unit: 'fullest node / mean',
    bars,
    limit: { value: MOST_RATIO, label: `${MOST_RATIO}` },
  });
}

async function fill(
  redis: BenchRedis,
  workload: Parameters<typeof processAll>[1],
  layout: 'distributed' | 'colocated',
) {
  const store = createRedisStore(redis.client, { layout });
  await processAll(new SpanBuffer(store, { maxSegmentBytes: MAX_SEGMENT_BYTES }), workload);
}

/** Memory of all payload keys of a node, and of nothing else. */
async function payloadBytes(node: Redis): Promise<number> {
  let bytes = 0;
  let cursor = '0';
  do {
    const [next, keys] = await node.scan(cursor, 'MATCH', 'span-buf:s:*', 'COUNT', SCAN_COUNT);
    cursor = next;
    const pipeline = node.pipeline();
    for (const key of keys) pipeline.memory('USAGE', key, 'SAMPLES', 0);
    for (const [, usage] of (await pipeline.exec()) ?? []) bytes += Number(usage);
  } while (cursor !== '0');
  return bytes;
}

function sharesOf(values: readonly number[]): string {
  const total = mean(values) * values.length;
  const shares = values.map((value) => `${Math.max(0, (100 * value) / total).toFixed(1)}%`).join(' ');
  return `${shares} of ${(total / MIB).toFixed(1)}`;
}
