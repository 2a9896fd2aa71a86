export {
  DEFAULT_MAX_SPAN_BYTES,
  type IngestLimits,
  InvalidSpanError,
  ingestSpanSchema,
  parseIngestSpan,
  type SpanOrigin,
  type SpanProblem,
} from './ingest-span.ts';
export { EarlierBatchFailedError } from './partition-order.ts';
export type { SegmentMessage } from './segment-messages.ts';
export { effectiveParent, type Span } from './span.ts';
export {
  type FlushedSegment,
  type FlushRequest,
  InvalidArgumentError,
  InvalidBufferOptionsError,
  type ProcessResult,
  type RejectedSpan,
  SpanBuffer,
  type SpanBufferOptions,
  type SpanLoss,
  type UnreadableSegment,
} from './span-buffer.ts';
export { MAX_SPAN_DEPTH, UnreadableSpanError } from './span-json.ts';
