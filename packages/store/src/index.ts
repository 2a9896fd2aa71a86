export { createRedisStore, type RedisStoreOptions } from './create-redis-store.ts';
export {
  InvalidStoreOptionsError,
  StoreRefusedError,
  StoreUnavailableError,
  UnreadablePayloadError,
} from './errors.ts';
export { LAYOUTS, type LayoutName } from './layout.ts';
export { createMemoryStore, type MemoryStoreOptions } from './memory/memory-store.ts';
export { BLOB_BYTES } from './payload-blob.ts';
export {
  type AddResult,
  type ClaimQuery,
  MAX_SPANS_PER_ADDITION,
  MAX_SUBSEGMENTS_PER_ADDITION,
  type SealedGeneration,
  type SealReason,
  type SegmentPolicy,
  type SegmentStore,
  type StoredSpan,
  type Subsegment,
  type TraceAddition,
} from './segment-store.ts';
