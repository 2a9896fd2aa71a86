/** Case `small`: traces of one to three spans, where the price of a trace is shared by next to nothing. */
import type { BenchCase } from '../bench-case.ts';
import { learnShares, measureRound, type Round, type Variant } from '../measure/against-floor.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import { nameOf, recordVariant, UNITS } from '../measure/comparisons.ts';
import { scaled } from '../workload/spans.ts';
import { describeTraces, SMALL, traceWorkload } from '../workload/traces.ts';

const STREAMS = 4;
const TRACES = 10_000;
const WARM_UP_ROUNDS = 1;
const ROUNDS = 5;
const VARIANTS: readonly Variant[] = (['three nodes', 'one node'] as const).map((nodes) => ({
  nodes,
  layout: 'distributed',
  compression: 'none',
}));

export const small: BenchCase = {
  name: 'small',
  title: 'Process and flush, many small traces',
  floor: 'as of typical',
  run: (recording, size) =>
    withRedis([3, 1], async (cluster, single) => {
      const streams = Array.from({ length: STREAMS }, (_, stream) =>
        traceWorkload(SMALL, scaled(TRACES / STREAMS, size), stream),
      );
      const spanCount = streams.reduce((sum, stream) => sum + stream.spanCount, 0);
      recording.workload(describeTraces(streams));
      for (const redis of [cluster, single]) await learnShares(redis as BenchRedis, 'distributed', streams);
      const rounds = new Map<Variant, Round[]>(VARIANTS.map((variant) => [variant, []]));
      for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
        for (const variant of VARIANTS) {
          const redis = (variant.nodes === 'one node' ? single : cluster) as BenchRedis;
          const figures = await measureRound(redis, streams, variant, { floorFirst: round % 2 === 0 });
          if (round >= 0) rounds.get(variant)?.push(figures);
        }
      }
      recording.note(UNITS);
      for (const [variant, figures] of rounds) recordVariant(recording, nameOf(variant), figures, spanCount);
    }),
};
