export { InvalidIdError, MalformedKeyError, SpanbufError } from './errors.ts';
export { HASH_SLOTS, hashSlot } from './hash-slot.ts';
export { checkId, checkShard, type IdKind, isId, MAX_SHARD } from './ids.ts';
export {
  formatEpochKey,
  formatLedgerKey,
  formatReceiptsKey,
  formatSentinelKey,
  parseLedgerKey,
  parseReceiptsKey,
  parseSentinelKey,
  RECEIPTS_CHUNK,
  type ReceiptsRef,
} from './ledger-keys.ts';
export {
  formatClocksKey,
  formatFlushersKey,
  formatProcessesKey,
  formatQueueKey,
  formatShardsKey,
  formatWatchedKey,
  parseQueueKey,
  QUEUE_LANES,
  type QueuePart,
  type QueueRef,
  type UnlanedPart,
} from './queue-keys.ts';
export {
  formatMemberKeysKey,
  formatPayloadKey,
  formatSegmentKey,
  formatTraceKey,
  type PayloadRef,
  parseMemberKeysKey,
  parsePayloadKey,
  parseSegmentKey,
  parseTraceKey,
  type SpanRef,
  type TraceRef,
} from './trace-keys.ts';
