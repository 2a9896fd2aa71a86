import {
  bytes,
  flowSettings,
  integer,
  kafkaSettings,
  oneOf,
  positiveSeconds,
  redisSettings,
  type SettingsOf,
  serviceSettings,
  setting,
  sharedRules,
  storeSettings,
} from '@spanbuf/service';

const MIB = 1024 * 1024;

export const flusherSettings = {
  ...redisSettings,
  ...kafkaSettings,
  outputTopic: flowSettings.outputTopic,
  outputCompression: setting(
    'SPANBUF_OUTPUT_COMPRESSION',
    oneOf(['none', 'gzip', 'snappy', 'lz4', 'zstd']).default('zstd'),
    'How messages are compressed. Whoever reads the topic must know it.',
  ),
  maxMessageBytes: flowSettings.maxMessageBytes,
  ...storeSettings,
  flushSegments: setting(
    'SPANBUF_FLUSH_SEGMENTS',
    integer(1, 100_000).default(1_000),
    'Most segments in hand at once, over all shards.',
  ),
  flushBytes: setting(
    'SPANBUF_FLUSH_BYTES',
    bytes().default(32 * MIB),
    'Payload bytes of the segments in hand at once, over all shards, unless a single segment has more.',
  ),
  pollSeconds: setting(
    'SPANBUF_POLL_SECONDS',
    positiveSeconds(60).default(0.5),
    'Pause after a turn over all shards that found nothing more to do.',
  ),
  readyMaxOverdueSeconds: setting(
    'SPANBUF_READY_MAX_OVERDUE_SECONDS',
    positiveSeconds(30 * 86_400).default(300),
    'How long the oldest segment may be due for /readyz to say ready.',
  ),
  ...serviceSettings,
};

export type FlusherSettings = SettingsOf<typeof flusherSettings>;

/** A send that takes longer than 0.4 of it counts as failed. */
const LEAST_LEASE_SECONDS = 5;

/** What single settings cannot say: which of them contradict each other. */
export function flusherRules(settings: FlusherSettings): readonly string[] {
  const problems = [...sharedRules(settings)];
  if (settings.leaseSeconds < LEAST_LEASE_SECONDS) {
    problems.push(
      `SPANBUF_LEASE_SECONDS must be at least ${LEAST_LEASE_SECONDS}: a segment has to be produced within it, got ${settings.leaseSeconds}`,
    );
  }
  return problems;
}

/** What the consumer has beside these: both may run with one environment. */
export const CONSUMER_SETTINGS = [
  'SPANBUF_INPUT_TOPIC',
  'SPANBUF_DLQ_TOPIC',
  'SPANBUF_CONSUMER_GROUP',
  'SPANBUF_COMMIT',
  'SPANBUF_WAIT_REPLICAS',
  'SPANBUF_WAIT_SECONDS',
  'SPANBUF_BATCH_SPANS',
  'SPANBUF_BATCH_BYTES',
  'SPANBUF_BATCH_MS',
  'SPANBUF_QUEUE_BYTES',
  'SPANBUF_COMMIT_SECONDS',
  'SPANBUF_SESSION_TIMEOUT_SECONDS',
  'SPANBUF_MAX_SPAN_BYTES',
  'SPANBUF_MAX_INVALID_SHARE',
  'SPANBUF_DROP_RULES_FILE',
  'SPANBUF_PAUSE_MEMORY_SHARE',
  'SPANBUF_RESUME_MEMORY_SHARE',
  'SPANBUF_PAUSE_OVERDUE_SECONDS',
  'SPANBUF_RESUME_OVERDUE_SECONDS',
  'SPANBUF_PAUSE_WITHOUT_FLUSHER_SECONDS',
  'SPANBUF_READY_MAX_LAG_SECONDS',
  'SPANBUF_ROOT_TIMEOUT_SECONDS',
  'SPANBUF_TIMEOUT_SECONDS',
  'SPANBUF_MAX_AGE_SECONDS',
  'SPANBUF_MAX_SEGMENT_BYTES',
] as const;
