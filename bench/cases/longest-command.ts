/**
 * Case `longest-command`: the longest single command on any node while one large segment is assembled, flushed, completed
 * and forgotten. SLOWLOG tells wall time, so a node that had to wait for a core looks as if its command had been long.
 * Therefore the distributed layout, which is judged, is measured in {@link RUNS} runs that send the same commands in the
 * same order, and of each command the shortest of its times counts.
 */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCase } from '../bench-case.ts';
import { processAll } from '../measure/against-floor.ts';
import { type BenchRedis, type LoggedCommand, withRedis } from '../measure/bench-redis.ts';
import { commandName } from '../measure/script-names.ts';
import type { Recording } from '../report/recording.ts';
import type { Bar } from '../report/result.ts';
import { ARRIVALS, segmentsOf } from '../workload/large.ts';
import { LATER, scaled, type Workload } from '../workload/spans.ts';

const SPANS = 100_000;
const RUNS = { distributed: 3, colocated: 1 } as const;
const LAYOUTS = ['distributed', 'colocated'] as const;
const LONGEST_MS = 2;
const MAX_SEGMENT_BYTES = 1_000_000_000;
const DEDUPE_WINDOW_SECONDS = 1;

const PHASES = ['assemble', 'flush', 'done', 'forget'] as const;

interface Timed {
  readonly name: string;
  readonly micros: number;
}

interface Run {
  readonly commands: ReadonlyMap<(typeof PHASES)[number], readonly LoggedCommand[]>;
  /** Longest stall while keys expired, of LATENCY, which knows milliseconds only; 0 when nothing took one. */
  readonly expiryMs: number;
}

export const longestCommand: BenchCase = {
  name: 'longest-command',
  title: 'Longest command on any node, one large segment',
  floor: 'none: a limit in milliseconds',
  run: (recording, size) => withRedis([3], (redis) => run(recording, size, redis as BenchRedis)),
};

async function run(recording: Recording, size: number, redis: BenchRedis): Promise<void> {
  const spanCount = scaled(SPANS, size, 100);
  recording.workload(
    `one segment of ${spanCount} spans of 1 KB, three nodes: ${ARRIVALS.join('; ')}. distributed: each command at its shortest of ` +
      `${RUNS.distributed} like runs; colocated: one run`,
  );
  await redis.onEachNode((node) => node.config('SET', 'latency-monitor-threshold', 1));
  // Loads the scripts.
  const few = segmentsOf('chain, leaf first', { segmentSpans: 100, spanCount: 100 });
  for (const layout of LAYOUTS) await runOnce(redis, few, layout);
  const rows: string[][] = [];
  const bars: Bar[] = [];
  for (const arrival of ARRIVALS) {
    recording.progress(arrival);
    const workload = segmentsOf(arrival, { segmentSpans: spanCount, spanCount });
    for (const layout of LAYOUTS) {
      const runs: Run[] = [];
      while (runs.length < RUNS[layout]) runs.push(await runOnce(redis, workload, layout));
      const phases = PHASES.map((phase) => longestFirst(runs.map(({ commands }) => commands.get(phase) ?? [])));
      const expiryMs = Math.min(...runs.map((each) => each.expiryMs));
      const longestMs = Math.max(expiryMs, ...phases.map(([first]) => (first?.micros ?? 0) / 1000));
      const name = `longest command, ms: ${arrival}`;
      rows.push([
        arrival,
        layout,
        ...phases.map(describe),
        expiryMs === 0 ? '< 1' : `${expiryMs}`,
        layout === 'distributed'
          ? recording.expect(name, longestMs, { acceptance: 4, atMost: LONGEST_MS })
          : longestMs.toFixed(2),
      ]);
      bars.push({ label: `${arrival}: ${layout}`, value: longestMs });
    }
  }
  await redis.onEachNode((node) => node.config('SET', 'latency-monitor-threshold', 0));
  recording.table(
    'Longest command of each phase: milliseconds, name, and the second longest in brackets. forget: when the dedupe window is over',
    ['', 'layout', ...PHASES, 'expiry', 'longest ms'],
    rows,
  );
  recording.chart({
    id: 'longest-command',
    title: `Longest command, one segment of ${spanCount} spans`,
    unit: 'milliseconds',
    bars,
    limit: { value: LONGEST_MS, label: `${LONGEST_MS} ms` },
  });
}

async function runOnce(redis: BenchRedis, workload: Workload, layout: (typeof LAYOUTS)[number]): Promise<Run> {
  const store = createRedisStore(redis.client, { layout, dedupeWindowSeconds: DEDUPE_WINDOW_SECONDS });
  const buffer = new SpanBuffer(store, { maxSegmentBytes: MAX_SEGMENT_BYTES });
  const commands = new Map<(typeof PHASES)[number], LoggedCommand[]>();
  const log = async <T>(phase: (typeof PHASES)[number], action: () => Promise<T>): Promise<T> => {
    await redis.logCommands(0);
    const result = await action();
    commands.set(phase, await redis.loggedCommands());
    return result;
  };
  await redis.onEachNode((node) => node.latency('RESET'));
  await log('assemble', () => processAll(buffer, workload));
  const segments = await log('flush', () => buffer.flush({ now: LATER }));
  const spans = segments.reduce((sum, { spanCount }) => sum + spanCount, 0);
  if (segments.length !== 1 || spans !== workload.spanCount)
    throw new Error(`${segments.length} segments, ${spans} spans`);
  await log('done', () => buffer.done(segments));
  await log('forget', async () => {
    while ((await keyCount(redis)) > 0) await buffer.flush({ now: LATER });
  });
  // LATEST answers [event, time, latest ms, longest ms] for each event.
  const events = (await redis.onEachNode((node) => node.latency('LATEST') as Promise<unknown[][]>)).flat();
  const stalls = events.filter(([event]) => /expire/.test(String(event))).map(([, , , most]) => Number(most));
  await redis.logCommands(-1);
  await redis.clear();
  return { commands, expiryMs: Math.max(0, ...stalls) };
}

async function keyCount(redis: BenchRedis): Promise<number> {
  return (await redis.onEachNode((node) => node.dbsize())).reduce((sum, count) => sum + count, 0);
}

/** The n-th command of a name on a node is the same one in every run; where their numbers differ, the calmest run counts. */
function longestFirst(runs: readonly (readonly LoggedCommand[])[]): Timed[] {
  const bySender = runs.map((commands) => {
    const groups = new Map<string, number[]>();
    for (const { node, args, micros } of commands) {
      const key = `${node} ${commandName(args)}`;
      const times = groups.get(key);
      if (times === undefined) groups.set(key, [micros]);
      else times.push(micros);
    }
    return groups;
  });
  const senders = new Set(bySender.flatMap((groups) => [...groups.keys()]));
  const shortest = [...senders].flatMap((sender) => {
    const name = sender.split(' ')[1] as string;
    const lists = bySender.map((groups) => groups.get(sender) ?? []);
    const alike = lists.every(({ length }) => length === lists[0]?.length);
    const calmest = lists.reduce((a, b) => (longestOf(b) < longestOf(a) ? b : a));
    return calmest.map((micros, i) => ({
      name,
      micros: alike ? lists.reduce((least, list) => Math.min(least, list[i] as number), micros) : micros,
    }));
  });
  return shortest.sort((a, b) => b.micros - a.micros);
}

function longestOf(times: readonly number[]): number {
  return times.reduce((most, time) => Math.max(most, time), 0);
}

function describe([first, second]: readonly Timed[]): string {
  if (first === undefined) return '';
  const next = second === undefined ? '' : ` [${(second.micros / 1000).toFixed(2)}]`;
  return `${(first.micros / 1000).toFixed(2)} ${first.name}${next}`;
}
