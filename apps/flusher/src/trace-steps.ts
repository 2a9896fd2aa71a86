/** What a flusher logs of watched traces. Called only while there are any. */
import type { FlushedSegment, SpanLoss, UnreadableSegment } from '@spanbuf/buffer';
import type { SendOutcome } from '@spanbuf/kafka';
import type { StepFacts, TraceLog } from '@spanbuf/service';

type Segment = FlushedSegment | UnreadableSegment;

/** Sealed, unless it was before, and leased to this flusher. */
export function noteClaimed(
  log: TraceLog,
  segments: readonly Segment[],
  losses: readonly SpanLoss[],
  now: number,
): void {
  for (const segment of segments) {
    if (!log.isWatched(segment)) continue;
    const { shard, spanCount, payloadBytes, rootSeen, firstSeconds, lastSeconds, reason } = segment.sealed;
    const facts = { shard, spanCount, payloadBytes, rootSeen, firstSeconds, lastSeconds, messageTimeSeconds: now };
    const missing = 'missingParentCount' in segment ? { missingParents: segment.missingParentCount } : {};
    log.note(segment, { step: 'claimed', ...nameOf(segment), sealReason: reason, ...facts, ...missing });
  }
  for (const { projectId, traceId, ...loss } of losses)
    log.note({ projectId, traceId }, { step: 'incomplete', ...loss });
}

/** One line a message: where it is in the output, or why it is not. */
export function noteSent(
  log: TraceLog,
  segment: FlushedSegment,
  headers: Readonly<Record<string, unknown>> | undefined,
  outcome: SendOutcome,
): void {
  const message = {
    ...nameOf(segment),
    flushId: headers?.['spanbuf-flush-id'],
    part: Number(headers?.['spanbuf-part']),
    parts: Number(headers?.['spanbuf-parts']),
  };
  if (outcome.status === 'acked') {
    const { partition, offset } = outcome;
    const place = offset === undefined ? { partition } : { partition, offset: String(offset) };
    log.note(segment, { step: 'produced', ...message, ...place });
  } else log.note(segment, { step: `not-produced`, ...message, outcome: outcome.status, error: outcome.error.message });
}

/** The same step of several segments. */
export function noteEach(log: TraceLog, step: string, segments: Iterable<Segment>, facts: StepFacts = {}): void {
  for (const segment of segments) log.note(segment, { step, ...nameOf(segment), ...facts });
}

function nameOf({ segmentId, generation }: Segment) {
  return { segmentId, generation };
}
