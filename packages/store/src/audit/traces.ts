import { formatTraceKey, type TraceRef } from '@spanbuf/keys';
import { pagesOf } from '../redis/grouping.ts';
import type { Member } from '../redis/members.ts';
import { formatEntry, registerShardsCommand, scheduleCommand } from '../redis/queue-scripts.ts';
import type { RedisRunner } from '../redis/redis-runner.ts';
import { type AuditScope, ownQueue } from './audit-scope.ts';
import { findPlaces } from './entry-places.ts';
import { firstFound } from './first-found.ts';
import { readSpans } from './payload-spans.ts';
import type { Suspicion } from './suspicion.ts';
import { type HeldGeneration, readTraces, type TraceSnapshot } from './trace-snapshot.ts';

/** What one trace holds of one shard. */
export interface Holding {
  readonly shard: number;
  readonly spanCount: number;
  readonly isParked: boolean;
  readonly members: readonly Member[];
}

export interface InspectedTrace {
  readonly suspicions: readonly Suspicion[];
  readonly holdings: readonly Holding[];
}

/** Payloads that one pipeline asks for. */
const ASKED_AT_ONCE = 4_096;

const GONE_FOR_GOOD =
  'a payload that is gone cannot be brought back from here; the segment is flushed as the flushers are set to';

/** Whether the spans of traces are queued, and have their payloads. */
export async function inspectTraces(scope: AuditScope, traces: readonly TraceRef[]): Promise<InspectedTrace[]> {
  const snapshots = await readTraces(scope.runner, traces);
  const current = snapshots.filter(({ epoch }) => (epoch ?? Infinity) >= (scope.epoch ?? 0));
  const held = current.flatMap((snapshot) => snapshot.generations.map((generation) => ({ snapshot, generation })));
  const asked = held.flatMap(({ snapshot, generation }) =>
    scope.slices.map((sliceId) => {
      const { shard } = generation;
      return { sliceId, shard, entry: formatEntry(snapshot.trace, generation) };
    }),
  );
  const places = pagesOf(await findPlaces(scope.runner, asked), scope.slices.length);
  const missing = await countMissing(
    scope.runner,
    held.map(({ generation }) => generation),
  );
  const inspected = new Map(
    snapshots.map((snapshot) => [snapshot, { suspicions: unreadableIn(snapshot), holdings: [] as Holding[] }]),
  );
  for (const [i, { snapshot, generation }] of held.entries()) {
    const { suspicions, holdings } = inspected.get(snapshot) as { suspicions: Suspicion[]; holdings: Holding[] };
    const found = places[i] ?? [];
    const isParked = found.some((place) => place.isParked);
    const { shard, spanCount, members } = generation;
    holdings.push({ shard, spanCount, isParked, members });
    const isQueued = isParked || found.some(({ due, lease }) => due !== undefined || lease !== undefined);
    if (!isQueued) suspicions.push(unqueued(scope, snapshot.trace, generation));
    const missingCount = missing[i] ?? 0;
    if (missingCount > 0) suspicions.push(await shortOf(scope, snapshot.trace, generation, missingCount));
  }
  return [...inspected.values()];
}

function unreadableIn({ trace, unreadable }: TraceSnapshot): Suspicion[] {
  const key = formatTraceKey(trace);
  return unreadable.map((field) => ({
    finding: { kind: 'unknown-key', key, ...trace, detail: `its field ${field} cannot be read by this version` },
    fingerprint: `unreadable ${key} ${field}`,
    repair: 'what this version cannot read is left alone',
  }));
}

function factsOf({ projectId, traceId }: TraceRef, { segmentId, shard, spanCount }: HeldGeneration) {
  return { projectId, traceId, segmentId, shard, spanCount };
}

function unqueued(scope: AuditScope, trace: TraceRef, generation: HeldGeneration): Suspicion {
  const entry = formatEntry(trace, generation);
  const { shard, times, packed } = generation;
  return {
    finding: {
      kind: 'unqueued-segment',
      key: formatTraceKey(trace),
      ...factsOf(trace, generation),
      detail: `${entry} holds spans and is in no queue`,
    },
    fingerprint: `unqueued ${entry} ${packed}`,
    repair: scope.slices.length > 1 ? ofManySlices(scope) : () => queueAgain(scope, { shard, entry, times }),
  };
}

function ofManySlices({ slices }: AuditScope): string {
  const others = slices.slice(1).map((slice) => (slice === undefined ? 'none' : String(slice)));
  return `it may belong to another slice: this Redis has queues of slice ${others.join(', ')} as well`;
}

async function queueAgain(
  scope: AuditScope,
  { shard, entry, times }: { readonly entry: string } & Pick<HeldGeneration, 'shard' | 'times'>,
): Promise<string> {
  const { runner, settings } = scope;
  const { redisTtlSeconds: ttlSeconds, sliceId } = settings;
  const queue = ownQueue(scope, shard);
  await runner.run([scheduleCommand({ queue, ttlSeconds, entries: [{ entry, ...times }], takeOut: [] })]);
  await runner.run([registerShardsCommand(sliceId, ttlSeconds, settings.nextToken(), [shard])]);
  return `queued again in shard ${shard}`;
}

/** How many payloads of each generation are in none of the places they were written to. */
async function countMissing(runner: RedisRunner, generations: readonly HeldGeneration[]): Promise<number[]> {
  const counts = generations.map(({ missingEntryCount }) => missingEntryCount);
  const members = generations.flatMap((generation, at) => generation.members.map((member) => ({ member, at })));
  for (const page of pagesOf(members, ASKED_AT_ONCE)) {
    const found = await firstFound(
      runner,
      page.map(({ member }) => member),
      (storage, ref) => storage.has(ref),
    );
    for (const [i, { at }] of page.entries()) if (found[i] === undefined) counts[at] = (counts[at] ?? 0) + 1;
  }
  return counts;
}

async function shortOf(
  { runner }: AuditScope,
  trace: TraceRef,
  generation: HeldGeneration,
  missingCount: number,
): Promise<Suspicion> {
  const { foundSpanCount, unreadableCount } = await countSpans(runner, generation.members);
  const payloadCount = generation.members.length + generation.missingEntryCount;
  const rest = unreadableCount > 0 ? `, ${unreadableCount} cannot be read` : '';
  const entry = formatEntry(trace, generation);
  return {
    finding: {
      kind: 'missing-payload',
      key: formatTraceKey(trace),
      ...factsOf(trace, generation),
      foundSpanCount,
      detail: `${missingCount} of ${payloadCount} payloads of ${entry} are gone${rest}`,
    },
    fingerprint: `missing ${entry} ${generation.packed} ${missingCount}`,
    repair: GONE_FOR_GOOD,
  };
}

async function countSpans(
  runner: RedisRunner,
  members: readonly Member[],
): Promise<{ foundSpanCount: number; unreadableCount: number }> {
  let foundSpanCount = 0;
  let unreadableCount = 0;
  for await (const spans of readSpans(runner, members)) {
    foundSpanCount += spans?.length ?? 0;
    if (spans === undefined) unreadableCount++;
  }
  return { foundSpanCount, unreadableCount };
}
