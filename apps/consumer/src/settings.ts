import {
  bufferSettings,
  bytes,
  filePath,
  flowSettings,
  integer,
  kafkaSettings,
  positiveSeconds,
  redisSettings,
  type SettingsOf,
  serviceSettings,
  setting,
  share,
  sharedRules,
  storeSettings,
  text,
} from '@spanbuf/service';

const MIB = 1024 * 1024;

export const consumerSettings = {
  ...redisSettings,
  ...kafkaSettings,
  inputTopic: flowSettings.inputTopic,
  deadLetterTopic: flowSettings.deadLetterTopic,
  consumerGroup: setting('SPANBUF_CONSUMER_GROUP', text().default('spanbuf-consumer'), 'Kafka consumer group.'),
  ...storeSettings,
  ...bufferSettings,
  commit: flowSettings.commit,
  waitReplicas: flowSettings.waitReplicas,
  waitSeconds: setting(
    'SPANBUF_WAIT_SECONDS',
    positiveSeconds(60).default(1),
    'How long to wait for the replicas until the batch is tried again.',
  ),
  batchSpans: setting('SPANBUF_BATCH_SPANS', integer(1, 100_000).default(2_000), 'Most messages applied at once.'),
  batchBytes: setting('SPANBUF_BATCH_BYTES', bytes().default(4 * MIB), 'Bytes of messages at which a batch is full.'),
  batchMs: setting(
    'SPANBUF_BATCH_MS',
    integer(0, 60_000).default(50),
    'How long the first message of a batch waits for others, milliseconds.',
  ),
  queueBytes: setting(
    'SPANBUF_QUEUE_BYTES',
    bytes().default(32 * MIB),
    'Bytes of messages in memory, over all partitions, above which nothing more is fetched.',
  ),
  commitSeconds: setting(
    'SPANBUF_COMMIT_SECONDS',
    positiveSeconds(60).default(1),
    'Time between two commits of offsets.',
  ),
  sessionTimeoutSeconds: setting(
    'SPANBUF_SESSION_TIMEOUT_SECONDS',
    positiveSeconds(1_800).default(20),
    'Time without a heartbeat after which Kafka gives the partitions of a consumer to others.',
  ),
  maxSpanBytes: flowSettings.maxSpanBytes,
  maxInvalidShare: setting(
    'SPANBUF_MAX_INVALID_SHARE',
    share().default(0.5),
    'Share of invalid messages among the last 10,000 above which the app stops instead of dead-lettering everything.',
  ),
  dropRulesFile: setting(
    'SPANBUF_DROP_RULES_FILE',
    filePath().optional(),
    'JSON file of spans to drop, read again every 5 s: {"rules": [{"name": "noisy", "project": 7}]}; a rule may name organization, project, trace, partition.',
  ),
  pauseMemoryShare: setting(
    'SPANBUF_PAUSE_MEMORY_SHARE',
    share().default(0.85),
    'Share of maxmemory on any Redis node at which reading pauses.',
  ),
  resumeMemoryShare: setting(
    'SPANBUF_RESUME_MEMORY_SHARE',
    share().default(0.75),
    'Share of maxmemory below which reading goes on.',
  ),
  pauseOverdueSeconds: setting(
    'SPANBUF_PAUSE_OVERDUE_SECONDS',
    positiveSeconds(86_400).default(120),
    'How long a segment may be due until reading pauses.',
  ),
  resumeOverdueSeconds: setting(
    'SPANBUF_RESUME_OVERDUE_SECONDS',
    positiveSeconds(86_400).default(60),
    'How long the oldest segment may be due when reading goes on.',
  ),
  pauseWithoutFlusherSeconds: setting(
    'SPANBUF_PAUSE_WITHOUT_FLUSHER_SECONDS',
    positiveSeconds(86_400).default(60),
    'Time without any flusher after which reading pauses.',
  ),
  readyMaxLagSeconds: setting(
    'SPANBUF_READY_MAX_LAG_SECONDS',
    positiveSeconds(30 * 86_400).default(300),
    'How far behind a partition may be for /readyz to say ready.',
  ),
  ...serviceSettings,
};

export type ConsumerSettings = SettingsOf<typeof consumerSettings>;

/** What single settings cannot say: which of them contradict each other. */
export function consumerRules(settings: ConsumerSettings): readonly string[] {
  const problems = [...sharedRules(settings)];
  const { inputTopic, deadLetterTopic, batchBytes, queueBytes, sessionTimeoutSeconds, clockGraceSeconds } = settings;
  if (inputTopic === deadLetterTopic) {
    problems.push('SPANBUF_DLQ_TOPIC must not be SPANBUF_INPUT_TOPIC: dead letters would be read again for ever');
  }
  if (settings.resumeMemoryShare > settings.pauseMemoryShare) {
    problems.push('SPANBUF_RESUME_MEMORY_SHARE must be at most SPANBUF_PAUSE_MEMORY_SHARE');
  }
  if (settings.resumeOverdueSeconds > settings.pauseOverdueSeconds) {
    problems.push('SPANBUF_RESUME_OVERDUE_SECONDS must be at most SPANBUF_PAUSE_OVERDUE_SECONDS');
  }
  if (queueBytes < batchBytes) problems.push('SPANBUF_QUEUE_BYTES must be at least SPANBUF_BATCH_BYTES');
  if (clockGraceSeconds < sessionTimeoutSeconds) {
    problems.push(
      'SPANBUF_CLOCK_GRACE_SECONDS must be at least SPANBUF_SESSION_TIMEOUT_SECONDS: otherwise the segments of a consumer that dies are flushed before another takes over',
    );
  }
  return problems;
}

/** What the flusher has beside these: both may run with one environment. */
export const FLUSHER_SETTINGS = [
  'SPANBUF_OUTPUT_TOPIC',
  'SPANBUF_OUTPUT_COMPRESSION',
  'SPANBUF_MAX_MESSAGE_BYTES',
  'SPANBUF_FLUSH_SEGMENTS',
  'SPANBUF_FLUSH_BYTES',
  'SPANBUF_POLL_SECONDS',
  'SPANBUF_READY_MAX_OVERDUE_SECONDS',
] as const;
