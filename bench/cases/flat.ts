/** Case `flat`: a span costs the same whatever the size of its segment, the shape of the tree and the order of arrival. */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCase } from '../bench-case.ts';
import { buildMessages, doneAll, flushAll, type Ours, processAll } from '../measure/against-floor.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import { type Measure, totalOf } from '../measure/cost.ts';
import type { Recording } from '../report/recording.ts';
import type { Bar } from '../report/result.ts';
import { bar, median } from '../report/statistics.ts';
import { ARRIVALS, type Arrival, segmentsOf } from '../workload/large.ts';
import { scaled, type Workload } from '../workload/spans.ts';

const SPANS = 100_000;
const SIZES = [10, 1_000, 100_000];
const WARM_UP_SPANS = 20_000;
const ROUNDS = 3;
const MOST_RATIO = 1.5;
const MAX_SEGMENT_BYTES = 1_000_000_000;

const MEASURES = { client: 'clientMicros', Redis: 'redisMicros' } as const satisfies Record<string, Measure>;

export const flat: BenchCase = {
  name: 'flat',
  title: 'Time per span in small and large segments',
  floor: 'the size that costs least',
  run: (recording, size) => withRedis([3], (redis) => run(recording, size, redis as BenchRedis)),
};

async function run(recording: Recording, size: number, redis: BenchRedis): Promise<void> {
  const spanCount = scaled(SPANS, size, 1_000);
  const sizes = SIZES.map((segmentSpans) => Math.min(segmentSpans, spanCount));
  recording.workload(
    `${spanCount} spans of 1 KB in segments of ${sizes.join(', ')}, one after the other, in batches of 2000, one partition, ` +
      `three nodes, distributed; ${ROUNDS} rounds`,
  );
  await measureLife(redis, segmentsOf('random', { segmentSpans: 100, spanCount: WARM_UP_SPANS }));
  const rows: string[][] = [];
  const bars = { client: [] as Bar[], Redis: [] as Bar[] };
  for (const arrival of ARRIVALS) {
    recording.progress(arrival);
    const rounds = await measureArrival(redis, arrival, sizes, spanCount);
    for (const [who, measure] of Object.entries(MEASURES)) {
      // By size: a value of each round.
      const life = sizes.map((_, i) => rounds.map((round) => microsOf(round[i] as Ours, measure) / spanCount));
      const values = rounds.map((_, round) => {
        const costs = life.map((each) => each[round] as number);
        return Math.max(...costs) / Math.min(...costs);
      });
      const name = `${who} time, largest / smallest: ${arrival}`;
      const verdict = recording.ratio({ name, values, better: 'lower' }, { acceptance: 3, atMost: MOST_RATIO });
      const byStep = (step: keyof Ours) =>
        sizes.map((_, i) => median(rounds.map((round) => totalOf([(round[i] as Ours)[step]], measure) / spanCount)));
      rows.push([
        arrival,
        who,
        ...life.map((costs) => median(costs).toFixed(1)),
        verdict,
        ...(['process', 'flush', 'messages', 'done'] as const).map((step) => slashed(byStep(step))),
      ]);
      for (const [i, costs] of life.entries()) {
        bars[who as keyof typeof bars].push(bar(`${arrival}: ${sizes[i]}`, costs));
      }
    }
  }
  recording.table(
    'CPU microseconds a span from process to done, of the client and of all nodes; the steps at each size',
    ['', 'who', ...sizes.map(String), 'largest / smallest', 'process', 'flush', 'messages', 'done'],
    rows,
  );
  for (const [who, own] of Object.entries(bars)) {
    recording.chart({
      id: `flat-${who.toLowerCase()}`,
      title: `${who === 'Redis' ? 'CPU time of Redis' : 'CPU time of the client'} by size of the segment`,
      unit: 'microseconds a span, process to done',
      bars: own,
    });
  }
}

/** Rounds, each with what the life of the spans costs at each size. Sizes take turns. */
async function measureArrival(
  redis: BenchRedis,
  arrival: Arrival,
  sizes: readonly number[],
  spanCount: number,
): Promise<Ours[][]> {
  const workloads = sizes.map((segmentSpans) => segmentsOf(arrival, { segmentSpans, spanCount }));
  const rounds: Ours[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const costs: Ours[] = [];
    for (const workload of workloads) costs.push(await measureLife(redis, workload));
    rounds.push(costs);
  }
  return rounds;
}

async function measureLife(redis: BenchRedis, workload: Workload): Promise<Ours> {
  const buffer = new SpanBuffer(createRedisStore(redis.client), { maxSegmentBytes: MAX_SEGMENT_BYTES });
  const process = await redis.measure(() => processAll(buffer, workload));
  const flush = await redis.measure(() => flushAll(buffer, workload));
  const messages = await redis.measure(() => buildMessages(flush.result));
  const done = await redis.measure(() => doneAll(buffer, flush.result));
  await redis.clear();
  return { process: process.cost, flush: flush.cost, messages: messages.cost, done: done.cost };
}

function microsOf(ours: Ours, measure: Measure): number {
  return totalOf([ours.process, ours.flush, ours.messages, ours.done], measure);
}

function slashed(values: readonly number[]): string {
  return values.map((value) => value.toFixed(1)).join(' / ');
}
