/**
 * Case `longest-command`: the longest single command on any node while one segment of 100, 10,000 and 100,000 spans is
 * assembled, flushed and completed, and while what is left of it expires. Times are those of SLOWLOG, so they include
 * whatever else the machine did meanwhile: the distributed layout is measured up to {@link MOST_RUNS} times and judged by
 * the best run's maximum. Expiry runs no command; it is taken from LATENCY, which knows milliseconds only.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCluster, LoggedCommand } from './bench-cluster.ts';
import { processAll } from './process-flush.ts';
import type { Report } from './report.ts';
import { commandName } from './script-names.ts';
import { LATER, largeSegment, SHAPES, type Workload } from './workload.ts';

const SIZES = [100, 10_000, 100_000];
const LAYOUTS = ['distributed', 'colocated'] as const;
const LONGEST_MS = 5;
const MOST_RUNS = 3;
const LOG_FROM_MICROS = 100;
const MAX_SEGMENT_BYTES = 1_000_000_000;
/** What is left after `done` is made to expire this soon, and waited for this long. */
const EXPIRES_MS = 50;
const EXPIRY_MS = 400;

interface Run {
  /** Longest first, by phase. */
  readonly phases: ReadonlyMap<string, readonly LoggedCommand[]>;
  readonly expiryMs: number;
}

export async function longestCommand(cluster: BenchCluster, report: Report): Promise<void> {
  report.heading('longest command on any node, one segment');
  report.note(
    `Milliseconds and name; below ${LOG_FROM_MICROS / 1000} ms nothing is logged. In brackets: the second longest. ` +
      `distributed is judged by the best of up to ${MOST_RUNS} runs.\n`,
  );
  await cluster.onEachNode((node) => node.config('SET', 'latency-monitor-threshold', 1));
  const rows: string[][] = [];
  // Loads the scripts.
  for (const layout of LAYOUTS) await runOnce(cluster, largeSegment('chain', 100), layout);
  for (const size of SIZES) {
    for (const shape of SHAPES) {
      const workload = largeSegment(shape, size);
      for (const layout of LAYOUTS) {
        const judged = layout === 'distributed';
        const runs: Run[] = [];
        do runs.push(await runOnce(cluster, workload, layout));
        while (judged && runs.length < MOST_RUNS && longestMs(runs.at(-1) as Run) > LONGEST_MS);
        const best = runs.reduce((a, b) => (longestMs(b) < longestMs(a) ? b : a));
        const name = `longest command, ${layout}, ${shape} of ${size}`;
        const all = runs.map((run) => longestMs(run).toFixed(1)).join(', ');
        rows.push([
          `${size} ${shape}`,
          layout,
          ...[...best.phases.values()].map(describe),
          best.expiryMs === 0 ? '< 1' : `${best.expiryMs}`,
          judged ? report.atMost(name, longestMs(best), LONGEST_MS) : longestMs(best).toFixed(2),
          all,
        ]);
        report.figures[name] = { runsMs: runs.map(longestMs), expiryMs: runs.map(({ expiryMs }) => expiryMs) };
      }
    }
  }
  await cluster.onEachNode((node) => node.config('SET', 'latency-monitor-threshold', 0));
  report.table(['spans', 'layout', 'assemble', 'flush', 'done', 'expiry', 'longest ms', 'every run'], rows);
}

async function runOnce(cluster: BenchCluster, workload: Workload, layout: (typeof LAYOUTS)[number]): Promise<Run> {
  const store = createRedisStore(cluster.client, { layout });
  const buffer = new SpanBuffer(store, { maxSegmentBytes: MAX_SEGMENT_BYTES });
  const phases = new Map<string, LoggedCommand[]>();
  const log = async <T>(phase: string, action: () => Promise<T>): Promise<T> => {
    await cluster.logCommands(LOG_FROM_MICROS);
    const result = await action();
    phases.set(phase, await cluster.loggedCommands());
    return result;
  };
  await log('assemble', () => processAll(buffer, workload));
  const segments = await log('flush', () => buffer.flush({ now: LATER }));
  const spans = segments.reduce((sum, { spanCount }) => sum + spanCount, 0);
  if (segments.length !== 1 || spans !== workload.spanCount)
    throw new Error(`${segments.length} segments, ${spans} spans`);
  await log('done', () => buffer.done(segments));
  const expiryMs = await longestExpiry(cluster);
  await cluster.logCommands(-1);
  await cluster.clear();
  return { phases, expiryMs };
}

/** Longest stall while everything expires, milliseconds; 0 when nothing took one. */
async function longestExpiry(cluster: BenchCluster): Promise<number> {
  await cluster.onEachNode(async (node) => {
    await node.latency('RESET');
    for (const key of await node.keys('*')) await node.pexpire(key, EXPIRES_MS);
  });
  await sleep(EXPIRY_MS);
  // LATEST answers [event, time, latest ms, longest ms] for each event.
  const events = (await cluster.onEachNode((node) => node.latency('LATEST') as Promise<unknown[][]>)).flat();
  return Math.max(0, ...events.filter(([event]) => /expire/.test(String(event))).map(([, , , most]) => Number(most)));
}

function longestMs({ phases, expiryMs }: Run): number {
  const longest = [...phases.values()].map((commands) => (commands[0]?.micros ?? 0) / 1000);
  return Math.max(expiryMs, ...longest);
}

function describe(commands: readonly LoggedCommand[]): string {
  const [first, second] = commands;
  if (first === undefined) return `< ${LOG_FROM_MICROS / 1000}`;
  const next = second === undefined ? '' : ` [${(second.micros / 1000).toFixed(2)}]`;
  return `${(first.micros / 1000).toFixed(2)} ${commandName(first.args)}${next}`;
}
