import { formatQueueKey, type QueuePart, type QueueRef } from '@spanbuf/keys';
import type { FindingKind } from '../auditor.ts';
import { parseQueueStateReply, queueStateCommand } from '../redis/control-scripts.ts';
import { pagesOf } from '../redis/grouping.ts';
import {
  type EntryPlace,
  parseShardsReply,
  readShardsCommand,
  registerShardsCommand,
  scheduleCommand,
  settleCommand,
} from '../redis/queue-scripts.ts';
import type { RedisReply } from '../redis/redis-runner.ts';
import { type AuditScope, ownQueue } from './audit-scope.ts';
import { findPlaces } from './entry-places.ts';
import { type EntryRecord, type EntryTarget, findEntryTarget, readEntryRecords } from './entry-records.ts';
import { isHash } from './key-kinds.ts';
import type { Suspicion } from './suspicion.ts';

/** A key of a queue that has entries. */
export type QueueKey = QueueRef & QueuePart;

/** An entry, and the key in which it was found. */
export interface QueuedEntry {
  readonly queue: QueueKey;
  readonly entry: string;
}

const SCAN_PAGE = 512;
const MICROS = 1_000_000;

/** The entries under a key of a queue, in pages. An entry may come twice. */
export async function* scanEntries({ runner }: AuditScope, queue: QueueKey): AsyncGenerator<QueuedEntry[]> {
  const key = formatQueueKey(queue);
  let cursor = '0';
  do {
    const name = isHash(queue) ? 'hscan' : 'zscan';
    const [reply] = await runner.run([{ key, name, args: [key, cursor, 'COUNT', SCAN_PAGE] }]);
    const [next, pairs] = reply as readonly [Buffer, readonly Buffer[]];
    for (const page of pagesOf(pagesOf(pairs, 2), SCAN_PAGE))
      yield page.map(([entry]) => ({ queue, entry: String(entry) }));
    cursor = String(next);
  } while (cursor !== '0');
}

/** Whether entries stand for something, and may be relied upon to be taken one day. */
export async function inspectEntries(
  scope: AuditScope,
  queued: readonly QueuedEntry[],
): Promise<(readonly Suspicion[])[]> {
  const targets = queued.map(({ entry }) => findEntryTarget(entry));
  const readable = [...queued.keys()].filter((at) => targets[at] !== undefined);
  const places = await findPlaces(
    scope.runner,
    readable.map((at) => {
      const { queue, entry } = queued[at] as QueuedEntry;
      return { sliceId: queue.sliceId, shard: queue.shard, entry };
    }),
  );
  const records = await readEntryRecords(
    scope.runner,
    readable.map((at) => targets[at] as EntryTarget),
  );
  const found = new Map<number, Suspicion[]>();
  for (const [i, at] of readable.entries()) {
    const place = places[i] as EntryPlace & { nowMicros: number };
    found.set(at, inspectEntry(scope, queued[at] as QueuedEntry, place, records[i]));
  }
  return queued.map(
    (one, at) =>
      found.get(at) ?? [out(scope, one, 'stale-entry', 'it is not what a queue may have, and stops flushers')],
  );
}

function inspectEntry(
  scope: AuditScope,
  queued: QueuedEntry,
  place: EntryPlace & { readonly nowMicros: number },
  data: EntryRecord | undefined,
): Suspicion[] {
  const { part } = queued.queue;
  const isElsewhere = place.due !== undefined || place.lease !== undefined || place.isParked;
  if (data === undefined) {
    if (part !== 'held') return [out(scope, queued, 'stale-entry', 'it stands for nothing any more')];
    return isElsewhere ? [] : [out(scope, queued, 'held-without-entry', 'the backstop waits for what is in no queue')];
  }
  if (part === 'due' && place.due !== undefined && place.held === undefined)
    return [withoutHeld(scope, queued, place.due, data)];
  const lastMicros = place.nowMicros + scope.settings.maxLeaseSeconds * MICROS;
  if (part === 'in-flight' && place.lease !== undefined && Number(place.lease) > lastMicros)
    return [endless(scope, queued, place.lease, place.nowMicros, data)];
  return [];
}

function findingOf(kind: FindingKind, { queue, entry }: QueuedEntry, problem: string) {
  const trace = findEntryTarget(entry)?.trace;
  return { kind, key: formatQueueKey(queue), ...trace, shard: queue.shard, detail: `${entry}: ${problem}` };
}

function out({ runner }: AuditScope, queued: QueuedEntry, kind: FindingKind, problem: string): Suspicion {
  const { queue, entry } = queued;
  const key = formatQueueKey(queue);
  return {
    finding: findingOf(kind, queued, problem),
    fingerprint: `${kind} ${key} ${entry}`,
    repair: async () => {
      const heldKey = formatQueueKey({ ...withoutPart(queue), part: 'held' });
      await runner.run([
        { key, name: isHash(queue) ? 'hdel' : 'zrem', args: [key, entry] },
        { key: heldKey, name: 'zrem', args: [heldKey, entry] },
      ]);
      return 'taken out of the queue';
    },
  };
}

function withoutHeld(scope: AuditScope, queued: QueuedEntry, due: string, { held }: { held: string }): Suspicion {
  const { queue, entry } = queued;
  return {
    finding: findingOf('entry-without-held', queued, 'no backstop takes it, should message time stand still'),
    fingerprint: `unheld ${queue.shard} ${entry}`,
    repair: async () => {
      const { redisTtlSeconds: ttlSeconds } = scope.settings;
      const entries = [{ entry, due, held }];
      await scope.runner.run([
        scheduleCommand({ queue: ownQueue(scope, queue.shard), ttlSeconds, entries, takeOut: [] }),
      ]);
      return 'the backstop knows it again';
    },
  };
}

function endless(
  scope: AuditScope,
  queued: QueuedEntry,
  lease: string,
  nowMicros: number,
  { due }: { due: string },
): Suspicion {
  const { queue, entry } = queued;
  const leftSeconds = Math.round((Number(lease) - nowMicros) / MICROS);
  return {
    finding: findingOf('endless-lease', queued, `its lease runs for another ${leftSeconds} seconds`),
    fingerprint: `endless ${queue.shard} ${entry} ${lease}`,
    repair: async () => {
      // Given back by the name of the lease: one that another flusher has taken meanwhile is left alone.
      const back = settleCommand({ queue: ownQueue(scope, queue.shard), lease }, scope.settings.redisTtlSeconds, [
        { entry, due },
      ]);
      await scope.runner.run([back]);
      return 'given back to the queue';
    },
  };
}

function withoutPart({ shard, sliceId }: QueueRef): QueueRef {
  return sliceId === undefined ? { shard } : { shard, sliceId };
}

/** Whether flushers can find the queues of shards. */
export async function inspectShards(scope: AuditScope, shards: readonly number[]): Promise<(readonly Suspicion[])[]> {
  const { runner, settings } = scope;
  const queues = shards.map((shard) => ownQueue(scope, shard));
  const states = await runner.run(queues.map(queueStateCommand));
  // Read last: a shard is noted after its entries are scheduled.
  const [reply] = await runner.run([readShardsCommand(settings.sliceId)]);
  const known = parseShardsReply(reply as RedisReply);
  return queues.map((queue, i) => {
    const { isEmpty, state } = parseQueueStateReply(queue, states[i] as RedisReply);
    if (isEmpty || known.has(queue.shard)) return [];
    return [unregistered(scope, queue.shard, state.dueCount + state.inFlightCount + state.parkedCount)];
  });
}

function unregistered({ runner, settings }: AuditScope, shard: number, entryCount: number): Suspicion {
  const { sliceId, redisTtlSeconds, nextToken } = settings;
  const key = formatQueueKey(sliceId === undefined ? { shard } : { shard, sliceId });
  return {
    finding: { kind: 'unregistered-shard', key, shard, detail: `flushers do not know of its ${entryCount} entries` },
    fingerprint: `unregistered ${shard}`,
    repair: async () => {
      await runner.run([registerShardsCommand(sliceId, redisTtlSeconds, nextToken(), [shard])]);
      return 'flushers know it again';
    },
  };
}
