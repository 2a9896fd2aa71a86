export {
  type AuditCall,
  type AuditedBooks,
  type AuditFinding,
  type Auditor,
  type AuditReport,
  FINDING_KINDS,
  type Finding,
  type FindingKind,
  type OffsetRange,
  type ShardHoldings,
} from './auditor.ts';
export type {
  BufferControl,
  BufferState,
  ClockMark,
  NodeMemory,
  ProcessFacts,
  ShardClock,
  ShardState,
} from './buffer-control.ts';
export { type AuditorOptions, createAuditor } from './create-auditor.ts';
export { type BufferControlOptions, createBufferControl } from './create-buffer-control.ts';
export { createInspector, type InspectorOptions } from './create-inspector.ts';
export { createLedger, type LedgerOptions } from './create-ledger.ts';
export { createLossWatch, type LossWatchOptions } from './create-loss-watch.ts';
export { createRedisStore, type RedisStoreOptions } from './create-redis-store.ts';
export { createRollout, type RolloutOptions } from './create-rollout.ts';
export { createTraceWatch, type TraceWatchOptions } from './create-trace-watch.ts';
export {
  InvalidStoreOptionsError,
  StaleEpochError,
  StoreRefusedError,
  StoreUnavailableError,
  UnreadablePayloadError,
} from './errors.ts';
export type {
  HoldCause,
  InspectedPayload,
  InspectedSegment,
  InspectedTrace,
  InspectLimits,
  Inspector,
  LaneFigures,
  NodeFigures,
  NodeLoad,
  PartitionTotals,
  PayloadPlace,
  QueueFigures,
  QueueReport,
  QueueSample,
  SampledShare,
  Wait,
} from './inspector.ts';
export { LAYOUTS, type LayoutName, type Place } from './layout.ts';
export {
  type Fate,
  type Ledger,
  type LedgerPosition,
  type PartitionBooks,
  type Receipt,
  type ReceiptsCopy,
  receiptsOf,
} from './ledger.ts';
export type { LossWatch, Verdict } from './loss-watch.ts';
export { createMemoryStore, type MemoryStoreOptions } from './memory/memory-store.ts';
export { OverdueWatch } from './overdue-watch.ts';
export { BLOB_BYTES } from './payload-blob.ts';
export { type GivenBack, ReceiptsKeeper } from './receipts-keeper.ts';
export type { ConnectionOptions } from './redis/open-runner.ts';
export type {
  HeldPayloads,
  LayoutCheck,
  Obstacle,
  ObstacleKind,
  Rollout,
  RolloutQuery,
  RolloutStatus,
  RunningProcess,
} from './rollout.ts';
export {
  type AddResult,
  type ClaimQuery,
  MAX_REASON_CHARACTERS,
  MAX_SPANS_PER_ADDITION,
  MAX_SUBSEGMENTS_PER_ADDITION,
  type ParkedContents,
  type ParkedGeneration,
  type ParkedQuery,
  type SealedGeneration,
  type SealReason,
  type SegmentPolicy,
  type SegmentStore,
  type StoredSpan,
  type Subsegment,
  type TraceAddition,
} from './segment-store.ts';
export { shardTimes } from './shard-times.ts';
export {
  type LinkStep,
  MAX_WATCHED_TRACES,
  type TraceObserver,
  type TraceWatch,
  type WatchedTrace,
} from './trace-watch.ts';
