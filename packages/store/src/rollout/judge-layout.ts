import { LAYOUTS, type LayoutName, layoutNamed, type Mark, type Place, placeReadFirst, placesOf } from '../layout.ts';
import type { Obstacle, RolloutStatus, RunningProcess } from '../rollout.ts';

/**
 * Where readers look first, of those that run and of those to come. Whatever runs counts, consumers too: who starts next, after all
 * flushers were away, may do so in any layout that runs.
 */
export function neededPlaces(layout: LayoutName, processes: readonly RunningProcess[]): Place[] {
  return [...new Set([...layoutsOf(processes), layout].map(placeReadFirst))].sort();
}

/** Whether a payload is in all of these places. */
export function isEverywhere(mark: Mark, places: readonly Place[]): boolean {
  return places.every((place) => placesOf(mark).includes(place));
}

/** Layouts whose payloads are not in all of these places. */
export function layoutsMissing(places: readonly Place[]): LayoutName[] {
  return LAYOUTS.filter((layout) => !isEverywhere(layoutNamed(layout).mark, places));
}

/** Held segments that may have been begun before the layouts were right, after a look at them. */
export interface Suspects {
  readonly misplacedCount: number;
  /** Backstop of the last of them, clock of Redis. */
  readonly untilSeconds: number | undefined;
  readonly parkedMisplacedCount: number;
  /** Not looked at, or not to the end. */
  readonly unprovenCount: number;
  /** Of the sample, misplaced though no announced process can have written it. */
  readonly unexplainedCount: number;
}

export interface Evidence {
  readonly layout: LayoutName;
  readonly status: RolloutStatus;
  readonly suspects: Suspects;
}

/** What is in the way of moving all processes to a layout, one after the other and in any order. */
export function judgeLayout({ layout, status, suspects }: Evidence): Obstacle[] {
  return [
    ...ofProcesses(status),
    ...ofWrites(layout, status.processes),
    ...ofHeld(layout, status.processes, suspects),
    ...ofShards(status),
  ];
}

function ofProcesses({ processes, silentFlushers, silentShards }: RolloutStatus): Obstacle[] {
  const obstacles: Obstacle[] = [];
  if (processes.length === 0) {
    obstacles.push({
      kind: 'no-process',
      detail: 'no process has announced itself: nobody knows what would be changed',
      remedy: 'check Redis and slice; start the services in the layout that they had',
    });
  }
  for (const [role, isThere] of [
    ['flusher', processes.some(({ isReader }) => isReader)],
    ['consumer', processes.some(({ isWriter }) => isWriter)],
  ] as const) {
    if (isThere || processes.length === 0) continue;
    obstacles.push({
      kind: 'no-process',
      detail: `no ${role} runs: nobody knows in which layout the next one starts`,
      remedy: `start a ${role} in the layout that it had`,
    });
  }
  if (silentFlushers.length > 0) {
    obstacles.push({
      kind: 'silent-process',
      detail: `${counted(silentFlushers.length, 'flusher')} that do not say in which layout they run: ${listed(silentFlushers)}`,
      remedy: 'they are of another version: bring all flushers to this one',
    });
  }
  if (silentShards.length > 0) {
    obstacles.push({
      kind: 'silent-process',
      detail: `somebody who does not say in which layout writes shards ${listed(silentShards)}`,
      remedy: 'after a rebalance look again in 10 seconds; else bring all consumers to this version',
    });
  }
  for (const app of new Set(processes.map((process) => process.app))) {
    const versions = [...new Set(processes.filter((each) => each.app === app).map(({ version }) => version))].sort();
    if (versions.length < 2) continue;
    obstacles.push({
      kind: 'unfinished-upgrade',
      detail: `${app} runs in several versions: ${listed(versions)}`,
      remedy: 'finish the upgrade, or take it back: one change at a time',
    });
  }
  return obstacles;
}

/** What is written from now on, by those that run and by those to come. */
function ofWrites(layout: LayoutName, processes: readonly RunningProcess[]): Obstacle[] {
  const isFound = (read: LayoutName, written: LayoutName): boolean =>
    isEverywhere(layoutNamed(written).mark, [placeReadFirst(read)]);
  const obstacles: Obstacle[] = [];
  for (const read of layoutsOf(processes)) {
    if (isFound(read, layout)) continue;
    obstacles.push({
      kind: 'unread-writes',
      detail: `consumers in ${layout} would not write to where ${running(processes, read)} reads: the ${placeReadFirst(read)} place`,
      remedy: `first bring all to ${between(read, layout)}`,
    });
  }
  for (const written of layoutsOf(processes)) {
    if (isFound(layout, written)) continue;
    obstacles.push({
      kind: 'unread-writes',
      detail: `flushers in ${layout} would read the ${placeReadFirst(layout)} place, to which ${running(processes, written)} does not write`,
      remedy: `first bring all to ${between(written, layout)}`,
    });
  }
  for (const read of layoutsOf(processes)) {
    for (const written of layoutsOf(processes)) {
      if (isFound(read, written)) continue;
      obstacles.push({
        kind: 'unread-writes',
        detail: `already ${running(processes, read)} reads the ${placeReadFirst(read)} place, to which ${running(processes, written)} does not write`,
        remedy: `bring flushers back to a layout that reads the other place first`,
      });
    }
  }
  return obstacles;
}

function ofHeld(layout: LayoutName, processes: readonly RunningProcess[], suspects: Suspects): Obstacle[] {
  const { misplacedCount, parkedMisplacedCount, unprovenCount, unexplainedCount, untilSeconds } = suspects;
  const needed = neededPlaces(layout, processes);
  const places = needed.length > 1 ? 'both places' : `the ${needed[0]} place`;
  const obstacles: Obstacle[] = [];
  if (misplacedCount > 0) {
    obstacles.push({
      kind: 'unread-held',
      detail: `${counted(misplacedCount, 'held segment')} with payloads that are not in ${places}`,
      remedy: 'wait until they have come out: as a rule within SPANBUF_MAX_AGE_SECONDS of message time',
      untilSeconds,
    });
  }
  if (parkedMisplacedCount > 0) {
    obstacles.push({
      kind: 'unread-held',
      detail: `${counted(parkedMisplacedCount, 'parked segment')} with payloads that are not in ${places}`,
      remedy: 'put them back and let them come out, or delete them: spanbuf parked',
    });
  }
  if (unprovenCount > 0) {
    obstacles.push({
      kind: 'unproven-held',
      detail: `${counted(unprovenCount, 'segment')} or more may be older than the layouts that run, and too many or too large to look at`,
      remedy: 'wait until flushers have caught up; look after what is parked: spanbuf parked',
    });
  }
  if (unexplainedCount > 0) {
    obstacles.push({
      kind: 'silent-process',
      detail: `${counted(unexplainedCount, 'segment')} of the sample with payloads that are not in ${places}, and that nobody who has announced himself can have written`,
      remedy: 'find who writes to this buffer and does not say so: an older version, or a program of your own',
    });
  }
  return obstacles;
}

function ofShards({ unattended }: RolloutStatus): Obstacle[] {
  return unattended.map(({ shard, silentSeconds }) => ({
    kind: 'unattended-shard' as const,
    detail: `shard ${shard} holds segments, and its consumer has been silent for ${Math.round(silentSeconds)} s: while nobody reads it, flushers wait for SPANBUF_CLOCK_GRACE_SECONDS at most, then its segments go out in pieces`,
    remedy: 'let a rebalance or restart that is under way come to its end first',
  }));
}

/** The step before a layout, on the way from another. */
function between(from: LayoutName, to: LayoutName): LayoutName {
  const [at, end] = [LAYOUTS.indexOf(from), LAYOUTS.indexOf(to)];
  return LAYOUTS[at < end ? at + 1 : at - 1] as LayoutName;
}

function layoutsOf(processes: readonly RunningProcess[]): LayoutName[] {
  return LAYOUTS.filter((layout) => processes.some((process) => process.layout === layout));
}

function running(processes: readonly RunningProcess[], layout: LayoutName): string {
  const some = processes.filter((process) => process.layout === layout);
  const first = (some[0] as RunningProcess).id;
  return some.length === 1 ? `${first} (${layout})` : `${first} (${layout}), one of ${some.length},`;
}

/** Names on one line. */
const MOST_LISTED = 5;

function listed(names: readonly (string | number)[]): string {
  const some = names.slice(0, MOST_LISTED).join(', ');
  return names.length > MOST_LISTED ? `${some}, …` : some;
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
