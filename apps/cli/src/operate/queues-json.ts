import type { QueueFigures, QueueReport } from '@spanbuf/store';

/** One line of `spanbuf queues --json`. */
export function queuesJson({ redisSeconds, liveFlushers, shards }: QueueReport): Buffer {
  return Buffer.from(
    JSON.stringify({ redis_seconds: redisSeconds, live_flushers: liveFlushers, shards: shards.map(queueJson) }),
  );
}

/** The queue of one shard. */
export function queueJson(figures: QueueFigures) {
  const { clock } = figures;
  return {
    shard: figures.shard,
    queued_count: figures.queuedCount,
    due_count: figures.dueCount,
    oldest_due_seconds: figures.oldestDueSeconds,
    overdue_seconds: figures.overdueSeconds,
    in_flight_count: figures.inFlightCount,
    ended_lease_count: figures.endedLeaseCount,
    next_lease_end_seconds: figures.nextLeaseEndSeconds,
    parked_count: figures.parkedCount,
    tried_count: figures.triedCount,
    message_seconds: figures.messageSeconds,
    clock: clock && {
      message_seconds: clock.messageSeconds,
      behind_seconds: clock.behindSeconds,
      marked_seconds: clock.markedSeconds,
    },
    lanes: figures.lanes.map(({ lane, queuedCount, dueCount, oldestDueSeconds }) => ({
      lane,
      queued_count: queuedCount,
      due_count: dueCount,
      oldest_due_seconds: oldestDueSeconds,
    })),
  };
}
