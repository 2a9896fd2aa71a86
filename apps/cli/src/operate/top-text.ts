import type { NodeFigures, QueueFigures, QueueReport, QueueSample } from '@spanbuf/store';
import { printable } from '../reporter.ts';
import { grouped } from '../summary.ts';
import type { FateRate, MessageRates } from './message-rates.ts';
import { bytesText, durationText, timeText } from './quantities.ts';
import { flushersText, formatShards } from './queues-text.ts';
import { formatTable } from './text-table.ts';

/** All that one frame shows. */
export interface TopFrame {
  readonly queues: QueueReport;
  readonly nodes: readonly NodeFigures[];
  readonly sample: QueueSample;
  /** `undefined`: there is nothing to compare with yet. */
  readonly rates: MessageRates | undefined;
  readonly hasBooks: boolean;
  /** Read by consumers, and without an end yet. */
  readonly openCount: number;
}

/** Lines that are there however many shards, projects and traces there are: heads, and blank lines. */
const FIXED_LINES = 12;
/** Rows of each of the three lists on a small terminal. */
const LEAST_ROWS = 3;

/** How many shards, projects and traces fit on a terminal, beside the nodes. */
export function rowsOfLists(rows: number, nodeCount: number): number {
  return Math.max(LEAST_ROWS, Math.floor((rows - FIXED_LINES - nodeCount) / 3));
}

/** @param most - Shards, projects and traces: so many of each. */
export function formatTop(frame: TopFrame, most: number): string[] {
  const { queues, nodes, sample } = frame;
  const { redisSeconds, liveFlushers, shards } = queues;
  const worst = shards.toSorted(byTrouble).slice(0, most);
  return [
    `${timeText(redisSeconds)}  ${flushersText(liveFlushers)}`,
    rateLine(frame),
    ...queueLines(frame),
    '',
    ...formatNodes(nodes),
    '',
    ...(shards.length === 0 ? ['no shard has a queue'] : formatShards(worst, redisSeconds, false)),
    ...(shards.length > worst.length
      ? [`… and ${grouped(shards.length - worst.length)} shards with less trouble`]
      : []),
    '',
    ...formatSample(sample, most),
  ];
}

function rateLine({ rates, hasBooks }: TopFrame): string {
  if (!hasBooks) return 'messages  rates are not known: no consumer keeps books here';
  if (rates === undefined) return 'messages  …';
  const listed = (fates: readonly FateRate[]): string =>
    fates.map(([fate, rate]) => `${printable(fate)} ${rateText(rate)}`).join(', ');
  const again: FateRate[] = rates.againPerSecond > 0 ? [['again', rates.againPerSecond]] : [];
  const produced = rates.produced.length > 0 ? ` (${listed(rates.produced)})` : '';
  const others = rates.others.length + again.length > 0 ? `; ${listed([...rates.others, ...again])}` : '';
  return `messages  in ${rateText(rates.readPerSecond)}/s, out ${rateText(rates.producedPerSecond)}/s${produced}${others}; over ${durationText(rates.seconds)}`;
}

function rateText(perSecond: number): string {
  return perSecond < 10 && perSecond > 0 ? perSecond.toFixed(1) : grouped(Math.round(perSecond));
}

function queueLines({ queues, openCount, hasBooks }: TopFrame): string[] {
  const { shards, redisSeconds } = queues;
  const sum = (count: (each: QueueFigures) => number): string =>
    grouped(shards.reduce((all, each) => all + count(each), 0));
  const open = hasBooks ? `, ${grouped(openCount)} spans without an end yet` : '';
  const overdue = most(shards, ({ overdueSeconds }) => overdueSeconds);
  const behind = most(shards, ({ clock }) => clock?.behindSeconds ?? 0);
  const silent = most(shards, ({ clock }) => (clock === undefined ? 0 : redisSeconds - clock.markedSeconds));
  const worst = ({ shard, value }: Most): string => (value <= 0 ? 'none' : `${durationText(value)} (shard ${shard})`);
  return [
    `segments  ${sum(({ queuedCount }) => queuedCount)} queued, ${sum(({ dueCount }) => dueCount)} due, ${sum(({ inFlightCount }) => inFlightCount)} in flight, ${sum(({ parkedCount }) => parkedCount)} parked${open}`,
    `lag       consumers behind: ${worst(behind)}, silent: ${worst(silent)}; segments overdue: ${worst(overdue)}`,
  ];
}

interface Most {
  readonly shard: number;
  readonly value: number;
}

function most(shards: readonly QueueFigures[], of: (each: QueueFigures) => number): Most {
  return shards.reduce((best: Most, each) => (of(each) > best.value ? { shard: each.shard, value: of(each) } : best), {
    shard: 0,
    value: 0,
  });
}

/** What is overdue first, then what is parked, what is due, what is queued. */
function byTrouble(a: QueueFigures, b: QueueFigures): number {
  return (
    b.overdueSeconds - a.overdueSeconds ||
    b.parkedCount - a.parkedCount ||
    b.dueCount - a.dueCount ||
    b.queuedCount - a.queuedCount ||
    a.shard - b.shard
  );
}

function formatNodes(nodes: readonly NodeFigures[]): string[] {
  const columns = [
    { head: 'NODE' },
    { head: 'MEMORY', isNumber: true },
    { head: 'LIMIT', isNumber: true },
    { head: 'USED', isNumber: true },
    { head: 'PEAK', isNumber: true },
    { head: 'EVICTED', isNumber: true },
    { head: 'COMMANDS/S', isNumber: true },
    { head: 'IN/S', isNumber: true },
    { head: 'OUT/S', isNumber: true },
    { head: 'CLIENTS', isNumber: true },
  ];
  return formatTable(
    columns,
    nodes.map(({ node, load }) => {
      if (load === undefined) return [node, 'no answer'];
      const { usedBytes, maxBytes } = load;
      return [
        node,
        bytesText(usedBytes),
        maxBytes === 0 ? 'none' : bytesText(maxBytes),
        maxBytes === 0 ? '-' : `${Math.round((100 * usedBytes) / maxBytes)} %`,
        bytesText(load.peakBytes),
        grouped(load.evictedKeys),
        grouped(load.commandsPerSecond),
        bytesText(load.inputBytesPerSecond),
        bytesText(load.outputBytesPerSecond),
        grouped(load.clientCount),
      ];
    }),
  );
}

function formatSample(sample: QueueSample, rows: number): string[] {
  const { entryCount, isWhole, sampledCount, projects, traces } = sample;
  if (sampledCount === 0) return ['no segment is queued'];
  const scale = isWhole ? 1 : entryCount / sampledCount;
  const about = isWhole ? '' : '~';
  const estimate = (count: number): string => `${about}${grouped(Math.round(count * scale))}`;
  const columns = [
    { head: 'SEGMENTS', isNumber: true },
    { head: 'SPANS', isNumber: true },
    { head: 'BYTES', isNumber: true },
  ];
  const of = isWhole
    ? `of all ${grouped(sampledCount)} queued segments`
    : `by lot: ${grouped(sampledCount)} of ${grouped(entryCount)} queued segments`;
  return [
    ...formatTable(
      [...columns, { head: 'SHARE', isNumber: true }, { head: `PROJECT (${of})` }],
      projects
        .slice(0, rows)
        .map((each) => [
          estimate(each.entryCount),
          estimate(each.spanCount),
          `${about}${bytesText(each.payloadBytes * scale)}`,
          `${Math.round((100 * each.payloadBytes) / Math.max(1, sample.payloadBytes))} %`,
          each.projectId,
        ]),
    ),
    '',
    ...formatTable(
      [...columns, { head: isWhole ? 'TRACE' : 'TRACE (as far as it was drawn)' }],
      traces
        .slice(0, rows)
        .map((each) => [
          grouped(each.entryCount),
          grouped(each.spanCount),
          bytesText(each.payloadBytes),
          `${each.projectId} ${each.traceId}`,
        ]),
    ),
  ];
}
