/**
 * Case `chain`: a chain that arrives leaf first, one span per batch. Each batch merges what is there under a new root; the
 * time per batch must not grow with what is there. Compared are the medians of the first and the last tenth.
 */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCase } from '../bench-case.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import { median } from '../report/statistics.ts';
import { segmentsOf } from '../workload/large.ts';
import { LATER, NOW, scaled, type Workload } from '../workload/spans.ts';

const SPANS = 10_000;
const ROUNDS = 3;
const MAX_SEGMENT_BYTES = 1_000_000_000;

export const chain: BenchCase = {
  name: 'chain',
  title: 'A chain, leaf first, one span per batch',
  floor: 'the first tenth of the same chain',
  run: (recording, size) =>
    withRedis([3], async (redis) => {
      const spanCount = scaled(SPANS, size, 100);
      recording.workload(`a chain of ${spanCount} spans, leaf first, one span per batch, ${ROUNDS} rounds`);
      const workload = segmentsOf('chain, leaf first', { segmentSpans: spanCount, spanCount, batchSpans: 1 });
      const warmUp = segmentsOf('chain, leaf first', { segmentSpans: 100, spanCount: 1_000, batchSpans: 1 });
      const rows: string[][] = [];
      for (const layout of ['distributed', 'colocated'] as const) {
        await batchTimes(redis as BenchRedis, warmUp, layout);
        const rounds: number[][] = [];
        while (rounds.length < ROUNDS) {
          const times = await batchTimes(redis as BenchRedis, workload, layout);
          rounds.push(tenthsOf(times).map(median));
        }
        const values = rounds.map((tenths) => (tenths[9] as number) / (tenths[0] as number));
        const tenths = Array.from({ length: 10 }, (_, i) => median(rounds.map((round) => round[i] as number)));
        const growth = recording.ratio({ name: `last tenth / first tenth: ${layout}`, values, better: 'lower' });
        rows.push([layout, ...tenths.map((ms) => ms.toFixed(2)), growth]);
      }
      recording.table(
        'Median milliseconds per batch, tenth by tenth',
        ['', ...Array.from({ length: 10 }, (_, i) => `${i + 1}.`), 'last / first'],
        rows,
      );
    }),
};

function tenthsOf(times: readonly number[]): number[][] {
  return Array.from({ length: 10 }, (_, i) => times.slice((i * times.length) / 10, ((i + 1) * times.length) / 10));
}

async function batchTimes(
  redis: BenchRedis,
  workload: Workload,
  layout: 'distributed' | 'colocated',
): Promise<number[]> {
  const buffer = new SpanBuffer(createRedisStore(redis.client, { layout }), { maxSegmentBytes: MAX_SEGMENT_BYTES });
  const times: number[] = [];
  for (const batch of workload.batches) {
    const startedMs = performance.now();
    await buffer.process(batch, { now: NOW });
    times.push(performance.now() - startedMs);
  }
  const segments = await buffer.flush({ now: LATER });
  const spans = segments.reduce((sum, { spanCount }) => sum + spanCount, 0);
  if (spans !== workload.spanCount) throw new Error(`${spans} of ${workload.spanCount} spans were flushed`);
  await redis.clear();
  return times;
}
