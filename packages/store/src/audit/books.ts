import { formatLedgerKey, formatReceiptsKey, type QueueRef, RECEIPTS_CHUNK } from '@spanbuf/keys';
import type { AuditedBooks, OffsetRange } from '../auditor.ts';
import type { PartitionBooks } from '../ledger.ts';
import { isChunkFull, parseLedgerReply } from '../redis/ledger-scripts.ts';
import { RedisLedger } from '../redis/redis-ledger.ts';
import type { RedisReply } from '../redis/redis-runner.ts';
import type { AuditScope } from './audit-scope.ts';
import type { OffsetSets } from './offset-sets.ts';
import type { Suspicion } from './suspicion.ts';

const CHUNK = BigInt(RECEIPTS_CHUNK);
/** Ranges that a finding names; what it says about their number is about all. */
const RANGES_TOLD = 1_000;

/** Which offsets traces hold. */
export interface HeldOffsets {
  readonly held: OffsetSets;
  readonly parked: OffsetSets;
}

/** The open offsets of one partition and source, by where they are. */
export interface OpenOffsets {
  readonly partition: number;
  readonly source: string;
  readonly heldCount: number;
  readonly parkedCount: number;
  /** Those that nothing holds: read before the traces were, and still without a receipt after. */
  readonly missing: readonly OffsetRange[];
}

function refOf({ settings: { sliceId } }: AuditScope, shard: number): QueueRef {
  return sliceId === undefined ? { shard } : { shard, sliceId };
}

/** The books as they are now. */
export function readBooks(
  { runner, settings }: Pick<AuditScope, 'runner' | 'settings'>,
  partitions: readonly number[],
): Promise<PartitionBooks[]> {
  return new RedisLedger(runner, settings).read(partitions);
}

/**
 * Where the open offsets are. To be called after the traces were read, the books of the scope before: so what was in a trace and
 * has been produced meanwhile has its receipt, and what came later is left out.
 */
export async function findOpen(scope: AuditScope, { held, parked }: HeldOffsets): Promise<OpenOffsets[]> {
  const found: OpenOffsets[] = [];
  for (const { partition, source, takenOffset: end } of scope.books) {
    let [heldCount, parkedCount] = [0, 0];
    const missing: { from: bigint; to: bigint }[] = [];
    for await (const some of openOffsets(scope, partition, source, end)) {
      for (const offset of some) {
        const last = missing.at(-1);
        if (parked.has(partition, source, offset)) parkedCount++;
        else if (held.has(partition, source, offset)) heldCount++;
        else if (last?.to === offset) last.to = offset + 1n;
        else missing.push({ from: offset, to: offset + 1n });
      }
    }
    found.push({ partition, source, heldCount, parkedCount, missing });
  }
  return found;
}

/** Offsets below `end` that have no receipt, in their order, those of one chunk at a time. Cost: two reads a chunk that is not full. */
async function* openOffsets(
  scope: AuditScope,
  partition: number,
  source: string,
  end: bigint,
): AsyncGenerator<bigint[]> {
  const { runner } = scope;
  const ref = refOf(scope, partition);
  const key = formatLedgerKey(ref);
  const [reply] = await runner.run([{ key, name: 'hgetall', args: [key] }]);
  const books = parseLedgerReply(partition, reply as RedisReply).find((each) => each.source === source);
  if (books === undefined) return;
  const { baseOffset: base, high } = books;
  const chunks = [...books.parts];
  for (let chunk = high + 1n; chunk * CHUNK < end; chunk++) chunks.push(chunk);
  for (const chunk of chunks) {
    const bitmapKey = formatReceiptsKey({ ...ref, source, chunk });
    const [bitmap] = await runner.run([{ key: bitmapKey, name: 'get', args: [bitmapKey] }]);
    // Last: a chunk that becomes full is noted before its bitmap goes.
    const [state] = await runner.run([
      { key, name: 'hmget', args: [key, `high ${source}`, `part ${source} ${chunk}`] },
    ]);
    if (isChunkFull(chunk, state as RedisReply)) continue;
    const bits = bitmap as Buffer | null;
    const start = chunk * CHUNK;
    const open: bigint[] = [];
    for (let bit = 0; bit < RECEIPTS_CHUNK; bit++) {
      const offset = start + BigInt(bit);
      const isSettled = ((bits?.[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0;
      if (!isSettled && offset >= base && offset < end) open.push(offset);
    }
    yield open;
  }
}

/** What is missing in two sweeps. */
export function missingInBoth(first: readonly OpenOffsets[], second: readonly OpenOffsets[]): OpenOffsets[] {
  return second.map((later) => {
    const earlier = first.find(({ partition, source }) => partition === later.partition && source === later.source);
    return { ...later, missing: intersect(earlier?.missing ?? [], later.missing) };
  });
}

/** Ranges in their order that are in both. */
function intersect(some: readonly OffsetRange[], others: readonly OffsetRange[]): OffsetRange[] {
  const both: OffsetRange[] = [];
  for (let i = 0, k = 0; i < some.length && k < others.length; ) {
    const [a, b] = [some[i] as OffsetRange, others[k] as OffsetRange];
    const { from } = a.from > b.from ? a : b;
    const { to } = a.to < b.to ? a : b;
    if (from < to) both.push({ from, to });
    if (to === a.to) i++;
    else k++;
  }
  return both;
}

/** Offsets that are certain to be missing. They are written off where that was asked for. */
export function missingOffsets(
  scope: AuditScope,
  { partition, source, missing }: OpenOffsets,
  writesOff: boolean,
): Suspicion {
  const count = countOf(missing);
  return {
    finding: {
      kind: 'unaccounted-offsets',
      key: formatLedgerKey(refOf(scope, partition)),
      shard: partition,
      source,
      spanCount: count,
      offsets: missing.slice(0, RANGES_TOLD),
      detail: `read from source '${source}', not produced, and held by nothing: ${count}`,
    },
    fingerprint: `unaccounted ${partition} ${source}`,
    repair: writesOff
      ? async () => {
          const receipts = missing.map(({ from, to }) => ({ partition, source, fromOffset: from, toOffset: to }));
          const ledger = new RedisLedger(scope.runner, scope.settings);
          await ledger.settle(receipts.map((receipt) => ({ ...receipt, fate: 'lost' as const })));
          return `written off as lost: ${count}`;
        }
      : 'to be written off on request alone: a consumer that reads them again would pass over them then',
  };
}

/** Books as they are now, with where the open offsets were found. */
export function auditedBooks(now: readonly PartitionBooks[], found: readonly OpenOffsets[]): AuditedBooks[] {
  return now.map((books) => {
    const open = found.find(({ partition, source }) => partition === books.partition && source === books.source);
    const { heldCount = 0, parkedCount = 0, missing = [] } = open ?? {};
    const missingCount = countOf(missing);
    const movingCount = books.openCount - heldCount - parkedCount - missingCount;
    return { ...books, heldCount, parkedCount, missingCount, movingCount, isBalanced: missingCount === 0 };
  });
}

function countOf(ranges: readonly OffsetRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + Number(to - from), 0);
}
