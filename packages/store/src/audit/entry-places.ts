import { entryOf, groupBy, pagesOf } from '../redis/grouping.ts';
import { type EntryPlace, lookUpCommand, parseLookUpReply, QUEUE_PAGE, queueOf } from '../redis/queue-scripts.ts';
import type { RedisReply, RedisRunner } from '../redis/redis-runner.ts';

/** An entry, and the queue in which it is looked for. */
export interface PlacedEntry {
  readonly sliceId: number | undefined;
  readonly shard: number;
  readonly entry: string;
}

/** Where entries are in their queues, in the order in which they are given; and the clock of the node, microseconds. */
export async function findPlaces(
  runner: RedisRunner,
  entries: readonly PlacedEntry[],
): Promise<(EntryPlace & { readonly nowMicros: number })[]> {
  const pages = [...groupBy([...entries.keys()], (at) => queueName(entries[at] as PlacedEntry)).values()].flatMap(
    (group) => pagesOf(group, QUEUE_PAGE),
  );
  const replies = await runner.run(
    pages.map((page) => {
      const { sliceId, shard } = entries[page[0] as number] as PlacedEntry;
      return lookUpCommand(
        queueOf(sliceId === undefined ? { shard } : { shard, sliceId }),
        page.map((at) => (entries[at] as PlacedEntry).entry),
      );
    }),
  );
  const found = new Map<number, EntryPlace & { readonly nowMicros: number }>();
  for (const [i, page] of pages.entries()) {
    const { nowMicros, places } = parseLookUpReply(replies[i] as RedisReply);
    for (const [k, at] of page.entries()) found.set(at, { ...(places[k] as EntryPlace), nowMicros });
  }
  return [...entries.keys()].map((at) =>
    entryOf(found, at, () => ({ due: undefined, lease: undefined, held: undefined, isParked: false, nowMicros: 0 })),
  );
}

function queueName({ sliceId, shard }: PlacedEntry): string {
  return `${sliceId ?? ''}-${shard}`;
}
