/** Case `replay`: what was processed before comes again, as after a consumer that died; nothing of it may be stored twice. */
import { type Span, SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCase } from '../bench-case.ts';
import { doneAll, flushAll, learnShares, processAll } from '../measure/against-floor.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import { type Cost, totalOf } from '../measure/cost.ts';
import { writeFloor } from '../measure/floor.ts';
import type { Recording } from '../report/recording.ts';
import { median } from '../report/statistics.ts';
import { pagesOf } from '../workload/spans.ts';
import { describeTraces, type TraceWorkload } from '../workload/traces.ts';
import { typicalStreams } from './typical.ts';

const WARM_UP_ROUNDS = 1;
const ROUNDS = 5;
/** No multiple of the batches of before. */
const OTHER_BATCH_SPANS = 1_300;

const REPLAYS = ['while held, same batches', 'while held, other batches', 'after done, same batches'] as const;

export const replay: BenchCase = {
  name: 'replay',
  title: 'Process, spans that were processed before',
  floor: 'SET of the same spans, as of typical',
  run: (recording, size) => withRedis([3], (redis) => run(recording, size, redis as BenchRedis)),
};

async function run(recording: Recording, size: number, redis: BenchRedis): Promise<void> {
  const streams = typicalStreams(size);
  const spanCount = streams.reduce((sum, stream) => sum + stream.spanCount, 0);
  recording.workload(`${describeTraces(streams)}; processed once, not measured, then again`);
  await learnShares(redis, 'distributed', streams);
  const rounds = Array.from(REPLAYS, (): { ours: Cost; floor: Cost }[] => []);
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    const costs = await measureReplays(redis, streams, round % 2 === 0);
    if (round >= 0) for (const [i, cost] of costs.entries()) rounds[i]?.push(cost);
  }
  const rows = REPLAYS.map((name, i) => {
    const costs = rounds[i] ?? [];
    const perSpan = (measure: 'wallMicros' | 'clientMicros' | 'commandMicros' | 'scriptCalls') =>
      median(costs.map(({ ours }) => totalOf([ours], measure) / spanCount));
    const values = costs.map(({ ours, floor }) => floor.wallMicros / ours.wallMicros);
    return [
      name,
      (1e3 / perSpan('wallMicros')).toFixed(1),
      recording.ratio({ name: `process again / SET: ${name}`, values, better: 'higher' }),
      perSpan('clientMicros').toFixed(1),
      perSpan('commandMicros').toFixed(2),
      perSpan('scriptCalls').toFixed(3),
    ];
  });
  recording.table(
    'Three nodes, distributed, none; microseconds and calls per span',
    ['', 'k spans/s', 'ratio', 'client us', 'commands us', 'script calls'],
    rows,
  );
}

async function measureReplays(
  redis: BenchRedis,
  streams: readonly TraceWorkload[],
  floorFirst: boolean,
): Promise<{ ours: Cost; floor: Cost }[]> {
  const buffer = new SpanBuffer(createRedisStore(redis.client));
  const replay = (batchesOf: (stream: TraceWorkload) => readonly (readonly Span[])[]) =>
    measurePair(redis, streams, floorFirst, (stream) => processAll(buffer, { batches: batchesOf(stream) }, 'replayed'));
  await Promise.all(streams.map((stream) => processAll(buffer, stream)));
  const same = await replay(({ batches }) => batches);
  const other = await replay(({ batches }) => pagesOf(batches.flat(), OTHER_BATCH_SPANS));
  for (const stream of streams) await doneAll(buffer, await flushAll(buffer, stream));
  const after = await replay(({ batches }) => batches);
  await redis.clear();
  return [same, other, after];
}

async function measurePair(
  redis: BenchRedis,
  streams: readonly TraceWorkload[],
  floorFirst: boolean,
  action: (stream: TraceWorkload) => Promise<void>,
): Promise<{ ours: Cost; floor: Cost }> {
  const ours = () => redis.measure(() => Promise.all(streams.map(action)), 'distributed');
  const write = () => redis.measure(() => Promise.all(streams.map((stream) => writeFloor(redis.client, stream))));
  const first = await (floorFirst ? write() : ours());
  const second = await (floorFirst ? ours() : write());
  const [floor, own] = floorFirst ? [first, second] : [second, first];
  return { ours: own.cost, floor: floor.cost };
}
