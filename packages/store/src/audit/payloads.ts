import { formatSegmentKey, formatTraceKey, type PayloadRef, type SpanRef } from '@spanbuf/keys';
import { colocatedPayloads } from '../colocated/colocated-payloads.ts';
import { distributedPayloads } from '../distributed/distributed-payloads.ts';
import type { Mark } from '../layout.ts';
import { groupBy, pagesOf } from '../redis/grouping.ts';
import { RedisLedger } from '../redis/redis-ledger.ts';
import type { RedisCommand } from '../redis/redis-runner.ts';
import type { StoredSpan } from '../segment-store.ts';
import type { AuditScope } from './audit-scope.ts';
import { spansOf } from './payload-spans.ts';
import type { Suspicion } from './suspicion.ts';
import { readTraces, type TraceSnapshot } from './trace-snapshot.ts';

/** A payload, and which place it is in. */
export interface PlacedPayload {
  readonly place: 'colocated' | 'distributed';
  readonly ref: Required<PayloadRef>;
}

/** Traces that are in memory at once. */
const TRACES_AT_ONCE = 16;
/** Payloads that are in memory at once: 16 MB of blobs of the usual size. */
const READ_AT_ONCE = 512;
const MARKS: Record<PlacedPayload['place'], readonly Mark[]> = { colocated: ['c', 'b'], distributed: ['d', 'b'] };
const STORAGES = { colocated: colocatedPayloads, distributed: distributedPayloads };

/** The payloads in hashes of the colocated layout. */
export async function payloadsIn({ runner }: AuditScope, hashes: readonly SpanRef[]): Promise<PlacedPayload[]> {
  const replies = await runner.run(
    hashes.map((ref) => {
      const key = formatSegmentKey(ref);
      return { key, name: 'hkeys', args: [key] };
    }),
  );
  return hashes.flatMap((ref, i) =>
    (replies[i] as readonly Buffer[]).map((id) => ({
      place: 'colocated' as const,
      ref: { ...ref, writeId: String(id) },
    })),
  );
}

/** Whether anything refers to payloads that were written long ago. */
export async function inspectPayloads(
  scope: AuditScope,
  payloads: readonly PlacedPayload[],
): Promise<(readonly Suspicion[])[]> {
  const isOld = await areOld(scope, payloads);
  const old = [...payloads.keys()].filter((at) => isOld[at]);
  const alone: number[] = [];
  const byTrace = groupBy(old, (at) => formatTraceKey((payloads[at] as PlacedPayload).ref));
  for (const page of pagesOf([...byTrace.values()], TRACES_AT_ONCE)) {
    const snapshots = await readTraces(
      scope.runner,
      page.map((group) => {
        const { projectId, traceId } = (payloads[group[0] as number] as PlacedPayload).ref;
        return { projectId, traceId };
      }),
    );
    for (const [i, group] of page.entries()) {
      const snapshot = snapshots[i] as TraceSnapshot;
      const isReferred = referredBy(snapshot);
      if (snapshot.isWhole) alone.push(...group.filter((at) => !isReferred(payloads[at] as PlacedPayload)));
    }
  }
  const found = new Map<number, Suspicion[]>();
  for (const page of pagesOf(alone, READ_AT_ONCE)) {
    const suspicions = await unreferenced(
      scope,
      page.map((at) => payloads[at] as PlacedPayload),
    );
    for (const [i, at] of page.entries()) found.set(at, suspicions[i] ?? []);
  }
  return [...payloads.keys()].map((at) => found.get(at) ?? []);
}

/** By what is left of their time to live: it began when they were written, and reading them does not prolong it. */
async function areOld({ runner, settings }: AuditScope, payloads: readonly PlacedPayload[]): Promise<boolean[]> {
  const { redisTtlSeconds, minPayloadAgeSeconds } = settings;
  const replies = await runner.run(
    payloads.map(({ place, ref }) => {
      const { key } = STORAGES[place].has(ref);
      return { key, name: 'ttl', args: [key] };
    }),
  );
  return replies.map(
    (leftSeconds) => minPayloadAgeSeconds === 0 || redisTtlSeconds - (leftSeconds as number) >= minPayloadAgeSeconds,
  );
}

function referredBy({ generations }: TraceSnapshot): (payload: PlacedPayload) => boolean {
  const referred = new Set<string>();
  for (const { members } of generations)
    for (const { mark, ref } of members) referred.add(`${mark} ${ref.spanId} ${ref.writeId}`);
  return ({ place, ref }) => MARKS[place].some((mark) => referred.has(`${mark} ${ref.spanId} ${ref.writeId}`));
}

async function unreferenced(scope: AuditScope, payloads: readonly PlacedPayload[]): Promise<Suspicion[][]> {
  const { runner } = scope;
  const sizes = await runner.run(payloads.map(sizeCommand));
  const blobs = await runner.run(payloads.map(({ place, ref }) => STORAGES[place].get(ref)));
  const spans = blobs.map((blob) => (blob === null ? [] : (spansOf(blob as Buffer) ?? [])));
  const isOpen = await openAmong(scope, spans.flat());
  return payloads.map(({ place, ref }, i) => {
    // Gone, or on its way out.
    if (blobs[i] === null) return [];
    const storage = STORAGES[place];
    const { key } = storage.has(ref);
    const bytes = Number(sizes[i] ?? 0);
    const openCount = (spans[i] ?? []).filter(isOpen).length;
    const field = place === 'colocated' ? ` (field ${ref.writeId})` : '';
    return [
      {
        finding: {
          kind: 'unreferenced-payload',
          key,
          projectId: ref.projectId,
          traceId: ref.traceId,
          spanCount: spans[i]?.length ?? 0,
          bytes,
          detail: `no list of its trace refers to this ${place} payload${field}`,
        },
        fingerprint: `unreferenced ${key} ${ref.writeId}`,
        repair:
          openCount > 0
            ? `it may be the only copy of spans that have no receipt: ${openCount}`
            : async () => {
                await runner.run([storage.remove(ref)]);
                return `${bytes} bytes freed`;
              },
      },
    ];
  });
}

function sizeCommand({ place, ref }: PlacedPayload): RedisCommand {
  const { key } = STORAGES[place].has(ref);
  if (place === 'distributed') return { key, name: 'memory', args: ['USAGE', key] };
  return { key, name: 'hstrlen', args: [key, ref.writeId] };
}

/** Tells spans that are in the books, and have not come to an end. */
async function openAmong(
  { runner, settings, books }: AuditScope,
  spans: readonly StoredSpan[],
): Promise<(span: StoredSpan) => boolean> {
  const ledger = new RedisLedger(runner, settings);
  const open = new Set<StoredSpan>();
  for (const { partition, source, baseOffset } of books) {
    const own = spans.filter(
      (span) => span.partition === partition && (span.source ?? '') === source && (span.offset ?? -1n) >= baseOffset,
    );
    if (own.length === 0) continue;
    const settled = await ledger.settledAmong(
      partition,
      source,
      own.map(({ offset }) => offset as bigint),
    );
    for (const span of own) if (!settled.has(span.offset as bigint)) open.add(span);
  }
  return (span) => open.has(span);
}
