import type { QueueFigures, QueueReport } from '@spanbuf/store';
import { grouped } from '../summary.ts';
import { durationText, timeText } from './quantities.ts';
import { type Column, formatTable } from './text-table.ts';

/** Consumers mark their clocks every second. */
const SILENT_SECONDS = 10;

const COLUMNS: readonly Column[] = [
  { head: 'SHARD', isNumber: true },
  { head: 'QUEUED', isNumber: true },
  { head: 'DUE', isNumber: true },
  { head: 'OVERDUE', isNumber: true },
  { head: 'LANES', isNumber: true },
  { head: 'IN FLIGHT', isNumber: true },
  { head: 'LEASES OVER', isNumber: true },
  { head: 'NEXT LEASE END', isNumber: true },
  { head: 'TRIED', isNumber: true },
  { head: 'PARKED', isNumber: true },
  { head: 'CONSUMER' },
];

/** When, then a line for each shard, and their sum. */
export function formatQueues(report: QueueReport): string[] {
  const { redisSeconds, liveFlushers, shards } = report;
  const head = `${timeText(redisSeconds)}  ${flushersText(liveFlushers)}, ${shards.length === 1 ? '1 shard' : `${grouped(shards.length)} shards`}`;
  if (shards.length === 0) return [head, 'nothing is queued, and no consumer has marked a clock'];
  return [head, ...formatShards(shards, redisSeconds, true)];
}

export function flushersText(liveFlushers: number): string {
  return liveFlushers === 0
    ? 'NO flusher alive'
    : `${liveFlushers} ${liveFlushers === 1 ? 'flusher' : 'flushers'} alive`;
}

/** A table of some shards, in the order in which they are given. */
export function formatShards(shards: readonly QueueFigures[], redisSeconds: number, withSum: boolean): string[] {
  const rows = shards.map((each) => [
    `${each.shard}`,
    grouped(each.queuedCount),
    grouped(each.dueCount),
    each.dueCount === 0 ? '-' : durationText(each.overdueSeconds),
    `${each.lanes.length}`,
    grouped(each.inFlightCount),
    grouped(each.endedLeaseCount),
    each.nextLeaseEndSeconds === undefined ? '-' : durationText(Math.max(0, each.nextLeaseEndSeconds - redisSeconds)),
    grouped(each.triedCount),
    grouped(each.parkedCount),
    consumerText(each, redisSeconds),
  ]);
  if (!withSum || shards.length < 2) return formatTable(COLUMNS, rows);
  const sum = (count: (each: QueueFigures) => number): string =>
    grouped(shards.reduce((all, each) => all + count(each), 0));
  const ends = shards.flatMap(({ nextLeaseEndSeconds }) => nextLeaseEndSeconds ?? []);
  const isAnyDue = shards.some(({ dueCount }) => dueCount > 0);
  const all = [
    'all',
    sum(({ queuedCount }) => queuedCount),
    sum(({ dueCount }) => dueCount),
    isAnyDue ? durationText(Math.max(...shards.map(({ overdueSeconds }) => overdueSeconds))) : '-',
    '',
    sum(({ inFlightCount }) => inFlightCount),
    sum(({ endedLeaseCount }) => endedLeaseCount),
    ends.length === 0 ? '-' : durationText(Math.max(0, Math.min(...ends) - redisSeconds)),
    sum(({ triedCount }) => triedCount),
    sum(({ parkedCount }) => parkedCount),
    '',
  ];
  return formatTable(COLUMNS, [...rows, all]);
}

/** How far the consumer of a shard is behind, or since when nothing was heard of it. */
function consumerText({ clock }: QueueFigures, redisSeconds: number): string {
  if (clock === undefined) return 'never heard of';
  const silentSeconds = redisSeconds - clock.markedSeconds;
  if (silentSeconds > SILENT_SECONDS) return `silent for ${durationText(silentSeconds)}`;
  return clock.behindSeconds === 0 ? 'up to date' : `${durationText(clock.behindSeconds)} behind`;
}
