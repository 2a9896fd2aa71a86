import type { FlushedSegment, SpanBuffer, UnreadableSegment } from '@spanbuf/buffer';
import type { Logger, Metrics, TraceLog } from '@spanbuf/service';
import type { flusherMetrics } from './metrics.ts';
import { noteEach } from './trace-steps.ts';

/**
 * Leases that may end without a message before a segment is parked. What is refused or cannot be read stays so, as a rule;
 * but a broker may be between two configurations, and a payload may be one that only the newer of two versions can read,
 * which may get it next time. Two more leases are enough for that, and cost two requests.
 */
const TRIES = 3;

export interface SetAsideOptions {
  readonly metrics: Metrics<typeof flusherMetrics>;
  readonly log: Logger;
  readonly traceLog: TraceLog;
}

/**
 * Ends the lease of segments that cannot be produced, each with the reason: the third time they are parked, before that they
 * come again when the lease runs out. Neither holds up the others of their shard.
 */
export async function setAside(
  buffer: SpanBuffer,
  segments: ReadonlyMap<FlushedSegment | UnreadableSegment, string>,
  why: 'refused' | 'unreadable',
  { metrics, log, traceLog }: SetAsideOptions,
): Promise<void> {
  if (segments.size === 0) return;
  const failed = [...segments].map(([segment, reason]) => ({ segment, reason }));
  const areParked = await buffer.park(failed, { tries: TRIES });
  for (const [i, { segment, reason }] of failed.entries()) {
    const { projectId, traceId, segmentId, generation, sealed } = segment;
    if (traceLog.isOn) noteEach(traceLog, areParked[i] ? 'parked' : 'set-aside', [segment], { why, reason });
    const facts = { projectId, traceId, segmentId, generation, spanCount: sealed.spanCount, why, reason };
    if (areParked[i]) {
      metrics.parkedSegments.inc({ reason: why });
      log.error(facts, 'segment parked: it cannot be produced');
    } else log.warn(facts, 'segment cannot be produced: it comes again when its lease runs out');
  }
}
