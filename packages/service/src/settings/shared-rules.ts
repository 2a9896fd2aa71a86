import { parseRedisUrl } from '../redis/redis-url.ts';
import type { BufferSettings, KafkaSettings, RedisSettings } from './shared-settings.ts';

/** An app may have some of the shared settings and not others. */
export type SharedSettings = Partial<RedisSettings & KafkaSettings & BufferSettings>;

/** Contradictions between shared settings, a line each, beginning with the setting to change. */
export function sharedRules(settings: SharedSettings): string[] {
  return [...bufferRules(settings), ...redisRules(settings), ...kafkaTlsRules(settings), ...kafkaSaslRules(settings)];
}

/** @returns `message` when it holds that something is wrong. */
function when(isWrong: boolean, message: string): string[] {
  return isWrong ? [message] : [];
}

function bufferRules({ rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds }: SharedSettings): string[] {
  if (maxAgeSeconds === undefined) return [];
  const limit = `SPANBUF_MAX_AGE_SECONDS (${maxAgeSeconds})`;
  const above = (name: string, value = 0) =>
    when(value > maxAgeSeconds, `${name} must not be above ${limit}, got ${value}`);
  return [
    ...above('SPANBUF_ROOT_TIMEOUT_SECONDS', rootTimeoutSeconds),
    ...above('SPANBUF_TIMEOUT_SECONDS', timeoutSeconds),
  ];
}

function redisRules({
  redisUrl,
  redisUsername,
  redisPassword,
  redisPasswordFile,
  redisTlsCaFile,
}: SharedSettings): string[] {
  if (redisUrl === undefined) return [];
  const { username, password, tls } = parseRedisUrl(redisUrl);
  const hasPassword = [password, redisPassword, redisPasswordFile].some((given) => given !== undefined);
  return [
    ...when(
      redisUsername !== undefined && username !== undefined,
      'SPANBUF_REDIS_USERNAME must not be set while SPANBUF_REDIS_URL has a user in it',
    ),
    ...when(
      redisPassword !== undefined && password !== undefined,
      'SPANBUF_REDIS_PASSWORD must not be set while SPANBUF_REDIS_URL has a password in it',
    ),
    ...when(
      redisPasswordFile !== undefined && password !== undefined,
      'SPANBUF_REDIS_PASSWORD_FILE must not be set while SPANBUF_REDIS_URL has a password in it',
    ),
    ...when(
      redisPasswordFile !== undefined && redisPassword !== undefined,
      'SPANBUF_REDIS_PASSWORD_FILE must not be set together with SPANBUF_REDIS_PASSWORD',
    ),
    ...when(redisUsername !== undefined && !hasPassword, 'SPANBUF_REDIS_USERNAME needs SPANBUF_REDIS_PASSWORD'),
    ...when(
      redisTlsCaFile !== undefined && !tls,
      'SPANBUF_REDIS_TLS_CA_FILE needs rediss:// or rediss-cluster:// in SPANBUF_REDIS_URL',
    ),
  ];
}

function kafkaTlsRules({ kafkaTls, kafkaTlsCaFile, kafkaTlsCertFile, kafkaTlsKeyFile }: SharedSettings): string[] {
  const files = {
    SPANBUF_KAFKA_TLS_CA_FILE: kafkaTlsCaFile,
    SPANBUF_KAFKA_TLS_CERT_FILE: kafkaTlsCertFile,
    SPANBUF_KAFKA_TLS_KEY_FILE: kafkaTlsKeyFile,
  };
  const given = Object.entries(files).filter(([, file]) => file !== undefined);
  return [
    ...given.flatMap(([name]) => when(kafkaTls === false, `${name} needs SPANBUF_KAFKA_TLS=true`)),
    ...when(
      kafkaTlsCertFile !== undefined && kafkaTlsKeyFile === undefined,
      'SPANBUF_KAFKA_TLS_CERT_FILE needs SPANBUF_KAFKA_TLS_KEY_FILE',
    ),
    ...when(
      kafkaTlsKeyFile !== undefined && kafkaTlsCertFile === undefined,
      'SPANBUF_KAFKA_TLS_KEY_FILE needs SPANBUF_KAFKA_TLS_CERT_FILE',
    ),
  ];
}

function kafkaSaslRules(settings: SharedSettings): string[] {
  const { kafkaSaslMechanism, kafkaSaslUsername, kafkaSaslPassword, kafkaSaslPasswordFile } = settings;
  const both = when(
    kafkaSaslPassword !== undefined && kafkaSaslPasswordFile !== undefined,
    'SPANBUF_KAFKA_SASL_PASSWORD_FILE must not be set together with SPANBUF_KAFKA_SASL_PASSWORD',
  );
  if (kafkaSaslMechanism === undefined) {
    const idle = {
      SPANBUF_KAFKA_SASL_USERNAME: kafkaSaslUsername,
      SPANBUF_KAFKA_SASL_PASSWORD: kafkaSaslPassword,
      SPANBUF_KAFKA_SASL_PASSWORD_FILE: kafkaSaslPasswordFile,
    };
    const given = Object.entries(idle).filter(([, value]) => value !== undefined);
    return [...both, ...given.map(([name]) => `${name} needs SPANBUF_KAFKA_SASL_MECHANISM`)];
  }
  const hasPassword = kafkaSaslPassword !== undefined || kafkaSaslPasswordFile !== undefined;
  return [
    ...both,
    ...when(kafkaSaslUsername === undefined, 'SPANBUF_KAFKA_SASL_MECHANISM needs SPANBUF_KAFKA_SASL_USERNAME'),
    ...when(!hasPassword, 'SPANBUF_KAFKA_SASL_MECHANISM needs SPANBUF_KAFKA_SASL_PASSWORD'),
  ];
}
