/** Case `typical`: what assembling costs on top of storing, at the load that is meant to be the rule. */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
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
import { nameOf, recordFigures, recordVariant, UNITS } from '../measure/comparisons.ts';
import { type Cost, totalOf } from '../measure/cost.ts';
import { commandName } from '../measure/script-names.ts';
import type { Recording } from '../report/recording.ts';
import type { Bar } from '../report/result.ts';
import { median, spread } from '../report/statistics.ts';
import { scaled } from '../workload/spans.ts';
import { describeTraces, type TraceWorkload, TYPICAL, traceWorkload } from '../workload/traces.ts';

export const STREAMS = 4;
export const TRACES = 1_700;
const WARM_UP_ROUNDS = 2;
const ROUNDS = 5;
/** Of what is judged. */
const JUDGED_ROUNDS = 9;
const UNHURRIED_ROUNDS = 5;
const LEAST_RATIO = 1;
const MOST_REDIS_MICROS = 4;
const MOST_SCRIPT_CALLS = 0.15;
/** Commands that take less time per span are not shown. */
const LEAST_MICROS = 0.01;

const LAYOUTS = ['distributed', 'colocated'] as const;
const VARIANTS: readonly Variant[] = (['three nodes', 'one node'] as const).flatMap((nodes) =>
  LAYOUTS.flatMap((layout) => (['none', 'zstd'] as const).map((compression) => ({ nodes, layout, compression }))),
);
const isJudged = ({ nodes, layout, compression }: Variant) =>
  nodes === 'three nodes' && layout === 'distributed' && compression === 'none';

export const typical: BenchCase = {
  name: 'typical',
  title: 'Process and flush, typical traces',
  floor:
    'the same spans one by one, without assembling: SET … EX, then GET and UNLINK, in one ioredis pipeline per node and batch',
  run: (recording, size) =>
    withRedis([3, 1], (cluster, single) => run(recording, size, cluster as BenchRedis, single as BenchRedis)),
};

async function run(recording: Recording, size: number, cluster: BenchRedis, single: BenchRedis): Promise<void> {
  const streams = typicalStreams(size);
  const spanCount = streams.reduce((sum, stream) => sum + stream.spanCount, 0);
  recording.workload(describeTraces(streams));
  const redisOf = ({ nodes }: Variant) => (nodes === 'one node' ? single : cluster);
  for (const redis of [cluster, single]) for (const layout of LAYOUTS) await learnShares(redis, layout, streams);
  await recordCommands(recording, single, streams, spanCount);
  await recordRedisTime(recording, single, streams, spanCount);

  const rounds = new Map<Variant, Round[]>(VARIANTS.map((variant) => [variant, []]));
  for (let round = -WARM_UP_ROUNDS; round < JUDGED_ROUNDS; round++) {
    recording.progress(`round ${round + 1} of ${JUDGED_ROUNDS}`);
    for (const variant of VARIANTS) {
      if (round >= ROUNDS && !isJudged(variant)) continue;
      const figures = await measureRound(redisOf(variant), streams, variant, { floorFirst: round % 2 === 0 });
      if (round >= 0) rounds.get(variant)?.push(figures);
    }
  }
  recording.note(UNITS);
  const bars: Bar[] = [];
  for (const [variant, figures] of rounds) {
    const wanted = isJudged(variant) ? { acceptance: 1, atLeast: LEAST_RATIO } : undefined;
    bars.push(...recordVariant(recording, nameOf(variant), figures, spanCount, wanted));
    if (variant.layout === 'distributed' && variant.nodes === 'three nodes') {
      recordFigures(recording, variant.compression, figures, spanCount);
    }
  }
  recording.figure('payloadBytes', streams.reduce((sum, stream) => sum + stream.payloadBytes, 0) / spanCount);
  recording.figure('segmentSpans', spanCount / streams.reduce((sum, stream) => sum + stream.segmentCount, 0));
  const limit = { value: LEAST_RATIO, label: 'the floor' };
  for (const [id, name] of [
    ['typical-process', 'process / SET'],
    ['typical-flush', 'flush+messages+done / GET+UNLINK'],
  ] as const) {
    const own = bars.filter(({ label }) => label.startsWith(name));
    recording.chart({
      id,
      title: `${name}, typical traces`,
      unit: 'times the speed of the floor',
      limit,
      bars: own.map((each) => ({ ...each, label: each.label.slice(name.length + 2) })),
    });
  }
}

export function typicalStreams(size: number): TraceWorkload[] {
  return Array.from({ length: STREAMS }, (_, stream) => traceWorkload(TYPICAL, scaled(TRACES / STREAMS, size), stream));
}

/**
 * Commandstats tells wall time, so a node that has to wait for a core seems to take longer. Therefore one node, one stream
 * after the other, so that the client waits while Redis works.
 */
async function recordRedisTime(
  recording: Recording,
  redis: BenchRedis,
  streams: readonly TraceWorkload[],
  spanCount: number,
): Promise<void> {
  const rounds: { process: Cost; flush: Cost; done: Cost }[] = [];
  for (let round = 0; round < UNHURRIED_ROUNDS; round++) {
    const buffer = new SpanBuffer(createRedisStore(redis.client));
    const inTurn = <T>(action: (stream: TraceWorkload) => Promise<T>) =>
      redis.measure(async () => {
        const results: T[] = [];
        for (const stream of streams) results.push(await action(stream));
        return results;
      }, 'distributed');
    const process = await inTurn((stream) => processAll(buffer, stream));
    const flush = await inTurn((stream) => flushAll(buffer, stream));
    const done = await redis.measure(() => doneAll(buffer, flush.result.flat()), 'distributed');
    await redis.clear();
    rounds.push({ process: process.cost, flush: flush.cost, done: done.cost });
  }
  const perSpan = (measure: 'commandMicros' | 'scriptCalls') =>
    rounds.map(({ process }) => totalOf([process], measure) / spanCount);
  const micros = perSpan('commandMicros');
  recording.expect('Redis time per span in process, us', median(micros), { acceptance: 2, atMost: MOST_REDIS_MICROS });
  const calls = median(perSpan('scriptCalls'));
  recording.expect('script calls per span in process', calls, { acceptance: 2, atMost: MOST_SCRIPT_CALLS });
  const rows: string[][] = [];
  for (const step of ['process', 'flush', 'done'] as const) {
    const names = new Set(rounds.flatMap((round) => [...round[step].commands.keys()]));
    for (const name of names) {
      const costs = rounds.map((round) => round[step].commands.get(name) ?? { calls: 0, micros: 0 });
      const each = costs.map((cost) => cost.micros / spanCount);
      if (median(each) < LEAST_MICROS) continue;
      const perCall = costs.map((cost) => cost.micros / Math.max(1, cost.calls));
      const callsPerSpan = median(costs.map((cost) => cost.calls / spanCount));
      rows.push([step, name, spread(each), callsPerSpan.toFixed(3), median(perCall).toFixed(1)]);
    }
    const all = rounds.map((round) => totalOf([round[step]], 'commandMicros') / spanCount);
    rows.push([step, 'all', spread(all), '', '']);
  }
  recording.table(
    `Time inside commands (commandstats), one node, distributed, none, one partition after the other, ${UNHURRIED_ROUNDS} rounds`,
    ['step', 'command', 'us a span', 'calls a span', 'us a call'],
    rows,
  );
}

/** One round more, with every command logged: which script takes what. */
async function recordCommands(
  recording: Recording,
  redis: BenchRedis,
  streams: readonly TraceWorkload[],
  spanCount: number,
): Promise<void> {
  const commands = await learnShares(redis, 'distributed', streams);
  const times = new Map<string, number[]>();
  for (const { args, micros } of commands) {
    const name = commandName(args);
    const known = times.get(name);
    if (known === undefined) times.set(name, [micros]);
    else known.push(micros);
  }
  const rows = [...times]
    .map(([name, micros]) => ({ name, micros, sum: micros.reduce((sum, each) => sum + each, 0) }))
    .filter(({ sum }) => sum / spanCount >= LEAST_MICROS)
    .sort((a, b) => b.sum - a.sum)
    .map(({ name, micros, sum }) => {
      const longest = micros.reduce((most, each) => Math.max(most, each), 0);
      const calls = (micros.length / spanCount).toFixed(3);
      return [name, (sum / spanCount).toFixed(2), calls, (sum / micros.length).toFixed(1), `${longest}`];
    });
  recording.table(
    'The same by script (SLOWLOG, one round)',
    ['command', 'us a span', 'calls a span', 'us a call', 'longest us'],
    rows,
  );
}
