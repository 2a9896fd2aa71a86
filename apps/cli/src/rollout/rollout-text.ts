import type { HeldPayloads, LayoutCheck, RolloutStatus, RunningProcess } from '@spanbuf/store';
import { printable } from '../reporter.ts';
import { grouped } from '../summary.ts';

/** A table of processes, then what is held. */
export function formatStatus(status: RolloutStatus): string[] {
  const { processes, silentFlushers, silentShards, unattended, written, redisSeconds } = status;
  const rows = [
    ['APP', 'VERSION', 'LAYOUT', 'SINCE', 'PROCESS'],
    ...processes.map((process) => [
      process.app,
      process.version,
      process.layout,
      timeOf(process.sinceSeconds),
      process.id,
    ]),
  ].map((row) => row.map(printable));
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const table = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const times = written.map(({ layout, lastSeconds }) => `${layout} until ${agoOf(redisSeconds - lastSeconds)}`);
  return [
    ...(processes.length > 0 ? table : ['no process has announced itself']),
    ...silentFlushers.map((id) => `a flusher that does not say in which layout: ${printable(id)}`),
    ...silentShards.map((shard) => `shard ${shard} is written by somebody who does not say in which layout`),
    ...unattended.map(
      ({ shard, silentSeconds }) => `shard ${shard} has had no consumer for ${Math.round(silentSeconds)} s`,
    ),
    `written: ${times.length > 0 ? times.join(', ') : 'nothing that is known of'}`,
    formatHeld(status.held),
  ];
}

function formatHeld(held: HeldPayloads): string {
  const { segmentCount, parkedCount, lookedAtCount, cut } = held;
  const parked = parkedCount > 0 ? `, ${grouped(parkedCount)} of them parked` : '';
  const total = `held: ${grouped(segmentCount)} ${segmentCount === 1 ? 'segment' : 'segments'}${parked}`;
  if (lookedAtCount === 0) return total;
  const kinds = (['colocated', 'both', 'distributed', 'mixed'] as const)
    .filter((kind) => held[kind] > 0)
    .map((kind) => `${grouped(held[kind])} ${KINDS[kind]}`);
  const beginnings = cut > 0 ? `; of ${grouped(cut)} the first payloads alone` : '';
  return `${total}; looked at ${grouped(lookedAtCount)}: ${kinds.join(', ')}${beginnings}`;
}

const KINDS = {
  colocated: 'in the colocated place',
  both: 'in both',
  distributed: 'in the distributed place',
  mixed: 'partly here, partly there',
} as const;

/** The verdict, each obstacle with what to do about it, and what else there is to know. */
export function formatCheck(check: LayoutCheck): string[] {
  const { layout, isSafe, isEntered, obstacles, status } = check;
  const obstacleLines = obstacles.flatMap(({ kind, detail, remedy, untilSeconds }) => [
    `${kind}: ${printable(detail)}`,
    `  ${printable(remedy)}`,
    ...(untilSeconds === undefined
      ? []
      : [`  until ${timeOf(untilSeconds)} at the latest, ${inOf(untilSeconds - status.redisSeconds)}`]),
  ]);
  const verdict = isSafe
    ? isEntered
      ? 'is entered: all services run in it'
      : 'can be entered'
    : 'cannot be entered yet';
  return [
    `${layout} ${verdict}`,
    ...obstacleLines,
    ...(check.doublesPayloads ? memoryLines(check) : []),
    `${servicesOf(status.processes)}; ${formatHeld(status.held)}`,
  ];
}

function memoryLines({ layout, status }: LayoutCheck): string[] {
  const [fullest] = status.memory
    .filter(({ maxBytes }) => maxBytes > 0)
    .map(({ node, usedBytes, maxBytes }) => ({ node, percent: Math.round((100 * usedBytes) / maxBytes) }))
    .sort((a, b) => b.percent - a.percent);
  const used =
    fullest === undefined
      ? 'no node has a maxmemory'
      : `the fullest node, ${fullest.node}, is at ${fullest.percent} % of maxmemory`;
  return [`note: ${layout} writes payloads twice, which takes up to twice the memory; ${used}`];
}

/** `2 processes in colocated, 1 in distributed` */
function servicesOf(processes: readonly RunningProcess[]): string {
  const layouts = [...new Set(processes.map(({ layout }) => layout))];
  const counts = layouts.map((layout) => `${processes.filter((each) => each.layout === layout).length} in ${layout}`);
  return `processes: ${counts.length > 0 ? counts.join(', ') : 'none'}`;
}

export function statusJson(status: RolloutStatus): string {
  return JSON.stringify(factsOf(status));
}

export function checkJson({
  layout,
  isSafe,
  isEntered,
  obstacles,
  neededPlaces,
  doublesPayloads,
  status,
}: LayoutCheck): string {
  return JSON.stringify({
    layout,
    is_safe: isSafe,
    is_entered: isEntered,
    obstacles: obstacles.map(({ kind, detail, remedy, untilSeconds }) => ({
      kind,
      detail,
      remedy,
      until: untilSeconds === undefined ? undefined : timeOf(untilSeconds),
    })),
    needed_places: neededPlaces,
    doubles_payloads: doublesPayloads,
    status: factsOf(status),
  });
}

function factsOf({
  redisSeconds,
  processes,
  silentFlushers,
  silentShards,
  unattended,
  written,
  held,
  memory,
}: RolloutStatus) {
  return {
    redis_time: timeOf(redisSeconds),
    processes: processes.map(({ id, app, version, layout, sinceSeconds, isWriter, isReader }) => ({
      id,
      app,
      version,
      layout,
      since: timeOf(sinceSeconds),
      is_writer: isWriter,
      is_reader: isReader,
    })),
    silent_flushers: silentFlushers,
    silent_shards: silentShards,
    unattended_shards: unattended.map(({ shard, silentSeconds }) => ({ shard, silent_seconds: silentSeconds })),
    written: written.map(({ layout, lastSeconds }) => ({ layout, last: timeOf(lastSeconds) })),
    held: {
      segment_count: held.segmentCount,
      parked_count: held.parkedCount,
      looked_at_count: held.lookedAtCount,
      colocated: held.colocated,
      both: held.both,
      distributed: held.distributed,
      mixed: held.mixed,
      cut: held.cut,
    },
    memory: memory.map(({ node, usedBytes, maxBytes }) => ({ node, used_bytes: usedBytes, max_bytes: maxBytes })),
  };
}

function timeOf(seconds: number): string {
  return `${new Date(Math.round(seconds) * 1_000).toISOString().slice(0, 19)}Z`;
}

/** Times of up to this many seconds ago are now: processes say what they write every 2 s. */
const NOW_SECONDS = 5;

function agoOf(seconds: number): string {
  return seconds <= NOW_SECONDS ? 'now' : `${spanOf(seconds)} ago`;
}

function inOf(seconds: number): string {
  return seconds <= 0 ? 'which is over: look again' : `in ${spanOf(seconds)}`;
}

function spanOf(seconds: number): string {
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  return seconds < 7_200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3_600)} h`;
}
