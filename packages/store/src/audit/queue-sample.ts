import { formatQueueKey } from '@spanbuf/keys';
import type { QueueReport, QueueSample, SampledShare } from '../inspector.ts';
import { drawCommands, shareOut } from '../redis/draw.ts';
import { entryOf, pagesOf } from '../redis/grouping.ts';
import { type EntryRecord, findEntryTarget, readEntryRecords } from './entry-records.ts';
import { type InspectScope, sliceOf } from './inspect-scope.ts';

const MOST_ENTRIES = 10_000;
/** Entries whose traces are asked at once: less than 1 ms of a node. */
const ASKED_AT_ONCE = 512;
const MOST_TOLD = 100;

/** Draws entries of all queues by lot, each as likely as any other, and looks at what they stand for. */
export async function sampleQueues(
  { runner, settings }: InspectScope,
  { shards }: QueueReport,
  mostEntries: number,
): Promise<QueueSample> {
  const slice = sliceOf(settings);
  const sets = shards.flatMap(({ shard, lanes, inFlightCount }) => [
    ...lanes.map(({ lane, queuedCount }) => ({
      key: formatQueueKey({ ...slice, shard, part: 'due', lane }),
      count: queuedCount,
    })),
    { key: formatQueueKey({ ...slice, shard, part: 'in-flight' }), count: inFlightCount },
  ]);
  const counts = sets.map(({ count }) => count);
  const entryCount = counts.reduce((sum, count) => sum + count, 0);
  const most = Math.min(Math.max(1, Math.floor(mostEntries)), MOST_ENTRIES);
  const isWhole = entryCount <= most;
  const shares = shareOut(counts, most, settings.random());
  const draws = sets.flatMap(({ key }, i) => drawCommands(key, shares[i] ?? 0, isWhole));
  const drawn = (await runner.run(draws)).flatMap((reply) => (reply as readonly Buffer[]).map(String));
  // What is scheduled while it is in flight is in both sets. For a proportion, what is drawn twice counts twice.
  const entries = isWhole ? [...new Set(drawn)] : drawn;
  const targets = entries.flatMap((entry) => {
    const target = findEntryTarget(entry);
    return target === undefined ? [] : { ...target, entry };
  });
  const seen = new Set<string>();
  const projects = new Map<string, Share>();
  const traces = new Map<string, Share & { readonly traceId: string }>();
  const all: Share = { projectId: '', entryCount: 0, spanCount: 0, payloadBytes: 0 };
  for (const page of pagesOf(targets, ASKED_AT_ONCE)) {
    const records = await readEntryRecords(runner, page);
    for (const [i, target] of page.entries()) {
      const record = records[i];
      if (record === undefined) continue;
      add(all, record);
      const { projectId, traceId } = target.trace;
      const none = { projectId, entryCount: 0, spanCount: 0, payloadBytes: 0 };
      add(
        entryOf(projects, projectId, () => ({ ...none })),
        record,
      );
      if (seen.has(target.entry)) continue;
      seen.add(target.entry);
      add(
        entryOf(traces, `${projectId}:${traceId}`, () => ({ ...none, traceId })),
        record,
      );
    }
  }
  return {
    entryCount,
    isWhole,
    sampledCount: all.entryCount,
    spanCount: all.spanCount,
    payloadBytes: all.payloadBytes,
    projects: heaviest([...projects.values()]),
    traces: heaviest([...traces.values()]),
  };
}

type Share = { -readonly [Field in keyof SampledShare]: SampledShare[Field] };

function add(share: Share, { spanCount, payloadBytes }: EntryRecord): void {
  share.entryCount++;
  share.spanCount += spanCount;
  share.payloadBytes += payloadBytes;
}

function heaviest<S extends SampledShare>(shares: readonly S[]): S[] {
  return shares.toSorted((a, b) => b.payloadBytes - a.payloadBytes || b.spanCount - a.spanCount).slice(0, MOST_TOLD);
}
