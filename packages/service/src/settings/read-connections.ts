/** From settings to what connects: the files that settings name are read here. */
import { readFileSync } from 'node:fs';
import { parseRedisUrl, type RedisLocation } from '../redis/redis-url.ts';
import { InvalidSettingsError } from './parse-settings.ts';
import type { KafkaSettings, RedisSettings } from './shared-settings.ts';

/** For `connectRedis`. */
export interface RedisConnection {
  readonly location: RedisLocation;
  /** PEM text. */
  readonly tlsCa: string | undefined;
}

/** How to reach the brokers: the same shape as `KafkaConnection` of @spanbuf/kafka. */
export interface KafkaConnectionSettings {
  /** `host:port` */
  readonly brokers: readonly string[];
  readonly clientId: string;
  /** PEM texts. Absent: not over TLS. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly username: string;
    readonly password: string;
  };
  readonly metadataMaxAgeMs: number;
}

/** @throws {@link InvalidSettingsError} naming every file that cannot be read. */
export function readRedisConnection(settings: RedisSettings): RedisConnection {
  const files = new SettingFiles();
  const location = parseRedisUrl(settings.redisUrl);
  const filePassword = files.password('SPANBUF_REDIS_PASSWORD_FILE', settings.redisPasswordFile);
  const tlsCa = files.pem('SPANBUF_REDIS_TLS_CA_FILE', settings.redisTlsCaFile, CERTIFICATE);
  files.throwIfAny();
  const username = settings.redisUsername ?? location.username;
  const password = settings.redisPassword ?? filePassword ?? location.password;
  return { location: { ...location, username, password }, tlsCa };
}

/** @throws {@link InvalidSettingsError} naming every file that cannot be read. */
export function readKafkaConnection(settings: KafkaSettings, clientId: string): KafkaConnectionSettings {
  const files = new SettingFiles();
  const filePassword = files.password('SPANBUF_KAFKA_SASL_PASSWORD_FILE', settings.kafkaSaslPasswordFile);
  const ca = files.pem('SPANBUF_KAFKA_TLS_CA_FILE', settings.kafkaTlsCaFile, CERTIFICATE);
  const cert = files.pem('SPANBUF_KAFKA_TLS_CERT_FILE', settings.kafkaTlsCertFile, CERTIFICATE);
  const key = files.pem('SPANBUF_KAFKA_TLS_KEY_FILE', settings.kafkaTlsKeyFile, PRIVATE_KEY);
  files.throwIfAny();
  const { kafkaBrokers: brokers, kafkaTls, kafkaSaslMechanism: mechanism, kafkaSaslUsername: username = '' } = settings;
  const password = settings.kafkaSaslPassword ?? filePassword ?? '';
  return {
    brokers,
    clientId,
    metadataMaxAgeMs: settings.kafkaMetadataSeconds * 1_000,
    ...(kafkaTls && {
      tls: { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) },
    }),
    ...(mechanism !== undefined && { sasl: { mechanism, username, password } }),
  };
}

const CERTIFICATE = { marker: /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/, what: 'a PEM certificate' };
const PRIVATE_KEY = { marker: /-----BEGIN ([A-Z]+ )?PRIVATE KEY-----/, what: 'a PEM private key' };
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
};

/** Reads the files of one call, and collects what is wrong with them. */
class SettingFiles {
  readonly #problems: string[] = [];

  pem(name: string, path: string | undefined, { marker, what }: typeof CERTIFICATE): string | undefined {
    const content = this.#read(name, path);
    if (content !== undefined && !marker.test(content)) this.#problems.push(`${name} must hold ${what}: ${path}`);
    return content;
  }

  /** Without the line end that editors put at the end of a file. */
  password(name: string, path: string | undefined): string | undefined {
    const content = this.#read(name, path)?.replace(/\r?\n$/, '');
    if (content === '') this.#problems.push(`${name} must hold a password: ${path} is empty`);
    return content;
  }

  throwIfAny(): void {
    if (this.#problems.length > 0) throw new InvalidSettingsError(this.#problems);
  }

  #read(name: string, path: string | undefined): string | undefined {
    if (path === undefined) return undefined;
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      this.#problems.push(`${name} cannot be read: ${path}: ${REASONS[code] ?? code}`);
      return undefined;
    }
  }
}
