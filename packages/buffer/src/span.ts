/** One span as the buffer takes it: what places it in its segment, and the bytes that came in. Ids are lower case. */
export interface Span {
  /** Decimal digits in practice; any id that `@spanbuf/keys` accepts as a project id. */
  readonly projectId: string;
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** 16 hex digits; null when the span names no parent. May be its own id. */
  readonly parentSpanId: string | null;
  /** The segment that the sender has already put the span in, 16 hex digits; null when it is not known. */
  readonly segmentId: string | null;
  /** Whether the span is the root of its segment. */
  readonly isSegmentSpan: boolean;
  /** Decimal digits, as received; for whoever decides what to take in. Not stored. Absent when it is not known exactly. */
  readonly organizationId?: string;
  /** The span's JSON object, UTF-8, kept as received. Not copied: whoever passes it in may not change it afterwards. */
  readonly payload: Uint8Array;
  /** Kafka partition it came from, an integer from 0. Also the shard of its segment. */
  readonly partition: number;
  /** Kafka offset it came from. A span without one is never treated as a replay. */
  readonly offset?: bigint;
  /**
   * The log in which `offset` counts. A topic that was deleted and created again starts over at offset 0: it needs
   * another source than before, or its first spans look like replays.
   */
  readonly source?: string;
}

/**
 * The id nearest to the root that the span alone tells of: of a segment span its own; otherwise its segment's, else its
 * parent's, else its own.
 */
export function effectiveParent(span: Pick<Span, 'spanId' | 'parentSpanId' | 'segmentId' | 'isSegmentSpan'>): string {
  if (span.isSegmentSpan) return span.spanId;
  return span.segmentId ?? span.parentSpanId ?? span.spanId;
}
