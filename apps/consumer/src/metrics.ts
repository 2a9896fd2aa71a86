import { PRESSURE_CAUSES } from './back-pressure.ts';

export const consumerMetrics = {
  messages: {
    name: 'spanbuf_consumer_messages_total',
    type: 'counter',
    help: 'Messages read from the input topic and applied; replays count each time.',
  },
  spans: {
    name: 'spanbuf_consumer_spans_total',
    type: 'counter',
    help: 'What became of them: accepted, replayed (taken before), invalid (dead-lettered), dropped (by a rule).',
    labels: ['outcome'],
    values: ['accepted', 'replayed', 'invalid', 'dropped'],
  },
  droppedSpans: {
    name: 'spanbuf_consumer_dropped_spans_total',
    type: 'counter',
    help: 'Spans dropped, by the name of the drop rule.',
    labels: ['rule'],
  },
  payloadBytes: {
    name: 'spanbuf_consumer_payload_bytes_total',
    type: 'counter',
    help: 'Bytes of the spans given to the buffer, as received.',
  },
  deadLetters: {
    name: 'spanbuf_consumer_dead_letters_total',
    type: 'counter',
    help: 'Messages in the dead-letter topic: whole, or without their value where the broker refused it.',
    labels: ['form'],
    values: ['whole', 'without-value'],
  },
  batchSpans: {
    name: 'spanbuf_consumer_batch_spans',
    type: 'histogram',
    help: 'Messages applied at once.',
    buckets: [1, 10, 50, 100, 250, 500, 1_000, 2_000, 5_000],
  },
  batchSeconds: {
    name: 'spanbuf_consumer_batch_seconds',
    type: 'histogram',
    help: 'Time from the first attempt to apply a batch until it is stored, seconds.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60],
  },
  retries: {
    name: 'spanbuf_consumer_retries_total',
    type: 'counter',
    help: 'Attempts that failed and were repeated: store (Redis), dead-letter (Kafka), commit (Kafka).',
    labels: ['step'],
    values: ['store', 'dead-letter', 'commit'],
  },
  commits: {
    name: 'spanbuf_consumer_commits_total',
    type: 'counter',
    help: 'Commits of offsets that the broker took.',
  },
  rebalances: {
    name: 'spanbuf_consumer_rebalances_total',
    type: 'counter',
    help: 'Times that this consumer was given partitions.',
  },
  assignedPartitions: {
    name: 'spanbuf_consumer_assigned_partitions',
    type: 'gauge',
    help: 'Partitions that this consumer reads.',
  },
  lagMessages: {
    name: 'spanbuf_consumer_lag_messages',
    type: 'gauge',
    help: 'Offsets of a partition that are not applied yet.',
    labels: ['partition'],
  },
  lagSeconds: {
    name: 'spanbuf_consumer_lag_seconds',
    type: 'gauge',
    help: 'How far the message time of a partition is behind the wall clock; 0 when nothing is left to read.',
    labels: ['partition'],
  },
  commitLagMessages: {
    name: 'spanbuf_consumer_commit_lag_messages',
    type: 'gauge',
    help: 'Offsets of a partition that are applied and not committed.',
    labels: ['partition'],
  },
  commitLagSeconds: {
    name: 'spanbuf_consumer_commit_lag_seconds',
    type: 'gauge',
    help: 'Message time between what is committed of a partition and what is applied. With SPANBUF_COMMIT=flushed the age of the oldest span in the buffer.',
    labels: ['partition'],
  },
  redisLosses: {
    name: 'spanbuf_consumer_redis_losses_total',
    type: 'counter',
    help: 'Times that Redis was seen to have lost data, and the input was read again (SPANBUF_COMMIT=flushed).',
  },
  lostReceipts: {
    name: 'spanbuf_consumer_lost_receipts_total',
    type: 'counter',
    help: 'Times that Redis was seen to have lost receipts of offsets: it has lost data. What is remembered is given again.',
  },
  queuedBytes: {
    name: 'spanbuf_consumer_queued_bytes',
    type: 'gauge',
    help: 'Bytes of messages that are fetched and not applied yet.',
  },
  paused: {
    name: 'spanbuf_consumer_paused',
    type: 'gauge',
    help: '1 while reading is paused for this cause: redis-memory, overdue-segments, no-flusher.',
    labels: ['cause'],
    values: PRESSURE_CAUSES,
  },
  redisMemoryShare: {
    name: 'spanbuf_consumer_redis_memory_share',
    type: 'gauge',
    help: 'used_memory / maxmemory of the fullest Redis node, 0 to 1; 0 where no node has a limit.',
  },
  liveFlushers: {
    name: 'spanbuf_consumer_live_flushers',
    type: 'gauge',
    help: 'Flushers that have been heard of within the last seconds.',
  },
  dropRules: {
    name: 'spanbuf_consumer_drop_rules',
    type: 'gauge',
    help: 'Drop rules in force.',
  },
} as const;
