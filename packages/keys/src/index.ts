export { InvalidIdError, MalformedKeyError, SpanbufError } from './errors.ts';
export { HASH_SLOTS, hashSlot } from './hash-slot.ts';
export { checkId, checkShard, type IdKind, isId, MAX_SHARD } from './ids.ts';
export {
  formatMemberKeysKey,
  formatPayloadKey,
  formatQueueKey,
  formatSegmentKey,
  formatShardsKey,
  formatTraceKey,
  type PayloadRef,
  parseMemberKeysKey,
  parsePayloadKey,
  parseQueueKey,
  parseSegmentKey,
  parseTraceKey,
  type QueuePart,
  type QueueRef,
  type SpanRef,
  type TraceRef,
} from './keys.ts';
