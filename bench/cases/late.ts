/** Case `late`: spans whose segment was flushed before, so that they form its next generation. */
import type { BenchCase } from '../bench-case.ts';
import {
  doneAll,
  flushAll,
  learnShares,
  measureRound,
  processAll,
  type Round,
  type Variant,
} from '../measure/against-floor.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import { nameOf, recordVariant, UNITS } from '../measure/comparisons.ts';
import { scaled } from '../workload/spans.ts';
import { describeTraces, lateWorkload } from '../workload/traces.ts';

const STREAMS = 4;
const TRACES = 1_700;
const WARM_UP_ROUNDS = 1;
const ROUNDS = 5;
const VARIANT: Variant = { nodes: 'three nodes', layout: 'distributed', compression: 'none' };

export const late: BenchCase = {
  name: 'late',
  title: 'Process and flush, spans that come after their segment was flushed',
  floor: 'as of typical',
  run: (recording, size) =>
    withRedis([3], async (redis) => {
      const streams = Array.from({ length: STREAMS }, (_, stream) =>
        lateWorkload(scaled(TRACES / STREAMS, size), stream),
      );
      const late = streams.map((stream) => stream.late);
      const spanCount = late.reduce((sum, stream) => sum + stream.spanCount, 0);
      recording.workload(`not measured: ${describeTraces(streams.map(({ early }) => early))}, flushed and done`);
      recording.workload(`measured, the rest of the same segments: ${describeTraces(late)}`);
      await learnShares(redis as BenchRedis, 'distributed', late);
      const rounds: Round[] = [];
      for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
        const figures = await measureRound(redis as BenchRedis, late, VARIANT, {
          floorFirst: round % 2 === 0,
          prepare: async (buffer) => {
            for (const { early } of streams) {
              await processAll(buffer, early);
              await doneAll(buffer, await flushAll(buffer, early));
            }
          },
        });
        if (round >= 0) rounds.push(figures);
      }
      recording.note(UNITS);
      recordVariant(recording, nameOf(VARIANT), rounds, spanCount);
    }),
};
