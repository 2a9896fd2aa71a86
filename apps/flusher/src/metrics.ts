export const flusherMetrics = {
  segments: {
    name: 'spanbuf_flusher_segments_total',
    type: 'counter',
    help: 'Segments produced and acknowledged, by why they were flushed: root-idle, idle, max-age, max-bytes, drain.',
    labels: ['reason'],
    values: ['root-idle', 'idle', 'max-age', 'max-bytes', 'drain'],
  },
  spans: {
    name: 'spanbuf_flusher_spans_total',
    type: 'counter',
    help: 'Spans in them.',
  },
  messages: {
    name: 'spanbuf_flusher_messages_total',
    type: 'counter',
    help: 'Messages that the broker has acknowledged, those of segments that had to be sent again included.',
  },
  messageBytes: {
    name: 'spanbuf_flusher_message_bytes_total',
    type: 'counter',
    help: 'Bytes of their values, before compression.',
  },
  sendFailures: {
    name: 'spanbuf_flusher_send_failures_total',
    type: 'counter',
    help: 'Messages that were not acknowledged at an attempt, and were sent again or given back.',
  },
  parkedSegments: {
    name: 'spanbuf_flusher_parked_segments_total',
    type: 'counter',
    help: 'Segments parked after three tries: refused (by the broker, for good), unreadable (a payload in Redis).',
    labels: ['reason'],
    values: ['refused', 'unreadable'],
  },
  releasedSegments: {
    name: 'spanbuf_flusher_released_segments_total',
    type: 'counter',
    help: 'Segments that Kafka did not take in time; they come again when their lease has run out, or at once when the flusher ends.',
  },
  lostSpans: {
    name: 'spanbuf_flusher_lost_spans_total',
    type: 'counter',
    help: 'Spans that were accepted and that Redis no longer had when their segment was flushed. Anything but 0 is a loss.',
  },
  segmentSpans: {
    name: 'spanbuf_flusher_segment_spans',
    type: 'histogram',
    help: 'Spans of a flushed segment.',
    buckets: [1, 2, 5, 10, 25, 50, 100, 500, 1_000, 10_000, 100_000],
  },
  idleSeconds: {
    name: 'spanbuf_flusher_segment_idle_seconds',
    type: 'histogram',
    help: 'Message time between the last span of a segment and its flush, seconds: the time-out plus the delay.',
    buckets: [1, 5, 10, 11, 12, 15, 20, 30, 60, 65, 90, 120, 300, 600],
  },
  sendSeconds: {
    name: 'spanbuf_flusher_send_seconds',
    type: 'histogram',
    help: 'Time until all messages of what was in hand were acknowledged, seconds.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60],
  },
  inHandBytes: {
    name: 'spanbuf_flusher_in_hand_bytes',
    type: 'gauge',
    help: 'Payload bytes of the segments that are being produced.',
  },
  queuedSegments: {
    name: 'spanbuf_flusher_queued_segments',
    type: 'gauge',
    help: 'Entries of a shard: due (now or later), in-flight (leased to a flusher), parked.',
    labels: ['shard', 'state'],
  },
  overdueSeconds: {
    name: 'spanbuf_flusher_overdue_seconds',
    type: 'gauge',
    help: 'How long the oldest entry of a shard has been due, by the wall clock, seconds.',
    labels: ['shard'],
  },
  liveFlushers: {
    name: 'spanbuf_flusher_live_flushers',
    type: 'gauge',
    help: 'Flushers that have been heard of within the last seconds, this one included.',
  },
} as const;
