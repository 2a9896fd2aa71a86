import { setTimeout as sleep } from 'node:timers/promises';
import { formatEpochKey, formatQueueKey, formatTraceKey, type TraceRef } from '@spanbuf/keys';
import type {
  HoldCause,
  InspectedPayload,
  InspectedSegment,
  InspectedTrace,
  InspectLimits,
  QueueFigures,
  Wait,
} from '../inspector.ts';
import { type EntryPlace, formatEntry, type ParkedFacts } from '../redis/queue-scripts.ts';
import type { RedisReply } from '../redis/redis-runner.ts';
import { findPlaces } from './entry-places.ts';
import { type InspectScope, sliceOf } from './inspect-scope.ts';
import { readPayloads } from './inspected-payloads.ts';
import { readQueues } from './queue-figures.ts';
import { type HeldGeneration, readTraces } from './trace-snapshot.ts';

/** What a batch takes at most between two of its steps, as a rule. */
const SECOND_LOOK_MS = 250;
const MICROS = 1_000_000;

/** What is held of a trace. What looks wrong is looked at twice: in the middle of a change things look wrong as well. */
export async function inspectTrace(
  scope: InspectScope,
  trace: TraceRef,
  limits: InspectLimits,
): Promise<InspectedTrace | undefined> {
  const first = await look(scope, trace, limits);
  if (first === undefined || isPlausible(first)) return first;
  await sleep(SECOND_LOOK_MS);
  return look(scope, trace, limits);
}

function isPlausible({ segments }: InspectedTrace): boolean {
  return segments.every(
    ({ wait, payloads }) => wait.kind !== 'not-queued' && payloads.every(({ state }) => state !== 'gone'),
  );
}

async function look(
  scope: InspectScope,
  trace: TraceRef,
  { mostFields, mostPayloads, mostBytes }: InspectLimits,
): Promise<InspectedTrace | undefined> {
  const { runner, settings } = scope;
  const key = formatTraceKey(trace);
  const epochKey = formatEpochKey(sliceOf(settings));
  const [ttl, currentEpoch] = await runner.run([
    { key, name: 'ttl', args: [key] },
    { key: epochKey, name: 'hget', args: [epochKey, 'epoch'] },
  ]);
  const [snapshot] = await readTraces(runner, [trace], { attempts: 1, mostFields });
  if (snapshot === undefined || snapshot.fieldCount === 0) return undefined;
  const { generations, epoch } = snapshot;
  const report = await readQueues(scope, [...new Set(generations.map(({ shard }) => shard))]);
  const figures = new Map(report.shards.map((each) => [each.shard, each]));
  const places = await findQueued(scope, trace, generations);
  const payloads = await readPayloads(scope, generations, { mostPayloads, mostBytes });
  const isOutdated = epoch !== undefined && currentEpoch !== null && epoch < Number(currentEpoch);
  const segments = generations.map((generation, i): InspectedSegment => {
    const place = places[i] as QueuedPlace;
    const waits = isOutdated
      ? { kind: 'outdated' as const, epoch, currentEpoch: Number(currentEpoch) }
      : waitOf(generation, place, figures.get(generation.shard) as QueueFigures, report.redisSeconds);
    return segmentOf(generation, place, waits, payloads[i] ?? []);
  });
  return {
    ...trace,
    key,
    node: settings.nodeOf(key),
    fieldCount: snapshot.fieldCount,
    ttlSeconds: ttl as number,
    isWhole: snapshot.isWhole,
    unreadableFields: snapshot.unreadable,
    redisSeconds: report.redisSeconds,
    liveFlushers: report.liveFlushers,
    shards: report.shards,
    segments: segments.toSorted((a, b) =>
      a.segmentId === b.segmentId ? a.generation - b.generation : a.segmentId < b.segmentId ? -1 : 1,
    ),
  };
}

/** Where an entry is in its queue, and what is noted of it there. */
interface QueuedPlace extends EntryPlace {
  readonly nowMicros: number;
  readonly parked: (ParkedFacts & { readonly parkedSeconds: number }) | undefined;
  readonly tries: number;
}

async function findQueued(
  { runner, settings }: InspectScope,
  trace: TraceRef,
  generations: readonly HeldGeneration[],
): Promise<QueuedPlace[]> {
  const { sliceId } = settings;
  const entries = generations.map((generation) => ({
    sliceId,
    shard: generation.shard,
    entry: formatEntry(trace, generation),
  }));
  const places = await findPlaces(runner, entries);
  const notes = await runner.run(
    entries.flatMap(({ shard, entry }) =>
      (['parked', 'tries'] as const).map((part) => {
        const key = formatQueueKey({ ...sliceOf(settings), shard, part });
        return { key, name: 'hget', args: [key, entry] };
      }),
    ),
  );
  return places.map((place, i) => {
    const [parked, tries] = notes.slice(2 * i, 2 * i + 2) as [RedisReply, RedisReply];
    return {
      ...place,
      parked: parked === null ? undefined : JSON.parse(String(parked)),
      tries: tries === null ? 0 : Number(String(tries).split(' ')[0]),
    };
  });
}

function segmentOf(
  generation: HeldGeneration,
  { parked, tries }: QueuedPlace,
  wait: Wait,
  payloads: readonly InspectedPayload[],
): InspectedSegment {
  const { segmentId, shard, sealReason, spanCount, payloadBytes, rootSeen, firstSeconds, lastSeconds } = generation;
  return {
    segmentId,
    generation: generation.generation,
    shard,
    state: parked !== undefined ? 'parked' : sealReason !== undefined ? 'sealed' : 'live',
    sealReason,
    spanCount,
    payloadBytes,
    rootSeen,
    firstSeconds,
    lastSeconds,
    wait,
    tries,
    payloadCount: generation.members.length + generation.missingEntryCount,
    missingEntryCount: generation.missingEntryCount,
    payloads,
  };
}

function waitOf(
  { sealReason, times }: HeldGeneration,
  { parked, lease, due, nowMicros }: QueuedPlace,
  shard: QueueFigures,
  redisSeconds: number,
): Wait {
  if (parked !== undefined) return { kind: 'parked', reason: parked.reason, parkedSeconds: parked.parkedSeconds };
  if (lease !== undefined)
    return { kind: 'leased', untilSeconds: Number(lease) / MICROS, nowSeconds: nowMicros / MICROS };
  if (due === undefined) return { kind: 'not-queued' };
  const { messageSeconds } = shard;
  // The queue is a hint: what a live segment's record says is when it is sealed.
  const [dueSeconds, backstopSeconds] = [Number(times.due), Number(times.held)];
  if (sealReason !== undefined || Number(due) === Number.NEGATIVE_INFINITY)
    return { kind: 'due', dueSeconds: undefined, messageSeconds };
  if (dueSeconds <= messageSeconds) return { kind: 'due', dueSeconds, messageSeconds };
  if (backstopSeconds <= redisSeconds) return { kind: 'due', dueSeconds: undefined, messageSeconds };
  const not = { dueSeconds, messageSeconds, backstopSeconds };
  if (dueSeconds > redisSeconds) return { kind: 'not-due', ...not };
  return { kind: 'held-back', ...not, cause: holdCauseOf(shard, redisSeconds) };
}

/** What shardTimes makes of the mark. */
function holdCauseOf({ clock, messageSeconds }: QueueFigures, redisSeconds: number): HoldCause {
  const silentSeconds = redisSeconds - (clock?.markedSeconds ?? redisSeconds);
  const waitSeconds = (clock?.messageSeconds ?? messageSeconds) - messageSeconds;
  const behindSeconds = clock?.behindSeconds ?? 0;
  if (behindSeconds > 0 && behindSeconds >= silentSeconds) return { kind: 'backlog', behindSeconds };
  if (waitSeconds > silentSeconds) return { kind: 'other-partitions', waitSeconds };
  return { kind: 'silent-consumer', silentSeconds };
}
