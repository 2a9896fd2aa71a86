export type { Logger } from 'pino';
export {
  createMetrics,
  type LabelsOf,
  type MetricDefinition,
  type MetricDefinitions,
  type MetricOf,
  type Metrics,
} from './metrics/create-metrics.ts';
export { metricsReference } from './metrics/metrics-reference.ts';
export { printable, quote } from './printable.ts';
export {
  type AppContext,
  type AppDefinition,
  type AppSettings,
  defineApp,
  type RunningApp,
} from './process/app-definition.ts';
export { BackgroundLoops } from './process/background-loops.ts';
export { DeadlineError, withinSeconds } from './process/deadline.ts';
export { type ProcessHost, processHost, type StopSignal } from './process/process-host.ts';
export { pause, type RetryOptions, retry } from './process/retry.ts';
export { runApp } from './process/run-app.ts';
export { type ConnectRedisOptions, connectRedis } from './redis/connect-redis.ts';
export { connectRedisNode, type RedisNodeIdentity, readHello } from './redis/connect-redis-node.ts';
export { RedisNotOpenError } from './redis/redis-not-open-error.ts';
export {
  type Address,
  formatRedisLocation,
  InvalidRedisUrlError,
  parseRedisUrl,
  REDIS_URL_FORMS,
  type RedisCredentials,
  type RedisLocation,
} from './redis/redis-url.ts';
export { MESSAGE_OVERHEAD_BYTES, MessageLimitError, messageLimit } from './settings/message-limit.ts';
export { InvalidSettingsError, type ParseRules, parseSettings } from './settings/parse-settings.ts';
export {
  type KafkaConnectionSettings,
  type RedisConnection,
  readKafkaConnection,
  readRedisConnection,
} from './settings/read-connections.ts';
export {
  address,
  bytes,
  filePath,
  flag,
  integer,
  listOf,
  oneOf,
  parseText,
  positiveSeconds,
  redisUrl,
  seconds,
  secretText,
  share,
  type TextSchema,
  text,
  textSchema,
  topicName,
} from './settings/schemas.ts';
export { type Setting, type SettingDefinitions, type SettingsOf, setting } from './settings/setting.ts';
export { formatSettings, settingsReference } from './settings/settings-reference.ts';
export { type SharedSettings, sharedRules } from './settings/shared-rules.ts';
export {
  type BufferSettings,
  bufferSettings,
  flowSettings,
  type KafkaSettings,
  kafkaSettings,
  type RedisSettings,
  redisSettings,
  type ServiceSettings,
  type StoreSettings,
  serviceSettings,
  storeSettings,
} from './settings/shared-settings.ts';
