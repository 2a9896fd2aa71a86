import type { FlushedSegment } from '@spanbuf/buffer';
import type { OutgoingMessage } from '@spanbuf/kafka';

/**
 * The Kafka messages of a segment, in order of their parts. The key is the trace id, so that a trace stays in one
 * partition; what is known of the segment beside its spans is in the headers (docs/output.md).
 * @throws {@link UnreadableSpanError} when a payload in the store is not a JSON object.
 */
export function segmentOutput(segment: FlushedSegment): OutgoingMessage[] {
  const messages = segment.messages();
  return messages.map(({ flushId, value, spanCount }, part) => ({
    key: segment.traceId,
    value,
    headers: {
      'spanbuf-flush-id': flushId,
      'spanbuf-project-id': segment.projectId,
      'spanbuf-trace-id': segment.traceId,
      'spanbuf-segment-id': segment.segmentId,
      'spanbuf-generation': String(segment.generation),
      'spanbuf-part': String(part + 1),
      'spanbuf-parts': String(messages.length),
      'spanbuf-reason': segment.reason,
      'spanbuf-root-seen': String(segment.rootSeen),
      'spanbuf-missing-parents': String(segment.missingParentCount),
      'spanbuf-span-count': String(spanCount),
      'spanbuf-lost-spans': String(segment.lostSpanCount),
      'spanbuf-first-seconds': String(segment.firstSeconds),
      'spanbuf-last-seconds': String(segment.lastSeconds),
    },
  }));
}
