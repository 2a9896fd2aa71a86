/**
 * Case `longest-command`: the longest single command on any node while one segment of 100, 10,000 and 100,000 spans is
 * assembled, flushed, completed and forgotten. SLOWLOG tells wall time, so a node that had to wait for a core looks as if
 * its command had been long. Therefore the distributed layout, which is judged, is measured in {@link RUNS} runs that send
 * the same commands in the same order, and of each command the shortest of its times counts.
 */
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCluster, LoggedCommand } from './bench-cluster.ts';
import { processAll } from './process-flush.ts';
import type { Report } from './report.ts';
import { commandName } from './script-names.ts';
import { LATER, largeSegment, SHAPES, type Workload } from './workload.ts';

const SIZES = [100, 10_000, 100_000];
const RUNS = { distributed: 3, colocated: 1 } as const;
const LAYOUTS = ['distributed', 'colocated'] as const;
const LONGEST_MS = 5;
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

export async function longestCommand(cluster: BenchCluster, report: Report): Promise<void> {
  report.heading('longest command on any node, one segment');
  report.note(
    `Milliseconds and name, in brackets the second longest. distributed: each command at its shortest of ${RUNS.distributed} ` +
      `like runs; colocated: one run. forget: when the dedupe window is over.\n`,
  );
  await cluster.onEachNode((node) => node.config('SET', 'latency-monitor-threshold', 1));
  const rows: string[][] = [];
  // Loads the scripts.
  for (const layout of LAYOUTS) await runOnce(cluster, largeSegment('chain', 100), layout);
  for (const size of SIZES) {
    for (const shape of SHAPES) {
      const workload = largeSegment(shape, size);
      for (const layout of LAYOUTS) {
        const runs: Run[] = [];
        while (runs.length < RUNS[layout]) runs.push(await runOnce(cluster, workload, layout));
        const phases = PHASES.map((phase) => longestFirst(runs.map(({ commands }) => commands.get(phase) ?? [])));
        const expiryMs = Math.min(...runs.map((run) => run.expiryMs));
        const longestMs = Math.max(expiryMs, ...phases.map(([first]) => (first?.micros ?? 0) / 1000));
        const name = `longest command, ${layout}, ${shape} of ${size}`;
        rows.push([
          `${size} ${shape}`,
          layout,
          ...phases.map(describe),
          expiryMs === 0 ? '< 1' : `${expiryMs}`,
          layout === 'distributed' ? report.atMost(name, longestMs, LONGEST_MS) : longestMs.toFixed(2),
        ]);
        report.figures[name] = { longestMs, expiryMs };
      }
    }
  }
  await cluster.onEachNode((node) => node.config('SET', 'latency-monitor-threshold', 0));
  report.table(['spans', 'layout', ...PHASES, 'expiry', 'longest ms'], rows);
}

async function runOnce(cluster: BenchCluster, workload: Workload, layout: (typeof LAYOUTS)[number]): Promise<Run> {
  const store = createRedisStore(cluster.client, { layout, dedupeWindowSeconds: DEDUPE_WINDOW_SECONDS });
  const buffer = new SpanBuffer(store, { maxSegmentBytes: MAX_SEGMENT_BYTES });
  const commands = new Map<(typeof PHASES)[number], LoggedCommand[]>();
  const log = async <T>(phase: (typeof PHASES)[number], action: () => Promise<T>): Promise<T> => {
    await cluster.logCommands(0);
    const result = await action();
    commands.set(phase, await cluster.loggedCommands());
    return result;
  };
  await cluster.onEachNode((node) => node.latency('RESET'));
  await log('assemble', () => processAll(buffer, workload));
  const segments = await log('flush', () => buffer.flush({ now: LATER }));
  const spans = segments.reduce((sum, { spanCount }) => sum + spanCount, 0);
  if (segments.length !== 1 || spans !== workload.spanCount)
    throw new Error(`${segments.length} segments, ${spans} spans`);
  await log('done', () => buffer.done(segments));
  await log('forget', async () => {
    while ((await keyCount(cluster)) > 0) await buffer.flush({ now: LATER });
  });
  // LATEST answers [event, time, latest ms, longest ms] for each event.
  const events = (await cluster.onEachNode((node) => node.latency('LATEST') as Promise<unknown[][]>)).flat();
  const stalls = events.filter(([event]) => /expire/.test(String(event))).map(([, , , most]) => Number(most));
  await cluster.logCommands(-1);
  await cluster.clear();
  return { commands, expiryMs: Math.max(0, ...stalls) };
}

async function keyCount(cluster: BenchCluster): Promise<number> {
  return (await cluster.onEachNode((node) => node.dbsize())).reduce((sum, count) => sum + count, 0);
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
