import type { Layout } from '../layout.ts';
import type { Compression } from '../payload-blob.ts';
import type { TraceObserver } from '../trace-watch.ts';

/** Options of a store, checked. */
export interface RedisStoreSettings {
  readonly layout: Layout;
  readonly sliceId: number | undefined;
  readonly epoch: number | undefined;
  readonly redisTtlSeconds: number;
  readonly dedupeWindowSeconds: number;
  readonly leaseSeconds: number;
  readonly compression: Compression;
  readonly waitReplicas: number;
  readonly waitSeconds: number;
  readonly observer: TraceObserver | undefined;
  /** Answers an id that no other call of any store has had. */
  readonly nextWriteId: () => string;
  /** Answers an integer from 0 to 2^31 - 1, drawn at random. */
  readonly nextList: () => number;
}
