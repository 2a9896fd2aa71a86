/**
 * Case `balance`: how the bytes of one trace of 100,000 spans spread over the nodes. Judged are the payloads as stored;
 * beside them stands what each node's memory grew by, in which the structure of the trace, all in one slot, is included.
 */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { Redis } from 'ioredis';
import type { BenchCluster } from './bench-cluster.ts';
import { processAll } from './process-flush.ts';
import type { Report } from './report.ts';
import { largeSegment, SHAPES } from './workload.ts';

const SPANS = 100_000;
const MOST_UNEVENNESS = 0.15;
const MAX_SEGMENT_BYTES = 1_000_000_000;
const SCAN_COUNT = 5_000;
const MIB = 2 ** 20;

export async function balance(cluster: BenchCluster, report: Report): Promise<void> {
  report.heading(`bytes per node, one trace of ${SPANS} spans`);
  const rows: string[][] = [];
  for (const shape of SHAPES) {
    const workload = largeSegment(shape, SPANS);
    for (const layout of ['distributed', 'colocated'] as const) {
      const before = await cluster.usedMemory();
      const store = createRedisStore(cluster.client, { layout });
      await processAll(new SpanBuffer(store, { maxSegmentBytes: MAX_SEGMENT_BYTES }), workload);
      const after = await cluster.usedMemory();
      const memory = after.map((bytes, i) => bytes - (before[i] as number));
      const payloads = await cluster.onEachNode(payloadBytes);
      const name = `unevenness of payload bytes, ${layout}, ${shape}`;
      const unevenness = largestDeviation(payloads);
      rows.push([
        shape,
        layout,
        describe(payloads),
        layout === 'distributed' ? report.atMost(name, unevenness, MOST_UNEVENNESS) : unevenness.toFixed(2),
        describe(memory),
        largestDeviation(memory).toFixed(2),
      ]);
      report.figures[name] = { payloads, memory };
      await cluster.clear();
    }
  }
  report.note('Shares of the nodes, largest / mean, sum in MiB; uneven: largest deviation of a node from the mean');
  report.table(['shape', 'layout', 'payloads', 'uneven', 'memory', 'uneven'], rows);
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

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function largestDeviation(values: readonly number[]): number {
  return Math.max(...values.map((value) => Math.abs(value / mean(values) - 1)));
}

function describe(values: readonly number[]): string {
  const total = mean(values) * values.length;
  const shares = values.map((value) => `${((100 * value) / total).toFixed(1)}%`).join(' ');
  return `${shares}  ${(Math.max(...values) / mean(values)).toFixed(2)}  ${(total / MIB).toFixed(1)}`;
}
