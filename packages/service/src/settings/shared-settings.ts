/** Settings that more than one app has. Defaults and ranges of the buffer and the store are those of their options. */
import { MAX_SHARD } from '@spanbuf/keys';
import {
  address,
  bytes,
  filePath,
  flag,
  integer,
  listOf,
  oneOf,
  positiveSeconds,
  redisUrl,
  seconds,
  secretText,
  text,
  topicName,
} from './schemas.ts';
import { type SettingsOf, setting } from './setting.ts';

const DAY_SECONDS = 86_400;
const MONTH_SECONDS = 30 * DAY_SECONDS;
const YEAR_SECONDS = 365 * DAY_SECONDS;
const MAX_PORT = 65_535;
const HOUR_SECONDS = 3_600;

export const redisSettings = {
  redisUrl: setting(
    'SPANBUF_REDIS_URL',
    redisUrl(),
    'Where Redis is. User and password may be in it, percent-encoded.',
    {
      secret: 'password-in-url',
    },
  ),
  redisUsername: setting('SPANBUF_REDIS_USERNAME', text().optional(), 'ACL user, when it is not in the URL.'),
  redisPassword: setting('SPANBUF_REDIS_PASSWORD', secretText().optional(), 'Password, when it is not in the URL.', {
    secret: 'whole',
  }),
  redisPasswordFile: setting('SPANBUF_REDIS_PASSWORD_FILE', filePath().optional(), 'File that holds the password.'),
  redisTlsCaFile: setting(
    'SPANBUF_REDIS_TLS_CA_FILE',
    filePath().optional(),
    'PEM file of the authorities that may sign the certificate of Redis; by default those that Node trusts.',
  ),
} as const;

export const kafkaSettings = {
  kafkaBrokers: setting('SPANBUF_KAFKA_BROKERS', listOf(address()), 'Brokers to begin with.'),
  kafkaTls: setting('SPANBUF_KAFKA_TLS', flag().default(false), 'Whether to speak TLS with the brokers.'),
  kafkaTlsCaFile: setting(
    'SPANBUF_KAFKA_TLS_CA_FILE',
    filePath().optional(),
    'PEM file of the authorities that may sign the certificates of brokers; by default those that Node trusts.',
  ),
  kafkaTlsCertFile: setting('SPANBUF_KAFKA_TLS_CERT_FILE', filePath().optional(), 'PEM file of our own certificate.'),
  kafkaTlsKeyFile: setting('SPANBUF_KAFKA_TLS_KEY_FILE', filePath().optional(), 'PEM file of its private key.'),
  kafkaSaslMechanism: setting(
    'SPANBUF_KAFKA_SASL_MECHANISM',
    oneOf(['plain', 'scram-sha-256', 'scram-sha-512']).optional(),
    'How to log in to the brokers; by default not at all.',
  ),
  kafkaSaslUsername: setting('SPANBUF_KAFKA_SASL_USERNAME', text().optional(), 'User to log in as.'),
  kafkaSaslPassword: setting('SPANBUF_KAFKA_SASL_PASSWORD', secretText().optional(), 'Password to log in with.', {
    secret: 'whole',
  }),
  kafkaSaslPasswordFile: setting(
    'SPANBUF_KAFKA_SASL_PASSWORD_FILE',
    filePath().optional(),
    'File that holds the password to log in with.',
  ),
  kafkaMetadataSeconds: setting(
    'SPANBUF_KAFKA_METADATA_SECONDS',
    positiveSeconds(HOUR_SECONDS).default(10),
    'How soon added partitions are found, to read from and to write to.',
  ),
} as const;

export const serviceSettings = {
  httpHost: setting('SPANBUF_HTTP_HOST', text().default('0.0.0.0'), 'Address that health and metrics are served on.'),
  httpPort: setting('SPANBUF_HTTP_PORT', integer(0, MAX_PORT).default(9464), 'Port of health and metrics; 0 is any.'),
  logLevel: setting(
    'SPANBUF_LOG_LEVEL',
    oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
    'Log lines below this level are left out.',
  ),
  openTelemetry: setting(
    'SPANBUF_OPENTELEMETRY',
    flag().default(false),
    'Whether to export spans and metrics of the service itself, as the OTEL_… variables say: see docs/tracing.md.',
  ),
  startSeconds: setting(
    'SPANBUF_START_SECONDS',
    positiveSeconds(HOUR_SECONDS).default(10),
    'How long Redis and Kafka may each take to answer at the start.',
  ),
  shutdownSeconds: setting(
    'SPANBUF_SHUTDOWN_SECONDS',
    positiveSeconds(HOUR_SECONDS).default(25),
    'How long the work in hand may take to end after SIGTERM.',
  ),
} as const;

export const storeSettings = {
  layout: setting(
    'SPANBUF_LAYOUT',
    oneOf(['colocated', 'dual-read-colocated', 'dual-read-distributed', 'distributed']).default('distributed'),
    'Where payloads lie in Redis.',
  ),
  sliceId: setting(
    'SPANBUF_SLICE_ID',
    integer(0, MAX_SHARD).optional(),
    'Number of this deployment; those with different numbers may share a Redis.',
  ),
  redisTtlSeconds: setting(
    'SPANBUF_REDIS_TTL_SECONDS',
    positiveSeconds(YEAR_SECONDS).default(DAY_SECONDS),
    'How long a key lives that nobody touches: a net against leaks.',
  ),
  dedupeWindowSeconds: setting(
    'SPANBUF_DEDUPE_WINDOW_SECONDS',
    seconds(0, MONTH_SECONDS).default(120),
    'How long a flushed trace stays known, so that late spans and replays are recognised.',
  ),
  leaseSeconds: setting(
    'SPANBUF_LEASE_SECONDS',
    positiveSeconds(DAY_SECONDS).default(60),
    'How long a flusher has a segment before another may take it.',
  ),
  compression: setting(
    'SPANBUF_REDIS_COMPRESSION',
    oneOf(['none', 'zstd']).default('none'),
    'How payloads are stored in Redis.',
  ),
  clockGraceSeconds: setting(
    'SPANBUF_CLOCK_GRACE_SECONDS',
    positiveSeconds(HOUR_SECONDS).default(30),
    'How long flushers wait for partitions that are behind or have no consumer. The same for consumers and flushers.',
  ),
} as const;

export const bufferSettings = {
  rootTimeoutSeconds: setting(
    'SPANBUF_ROOT_TIMEOUT_SECONDS',
    positiveSeconds(MONTH_SECONDS).default(10),
    'Quiet time after which a segment whose root was seen is due, in message time.',
  ),
  timeoutSeconds: setting(
    'SPANBUF_TIMEOUT_SECONDS',
    positiveSeconds(MONTH_SECONDS).default(60),
    'Quiet time after which a segment whose root was not seen is due, in message time.',
  ),
  maxAgeSeconds: setting(
    'SPANBUF_MAX_AGE_SECONDS',
    positiveSeconds(MONTH_SECONDS).default(600),
    'Longest time until a segment is due, in message time.',
  ),
  maxSegmentBytes: setting(
    'SPANBUF_MAX_SEGMENT_BYTES',
    bytes().default(10 * 2 ** 20),
    'A segment that reaches this goes out early, the rest follows.',
  ),
} as const;

/** What more than one program has to know of what goes in and out. */
export const flowSettings = {
  inputTopic: setting('SPANBUF_INPUT_TOPIC', topicName().default('ingest-spans'), 'Topic to read spans from.'),
  deadLetterTopic: setting(
    'SPANBUF_DLQ_TOPIC',
    topicName().default('ingest-spans-dlq'),
    'Topic for messages that are not spans: their bytes, key and headers, and why.',
  ),
  commit: setting(
    'SPANBUF_COMMIT',
    oneOf(['buffered', 'flushed']).default('buffered'),
    'When an offset may be committed: once its span is stored in Redis, or once its segment is produced, so that Redis may lose everything.',
  ),
  waitReplicas: setting(
    'SPANBUF_WAIT_REPLICAS',
    integer(0, 100).default(0),
    'Replicas of each Redis master that must have a batch before its offsets may be committed. Asked of every master.',
  ),
  maxSpanBytes: setting('SPANBUF_MAX_SPAN_BYTES', bytes().default(10 * 2 ** 20), 'A longer message is not a span.'),
  outputTopic: setting(
    'SPANBUF_OUTPUT_TOPIC',
    topicName().default('buffered-segments'),
    'Topic to produce segments to.',
  ),
  maxMessageBytes: setting(
    'SPANBUF_MAX_MESSAGE_BYTES',
    bytes().optional(),
    'A longer segment is cut into several messages. By default what the topic takes, at most 10 MiB. The same for all flushers.',
  ),
} as const;

export type RedisSettings = SettingsOf<typeof redisSettings>;
export type KafkaSettings = SettingsOf<typeof kafkaSettings>;
export type ServiceSettings = SettingsOf<typeof serviceSettings>;
export type StoreSettings = SettingsOf<typeof storeSettings>;
export type BufferSettings = SettingsOf<typeof bufferSettings>;
