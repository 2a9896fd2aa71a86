import type { FlushedSegment, SpanBuffer, SpanLoss } from '@spanbuf/buffer';
import { ReceiptsKeeper, receiptsOf, type SegmentStore } from '@spanbuf/store';
import type { SimulatedProcess } from './process.ts';
import { type Connections, isPassing, type Stage } from './stage.ts';

type Ending = 'done' | 'park' | 'release' | 'keep';

interface EpochStore {
  /** `undefined`: nobody counts them. */
  readonly epoch: number | undefined;
  readonly store: SegmentStore;
}

/** What a flusher does: flush, produce, and note how it ended. */
export async function runFlusher(stage: Stage, process: SimulatedProcess, connections: Connections): Promise<void> {
  const { chance } = process;
  const receipts = connections.ledger && new ReceiptsKeeper(connections.ledger);
  let current: EpochStore | undefined;
  for (;;) {
    await stage.turn(process, 'flush', () => isReady(stage));
    try {
      if (stage.isStopping || chance.is(0.3)) await receipts?.look();
      if (stage.isStopping) {
        // Flushers wait for books that nobody has begun again yet.
        await stage.turn(process, 'look again', () => stage.haveBegun);
        await receipts?.look();
        return;
      }
      current = await storeOfNow(connections, current);
      const { epoch, store } = current;
      if (stage.isHealed || stage.takePutBack()) await putBack(stage, process, store);
      const losses: SpanLoss[] = [];
      const buffer = connections.openBuffer(store, {
        holdIncomplete: epoch !== undefined,
        onLoss: (loss) => losses.push(loss),
      });
      const segments = await flush(stage, process, buffer);
      const held = losses.find(({ isHeld }) => isHeld);
      if (epoch !== undefined && held !== undefined) {
        await connections.losses?.suspect(epoch, `${held.segmentId} lacks ${held.lostSpanCount} spans`);
        stage.witness.heldBack();
      }
      if (epoch !== undefined && segments.length > 0 && (await connections.losses?.isWhole(epoch)) === false) {
        stage.note(process.name, 'holds back what it has: something may be lost');
        stage.witness.letGo(process.name, segments);
        continue;
      }
      for (const group of groupsOf(process, segments)) await deliver(stage, process, { buffer, receipts }, group);
      // Nobody comes after this one: what it does not find now, nobody finds.
      if (stage.isHealed && segments.length === 0) {
        await receipts?.look();
        return;
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
      stage.note(process.name, `could not flush: ${(error as Error).message}`);
    }
    if (!stage.isHealed && chance.is(0.5)) await stage.turn(process, 'rest');
  }
}

/** They are the last to end: consumers may bring back the books that flushers know receipts of. */
function isReady(stage: Stage): boolean {
  return stage.isStopping ? stage.isReadingOver : stage.isPutBackWanted || stage.witness.isAnythingHeld;
}

async function storeOfNow({ losses, openStore }: Connections, current: EpochStore | undefined): Promise<EpochStore> {
  const epoch = await losses?.readEpoch();
  return current !== undefined && current.epoch === epoch ? current : { epoch, store: openStore(epoch) };
}

async function putBack(stage: Stage, process: SimulatedProcess, store: SegmentStore): Promise<void> {
  const parked = await store.listParked({ limit: 100 });
  stage.note(process.name, `puts back ${parked.length}`);
  if (parked.length > 0) await store.retryParked(parked);
}

async function flush(stage: Stage, process: SimulatedProcess, buffer: SpanBuffer): Promise<FlushedSegment[]> {
  const { chance } = process;
  const sinceMs = stage.witness.nowMs;
  const segments = await buffer.flush({
    // As far as this flusher knows.
    now: stage.messageSeconds + (chance.is(0.1) ? chance.int(-30, 30) : 0),
    drain: stage.isHealed || chance.is(0.1),
    ...(!stage.isHealed && chance.is(0.2) && { limit: chance.int(1, 3) }),
    ...(!stage.isHealed && chance.is(0.1) && { maxBytes: 500 }),
    ...(!stage.isHealed && chance.is(0.2) && { shards: [chance.pick(stage.kafka.partitions)] }),
  });
  stage.note(process.name, `has ${segments.length === 0 ? 'nothing' : segments.map(nameOf).join(', ')}`);
  stage.witness.flushed(process.name, segments, sinceMs);
  return segments;
}

/** In one go, or one by one. */
function groupsOf({ chance }: SimulatedProcess, segments: readonly FlushedSegment[]): (readonly FlushedSegment[])[] {
  if (segments.length === 0) return [];
  return chance.is(0.7) ? [segments] : segments.map((segment) => [segment]);
}

async function deliver(
  stage: Stage,
  process: SimulatedProcess,
  { buffer, receipts }: { readonly buffer: SpanBuffer; readonly receipts: ReceiptsKeeper | undefined },
  segments: readonly FlushedSegment[],
): Promise<void> {
  const { chance } = process;
  const ending: Ending = stage.isHealed ? 'done' : chance.weighted({ done: 14, park: 1, release: 3, keep: 1 });
  await stage.turn(process, 'produce');
  const names = segments.map(nameOf).join(', ');
  if (ending === 'done') {
    for (const segment of segments)
      for (const { flushId, value } of segment.messages()) stage.witness.produced(process.name, flushId, value);
    stage.note(process.name, `produces ${names}`);
    await stage.turn(process, 'done');
    try {
      await buffer.done(segments);
    } finally {
      for (const { spans, reason } of segments) receipts?.given(receiptsOf(spans, reason));
    }
    if (chance.is(0.05)) await buffer.done(segments);
  } else if (ending === 'park') {
    stage.note(process.name, `parks ${names}`);
    stage.witness.letGo(process.name, segments);
    await buffer.park(segments.map((segment) => ({ segment, reason: 'refused' })));
    stage.witness.parked(segments);
  } else if (ending === 'release') {
    stage.note(process.name, `releases ${names}`);
    stage.witness.letGo(process.name, segments);
    await buffer.release(segments);
  } else {
    stage.note(process.name, `keeps ${names}`);
  }
}

function nameOf({ segmentId, generation, reason }: FlushedSegment): string {
  return `${segmentId}#${generation} (${reason})`;
}
