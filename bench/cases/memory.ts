/** Case `memory`: what a held span takes in Redis, and what of it stays while its trace is known after the flush. */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCase } from '../bench-case.ts';
import { doneAll, flushAll, optionsOf, processAll, type Variant } from '../measure/against-floor.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import { nameOf } from '../measure/comparisons.ts';
import { writeFloor } from '../measure/floor.ts';
import type { Recording } from '../report/recording.ts';
import type { Bar } from '../report/result.ts';
import { describeTraces, type TraceWorkload } from '../workload/traces.ts';
import { typicalStreams } from './typical.ts';

const MOST_BYTES_BEYOND = 150;
const MOST_SHARE_PACKED = 0.45;

const VARIANTS: readonly Variant[] = (['three nodes', 'one node'] as const).flatMap((nodes) =>
  (['distributed', 'colocated'] as const).flatMap((layout) =>
    (['none', 'zstd'] as const).map((compression) => ({ nodes, layout, compression })),
  ),
);

export const memory: BenchCase = {
  name: 'memory',
  title: 'Memory of Redis',
  floor: 'one SET … EX per span',
  run: (recording, size) =>
    withRedis([3, 1], (cluster, single) => run(recording, size, cluster as BenchRedis, single as BenchRedis)),
};

async function run(recording: Recording, size: number, cluster: BenchRedis, single: BenchRedis): Promise<void> {
  const streams = typicalStreams(size);
  const spanCount = streams.reduce((sum, stream) => sum + stream.spanCount, 0);
  const payloadBytes = streams.reduce((sum, stream) => sum + stream.payloadBytes, 0);
  recording.workload(describeTraces(streams));
  const perSpan = (bytes: number) => bytes / spanCount;
  const rows: string[][] = [];
  const bars: Bar[] = [];
  for (const variant of VARIANTS) {
    const redis = variant.nodes === 'one node' ? single : cluster;
    const { held, kept } = await growth(redis, streams, variant);
    const [beyond, share] = [perSpan(held - payloadBytes), held / payloadBytes];
    const name = nameOf(variant);
    const isJudged = variant.layout === 'distributed' && variant.nodes === 'three nodes';
    const isPacked = variant.compression === 'zstd';
    rows.push([
      name,
      perSpan(held).toFixed(0),
      isJudged && !isPacked
        ? recording.expect(
            'bytes of a span beyond its payload',
            beyond,
            { acceptance: 6, atMost: MOST_BYTES_BEYOND },
            0,
          )
        : beyond.toFixed(0),
      isJudged && isPacked
        ? recording.expect('zstd: memory / payload', share, { acceptance: 6, atMost: MOST_SHARE_PACKED })
        : share.toFixed(2),
      perSpan(kept).toFixed(0),
    ]);
    bars.push({ label: name, value: perSpan(held) });
    if (!isJudged) continue;
    recording.ratio({ name: `memory / payload: ${name}`, values: [share], better: 'lower' });
    recording.figure(`${variant.compression}.heldBytes`, perSpan(held));
    recording.figure(`${variant.compression}.keptBytes`, perSpan(kept));
  }
  const before = await used(cluster);
  for (const stream of streams) await writeFloor(cluster.client, stream);
  const floor = (await used(cluster)) - before;
  await cluster.clear();
  rows.push([
    'SET, three nodes',
    perSpan(floor).toFixed(0),
    perSpan(floor - payloadBytes).toFixed(0),
    (floor / payloadBytes).toFixed(2),
    '',
  ]);
  bars.push({ label: 'SET, three nodes', value: perSpan(floor) });
  recording.table(
    'Growth of used_memory, bytes a span',
    ['', 'held', 'beyond payload', 'held / payload', 'kept after done'],
    rows,
  );
  recording.note('kept after done: what recognises late spans and replays, for the dedupe window (120 s).');
  recording.chart({
    id: 'memory',
    title: 'Memory of a held span',
    unit: 'bytes of used_memory a span',
    bars,
    limit: { value: perSpan(payloadBytes), label: 'payload' },
  });
}

async function growth(
  redis: BenchRedis,
  streams: readonly TraceWorkload[],
  variant: Variant,
): Promise<{ held: number; kept: number }> {
  const buffer = new SpanBuffer(createRedisStore(redis.client, optionsOf(variant)));
  // The first time it loads the scripts, and grows buffers.
  let [before, held, kept] = [0, 0, 0];
  for (let time = 0; time < 2; time++) {
    before = await used(redis);
    for (const stream of streams) await processAll(buffer, stream);
    held = (await used(redis)) - before;
    for (const stream of streams) await doneAll(buffer, await flushAll(buffer, stream));
    kept = (await used(redis)) - before;
    await redis.clear();
  }
  return { held, kept };
}

async function used(redis: BenchRedis): Promise<number> {
  return (await redis.usedMemory()).reduce((sum, bytes) => sum + bytes, 0);
}
