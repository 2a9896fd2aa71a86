/** Case `scale`: more shards, and more Redis nodes, as far as the cores of this machine can show it. */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCase } from '../bench-case.ts';
import { buildMessages, doneAll, flushAll, processAll } from '../measure/against-floor.ts';
import { type BenchRedis, withRedis } from '../measure/bench-redis.ts';
import type { Cost } from '../measure/cost.ts';
import type { Recording } from '../report/recording.ts';
import { bar, median, spread } from '../report/statistics.ts';
import { scaled } from '../workload/spans.ts';
import { describeTraces, type TraceWorkload, TYPICAL, traceWorkload } from '../workload/traces.ts';

const SHARDS = [1, 2, 4, 8];
const NODES = [1, 2, 3, 6];
const TRACES = 1_700;
const WARM_UP_ROUNDS = 1;
const ROUNDS = 3;
/** The cluster of the other cases. */
const USUAL_NODES = 3;

interface Setting {
  readonly shards: number;
  readonly nodes: number;
}

interface Run {
  readonly process: Cost;
  readonly flush: Cost;
}

export const scale: BenchCase = {
  name: 'scale',
  title: 'Shards and Redis nodes',
  floor: 'one shard, or one node',
  run: (recording, size) => withRedis(NODES, (...redis) => run(recording, size, redis)),
};

async function run(recording: Recording, size: number, redis: readonly BenchRedis[]): Promise<void> {
  const streams = new Map<number, TraceWorkload[]>(
    SHARDS.map((shards) => [
      shards,
      Array.from({ length: shards }, (_, i) => traceWorkload(TYPICAL, scaled(TRACES / shards, size), i)),
    ]),
  );
  const spans = (streams.get(1) ?? []).reduce((sum, { spanCount }) => sum + spanCount, 0);
  recording.workload(
    `${describeTraces(streams.get(1) ?? [])}; the same traces in ${SHARDS.join(', ')} partitions at once, on ${NODES.join(', ')} ` +
      `nodes, distributed; one client process; ${ROUNDS} rounds`,
  );
  const settings: Setting[] = NODES.flatMap((nodes) => SHARDS.map((shards) => ({ shards, nodes })));
  const runs = new Map<Setting, Run[]>(settings.map((setting) => [setting, []]));
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    recording.progress(`round ${round + 1} of ${ROUNDS}`);
    for (const setting of settings) {
      const on = redis[NODES.indexOf(setting.nodes)] as BenchRedis;
      const measured = await measureRun(on, streams.get(setting.shards) as TraceWorkload[]);
      if (round >= 0) runs.get(setting)?.push(measured);
    }
  }
  const speeds = ({ shards, nodes }: Setting, step: keyof Run) => {
    const setting = settings.find((each) => each.shards === shards && each.nodes === nodes) as Setting;
    return (runs.get(setting) ?? []).map((each) => (1e3 * spans) / each[step].wallMicros);
  };
  for (const step of ['process', 'flush'] as const) {
    recording.table(
      `Thousand spans a second, ${step === 'flush' ? 'flush, messages and done' : step}, by shards`,
      ['Redis nodes', ...SHARDS.map(String)],
      NODES.map((nodes) => [`${nodes}`, ...SHARDS.map((shards) => spread(speeds({ shards, nodes }, step), 1))]),
    );
  }
  const most = Math.max(...SHARDS);
  const busiest = NODES.map((nodes) => {
    const all = runs.get(settings.find((each) => each.shards === most && each.nodes === nodes) as Setting) ?? [];
    return all.map(({ process, flush }) => (process.busiestNodeMicros + flush.busiestNodeMicros) / spans);
  });
  recording.table(
    `CPU of the busiest Redis node, us a span from process to done, and what that node could take alone, ${most} shards`,
    ['Redis nodes', 'us a span', 'times less than one node', 'k spans/s'],
    NODES.map((nodes, i) => {
      const micros = busiest[i] as number[];
      const values = micros.map((each, round) => ((busiest[0] as number[])[round] as number) / each);
      const gain =
        i === 0 ? '' : recording.ratio({ name: `busiest of ${nodes} nodes / one node`, values, better: 'higher' });
      return [`${nodes}`, spread(micros), gain, (1e3 / median(micros)).toFixed(0)];
    }),
  );
  recording.chart({
    id: 'scale-shards',
    title: 'Shards, on three Redis nodes',
    unit: 'thousand spans a second, process',
    bars: SHARDS.map((shards) => bar(`${shards} shards`, speeds({ shards, nodes: USUAL_NODES }, 'process'))),
  });
  recording.chart({
    id: 'scale-nodes',
    title: 'What the busiest Redis node has to do',
    unit: 'CPU microseconds a span, process to done',
    bars: NODES.map((nodes, i) => bar(`${nodes} nodes`, busiest[i] as number[])),
  });
  recording.figure('oneShardSpansPerSecond', 1e3 * median(speeds({ shards: 1, nodes: USUAL_NODES }, 'process')));
}

async function measureRun(redis: BenchRedis, streams: readonly TraceWorkload[]): Promise<Run> {
  const buffer = new SpanBuffer(createRedisStore(redis.client));
  const process = await redis.measure(() => Promise.all(streams.map((stream) => processAll(buffer, stream))));
  const flush = await redis.measure(() =>
    Promise.all(
      streams.map(async (stream) => {
        const pages = await flushAll(buffer, stream);
        buildMessages(pages);
        await doneAll(buffer, pages);
      }),
    ),
  );
  await redis.clear();
  return { process: process.cost, flush: flush.cost };
}
