/** Compiles against the installed declarations, and each line marked as an error has to be one. */
import { type FlushedSegment, SpanBuffer } from '@spanbuf/buffer';
import { parseSegmentKey } from '@spanbuf/keys';
import { createMemoryStore, createRedisStore, type SegmentStore } from '@spanbuf/store';
import { Cluster, Redis } from 'ioredis';

const ref: { projectId: string; traceId: string; spanId: string } = parseSegmentKey(Buffer.from('key'));
// @ts-expect-error a key is text or bytes
parseSegmentKey(ref);

const stores: SegmentStore[] = [
  createMemoryStore({ dedupeWindowSeconds: 0 }),
  createRedisStore(new Redis(), { layout: 'distributed' }),
  createRedisStore(new Cluster([]), { layout: 'dual-read-colocated' }),
];
// @ts-expect-error no such layout
createRedisStore(new Redis(), { layout: 'spread' });

const flushed: Promise<FlushedSegment[]>[] = stores.map((store) => new SpanBuffer(store).flush({ now: 0 }));
export const values: Promise<Buffer[]> = Promise.all(flushed).then((all) =>
  all.flat().flatMap((segment) => segment.messages().map(({ value }) => value)),
);
