/**
 * Case `chain`: a chain of 10,000 spans that arrives leaf first, one span per batch. Each batch merges what is there under
 * a new root; the time per batch must not grow with what is there. Compared are the medians of the first and the last
 * tenth, both of the same run.
 */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCluster } from './bench-cluster.ts';
import { median, type Report } from './report.ts';
import { LATER, largeSegment, NOW, type Workload } from './workload.ts';

const SPANS = 10_000;
const WARM_UP_SPANS = 1_000;
const MOST_GROWTH = 1.5;
const MAX_SEGMENT_BYTES = 1_000_000_000;

export async function chain(cluster: BenchCluster, report: Report): Promise<void> {
  report.heading(`chain of ${SPANS} spans, leaf first, one span per batch`);
  const workload = largeSegment('chain', SPANS, 1);
  const warmUp = largeSegment('chain', WARM_UP_SPANS, 1);
  const rows: (string | number)[][] = [];
  for (const layout of ['distributed', 'colocated'] as const) {
    await batchTimes(cluster, warmUp, layout);
    const times = await batchTimes(cluster, workload, layout);
    const tenths = Array.from({ length: 10 }, (_, i) => median(times.slice((i * SPANS) / 10, ((i + 1) * SPANS) / 10)));
    const growth = (tenths[9] as number) / (tenths[0] as number);
    const name = `chain, ${layout}: last tenth / first tenth`;
    const verdict = layout === 'distributed' ? report.atMost(name, growth, MOST_GROWTH) : growth.toFixed(2);
    rows.push([layout, ...tenths.map((ms) => ms.toFixed(2)), verdict]);
    report.figures[name] = { growth, tenthsMs: tenths };
  }
  report.note('Median milliseconds per batch, tenth by tenth');
  report.table(['', ...Array.from({ length: 10 }, (_, i) => `${i + 1}.`), 'last / first'], rows);
}

async function batchTimes(
  cluster: BenchCluster,
  { batches, spanCount }: Workload,
  layout: 'distributed' | 'colocated',
): Promise<number[]> {
  const buffer = new SpanBuffer(createRedisStore(cluster.client, { layout }), { maxSegmentBytes: MAX_SEGMENT_BYTES });
  const times: number[] = [];
  for (const batch of batches) {
    const startedMs = performance.now();
    await buffer.process(batch, { now: NOW });
    times.push(performance.now() - startedMs);
  }
  const segments = await buffer.flush({ now: LATER });
  if (segments.length !== 1 || segments[0]?.spanCount !== spanCount) throw new Error('the chain is not one segment');
  await cluster.clear();
  return times;
}
