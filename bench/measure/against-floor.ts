/**
 * process, flush, messages and done of spanbuf beside SET, GET and UNLINK of the same spans. Each ratio is of two
 * neighbours of the same round, so that both had the same machine; which of the two goes first alternates. `process` is
 * called batch by batch, `flush` for {@link FLUSH_SEGMENTS} segments at a time, the floor in batches of the same size. All
 * streams go on at once, as a consumer of as many partitions and a flusher of as many shards have it, so that neither
 * side waits for the other's replies all the time.
 */
import { type FlushedSegment, SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import { LATER, NOW, type Workload } from '../workload/spans.ts';
import type { BenchRedis, LoggedCommand } from './bench-redis.ts';
import type { Cost } from './cost.ts';
import { readFloor, removeFloor, writeFloor } from './floor.ts';

/** About as many spans as a batch of `process` has. */
const FLUSH_SEGMENTS = 240;

export interface Variant {
  readonly nodes: 'one node' | 'three nodes';
  readonly layout: 'colocated' | 'distributed';
  readonly compression: 'zstd' | 'none';
}

export interface Ours {
  readonly process: Cost;
  readonly flush: Cost;
  readonly messages: Cost;
  readonly done: Cost;
}

export interface Floor {
  readonly write: Cost;
  readonly read: Cost;
  readonly remove: Cost;
}

export interface Round {
  readonly ours: Ours;
  readonly floor: Floor;
}

export interface RoundOptions {
  readonly floorFirst: boolean;
  /** Done before, and not measured. */
  readonly prepare?: (buffer: SpanBuffer) => Promise<void>;
}

/** One round; Redis is empty before and after. */
export async function measureRound(
  redis: BenchRedis,
  streams: readonly Workload[],
  variant: Variant,
  { floorFirst, prepare }: RoundOptions,
): Promise<Round> {
  const { client } = redis;
  const buffer = new SpanBuffer(createRedisStore(client, optionsOf(variant)));
  await prepare?.(buffer);
  const onAll = <T>(action: (stream: Workload) => Promise<T>, kind?: string) =>
    redis.measure(() => Promise.all(streams.map(action)), kind);
  const inTurn = async <A, B>(floor: () => Promise<A>, ours: () => Promise<B>): Promise<[A, B]> => {
    if (floorFirst) return [await floor(), await ours()];
    const b = await ours();
    return [await floor(), b];
  };
  const [write, process] = await inTurn(
    () => onAll((stream) => writeFloor(client, stream)),
    () => onAll((stream) => processAll(buffer, stream), variant.layout),
  );
  const [read, flush] = await inTurn(
    () => onAll((stream) => readFloor(client, stream)),
    () => onAll((stream) => flushAll(buffer, stream), variant.layout),
  );
  const messages = await redis.measure(() => buildMessages(flush.result.flat()));
  const [remove, done] = await inTurn(
    () => onAll((stream) => removeFloor(client, stream)),
    () => redis.measure(() => Promise.all(flush.result.map((pages) => doneAll(buffer, pages))), variant.layout),
  );
  await redis.clear();
  return {
    ours: { process: process.cost, flush: flush.cost, messages: messages.cost, done: done.cost },
    floor: { write: write.cost, read: read.cost, remove: remove.cost },
  };
}

/** So that commands of scripts are not counted twice, see {@link BenchRedis.learnSentShares}. Also loads the scripts. */
export async function learnShares(
  redis: BenchRedis,
  layout: Variant['layout'],
  streams: readonly Workload[],
): Promise<LoggedCommand[]> {
  const buffer = new SpanBuffer(createRedisStore(redis.client, optionsOf({ layout, compression: 'none' })));
  const logged = await redis.learnSentShares(layout, async () => {
    for (const stream of streams) {
      await processAll(buffer, stream);
      await doneAll(buffer, await flushAll(buffer, stream));
    }
  });
  await redis.clear();
  return logged;
}

export function optionsOf({ layout, compression }: Pick<Variant, 'layout' | 'compression'>) {
  return { layout, compression };
}

/** @param expected - How many spans of a batch are to be accepted: all of them, or none, of a replay. */
export async function processAll(
  buffer: SpanBuffer,
  { batches }: Pick<Workload, 'batches'>,
  expected: 'accepted' | 'replayed' = 'accepted',
): Promise<void> {
  for (const batch of batches) {
    const result = await buffer.process(batch, { now: NOW });
    if (result[expected] !== batch.length) {
      throw new Error(`${result[expected]} of ${batch.length} spans were ${expected}`);
    }
  }
}

/** Page by page, as they were flushed. */
export async function flushAll(
  buffer: SpanBuffer,
  { spanCount, partition }: Pick<Workload, 'spanCount' | 'partition'>,
): Promise<FlushedSegment[][]> {
  const pages: FlushedSegment[][] = [];
  let spans = 0;
  for (;;) {
    const page = await buffer.flush({ now: LATER, shards: [partition], limit: FLUSH_SEGMENTS });
    if (page.length === 0) break;
    pages.push(page);
    for (const segment of page) spans += segment.spanCount;
  }
  if (spans !== spanCount) throw new Error(`${spans} of ${spanCount} spans were flushed`);
  return pages;
}

/** @returns bytes of the messages. */
export function buildMessages(pages: readonly (readonly FlushedSegment[])[]): number {
  let bytes = 0;
  for (const segment of pages.flat()) for (const { value } of segment.messages()) bytes += value.length;
  return bytes;
}

export async function doneAll(buffer: SpanBuffer, pages: readonly (readonly FlushedSegment[])[]): Promise<void> {
  for (const page of pages) await buffer.done(page);
}
