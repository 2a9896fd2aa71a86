import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCertificates } from '@spanbuf/tooling/certificates';
import { afterAll, describe, expect, it } from 'vitest';
import {
  bufferSettings,
  kafkaSettings,
  parseSettings,
  readKafkaConnection,
  readRedisConnection,
  redisSettings,
  serviceSettings,
  sharedRules,
  storeSettings,
} from '../src/index.ts';

const definitions = { ...redisSettings, ...kafkaSettings, ...storeSettings, ...bufferSettings, ...serviceSettings };
const ENOUGH = { SPANBUF_REDIS_URL: 'redis://h:1', SPANBUF_KAFKA_BROKERS: 'k:9092' };
const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-settings-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const parse = (env: Record<string, string>) =>
  parseSettings(definitions, { ...ENOUGH, ...env }, { rules: sharedRules });

function fileOf(name: string, content: string): string {
  writeFileSync(join(scratch, name), content);
  return join(scratch, name);
}

describe('shared settings', () => {
  it('need no more than Redis and brokers', () => {
    expect(() => parseSettings(definitions, {}, { rules: sharedRules })).toThrow(
      /^SPANBUF_REDIS_URL is missing: [^\n]*\nSPANBUF_KAFKA_BROKERS is missing: host:port, several separated by commas$/,
    );
    expect(parse({})).toMatchObject({ layout: 'distributed', httpPort: 9464, maxSegmentBytes: 10_485_760 });
  });

  it.each<[string, Record<string, string>]>([
    [
      'SPANBUF_ROOT_TIMEOUT_SECONDS must not be above SPANBUF_MAX_AGE_SECONDS (60), got 61',
      { SPANBUF_ROOT_TIMEOUT_SECONDS: '61', SPANBUF_MAX_AGE_SECONDS: '60' },
    ],
    [
      'SPANBUF_TIMEOUT_SECONDS must not be above SPANBUF_MAX_AGE_SECONDS (600), got 601',
      { SPANBUF_TIMEOUT_SECONDS: '601' },
    ],
    ['SPANBUF_REDIS_USERNAME needs SPANBUF_REDIS_PASSWORD', { SPANBUF_REDIS_USERNAME: 'u' }],
    [
      'SPANBUF_REDIS_USERNAME must not be set while SPANBUF_REDIS_URL has a user in it',
      { SPANBUF_REDIS_URL: 'redis://u:p@h', SPANBUF_REDIS_USERNAME: 'v' },
    ],
    [
      'SPANBUF_REDIS_PASSWORD must not be set while SPANBUF_REDIS_URL has a password in it',
      { SPANBUF_REDIS_URL: 'redis://:p@h', SPANBUF_REDIS_PASSWORD: 'q' },
    ],
    [
      'SPANBUF_REDIS_PASSWORD_FILE must not be set while SPANBUF_REDIS_URL has a password in it',
      { SPANBUF_REDIS_URL: 'redis://:p@h', SPANBUF_REDIS_PASSWORD_FILE: '/f' },
    ],
    [
      'SPANBUF_REDIS_PASSWORD_FILE must not be set together with SPANBUF_REDIS_PASSWORD',
      { SPANBUF_REDIS_PASSWORD: 'p', SPANBUF_REDIS_PASSWORD_FILE: '/f' },
    ],
    [
      'SPANBUF_REDIS_TLS_CA_FILE needs rediss:// or rediss-cluster:// in SPANBUF_REDIS_URL',
      { SPANBUF_REDIS_TLS_CA_FILE: '/f' },
    ],
    ['SPANBUF_KAFKA_TLS_CA_FILE needs SPANBUF_KAFKA_TLS=true', { SPANBUF_KAFKA_TLS_CA_FILE: '/f' }],
    [
      'SPANBUF_KAFKA_TLS_CERT_FILE needs SPANBUF_KAFKA_TLS_KEY_FILE',
      { SPANBUF_KAFKA_TLS: 'true', SPANBUF_KAFKA_TLS_CERT_FILE: '/f' },
    ],
    [
      'SPANBUF_KAFKA_TLS_KEY_FILE needs SPANBUF_KAFKA_TLS_CERT_FILE',
      { SPANBUF_KAFKA_TLS: 'true', SPANBUF_KAFKA_TLS_KEY_FILE: '/f' },
    ],
    [
      'SPANBUF_KAFKA_SASL_MECHANISM needs SPANBUF_KAFKA_SASL_USERNAME',
      { SPANBUF_KAFKA_SASL_MECHANISM: 'plain', SPANBUF_KAFKA_SASL_PASSWORD: 'p' },
    ],
    [
      'SPANBUF_KAFKA_SASL_MECHANISM needs SPANBUF_KAFKA_SASL_PASSWORD',
      { SPANBUF_KAFKA_SASL_MECHANISM: 'plain', SPANBUF_KAFKA_SASL_USERNAME: 'u' },
    ],
    ['SPANBUF_KAFKA_SASL_USERNAME needs SPANBUF_KAFKA_SASL_MECHANISM', { SPANBUF_KAFKA_SASL_USERNAME: 'u' }],
    ['SPANBUF_KAFKA_SASL_PASSWORD needs SPANBUF_KAFKA_SASL_MECHANISM', { SPANBUF_KAFKA_SASL_PASSWORD: 'p' }],
    [
      'SPANBUF_KAFKA_SASL_PASSWORD_FILE must not be set together with SPANBUF_KAFKA_SASL_PASSWORD',
      {
        SPANBUF_KAFKA_SASL_MECHANISM: 'plain',
        SPANBUF_KAFKA_SASL_USERNAME: 'u',
        SPANBUF_KAFKA_SASL_PASSWORD: 'p',
        SPANBUF_KAFKA_SASL_PASSWORD_FILE: '/f',
      },
    ],
  ])('contradict each other: %s', (problem, env) => {
    expect(() => parse(env)).toThrow(new RegExp(`^${problem.replace(/[()]/g, '\\$&')}$`));
  });

  it.each<[string, Record<string, string>]>([
    ['a password without TLS', { SPANBUF_REDIS_URL: 'redis://:p@h' }],
    ['a user in the URL, the password beside it', { SPANBUF_REDIS_URL: 'redis://u@h', SPANBUF_REDIS_PASSWORD: 'p' }],
    ['timeouts as long as the longest age', { SPANBUF_TIMEOUT_SECONDS: '600', SPANBUF_ROOT_TIMEOUT_SECONDS: '600' }],
    ['an authority of a cluster', { SPANBUF_REDIS_URL: 'rediss-cluster://h', SPANBUF_REDIS_TLS_CA_FILE: '/f' }],
  ])('may be %s', (_name, env) => {
    expect(() => parse(env)).not.toThrow();
  });
});

describe('readRedisConnection', () => {
  it('puts together what is in the URL and what is not', () => {
    const env = { SPANBUF_REDIS_URL: 'rediss://u@h:1', SPANBUF_REDIS_PASSWORD_FILE: fileOf('password', 'p w\n') };
    expect(readRedisConnection(parse(env))).toEqual({
      location: { kind: 'node', address: { host: 'h', port: 1 }, db: 0, tls: true, username: 'u', password: 'p w' },
      tlsCa: undefined,
    });
    const apart = { SPANBUF_REDIS_USERNAME: 'v', SPANBUF_REDIS_PASSWORD: 'q' };
    expect(readRedisConnection(parse(apart)).location).toMatchObject({ username: 'v', password: 'q' });
    const together = { SPANBUF_REDIS_URL: 'redis://w:r@h' };
    expect(readRedisConnection(parse(together)).location).toMatchObject({ username: 'w', password: 'r' });
  });

  it('names all files that it cannot use', () => {
    const env = {
      SPANBUF_REDIS_URL: 'rediss://h',
      SPANBUF_REDIS_PASSWORD_FILE: join(scratch, 'nothing-there'),
      SPANBUF_REDIS_TLS_CA_FILE: fileOf('not-pem', 'nonsense'),
    };
    expect(() => readRedisConnection(parse(env))).toThrow(
      /^SPANBUF_REDIS_PASSWORD_FILE cannot be read: \S+: there is no such file\nSPANBUF_REDIS_TLS_CA_FILE must hold a PEM certificate: \S+$/,
    );
    const empty = { SPANBUF_REDIS_PASSWORD_FILE: fileOf('empty', '\n') };
    expect(() => readRedisConnection(parse(empty))).toThrow(/^SPANBUF_REDIS_PASSWORD_FILE must hold a password: /);
    const directory = { SPANBUF_REDIS_PASSWORD_FILE: scratch };
    expect(() => readRedisConnection(parse(directory))).toThrow(/cannot be read: \S+: it is a directory$/);
  });
});

describe('readKafkaConnection', () => {
  it('says no more than is set', () => {
    expect(readKafkaConnection(parse({ SPANBUF_KAFKA_BROKERS: 'a:1, b:2' }), 'me')).toEqual({
      brokers: ['a:1', 'b:2'],
      clientId: 'me',
      metadataMaxAgeMs: 10_000,
    });
    expect(readKafkaConnection(parse({ SPANBUF_KAFKA_TLS: 'true' }), 'me')).toMatchObject({ tls: {} });
  });

  it('reads certificates, key, password and how old metadata may be', async () => {
    const certificates = await makeCertificates();
    try {
      const env = {
        SPANBUF_KAFKA_TLS: 'true',
        SPANBUF_KAFKA_TLS_CA_FILE: certificates.caFile,
        SPANBUF_KAFKA_TLS_CERT_FILE: certificates.clientCertFile,
        SPANBUF_KAFKA_TLS_KEY_FILE: certificates.clientKeyFile,
        SPANBUF_KAFKA_SASL_MECHANISM: 'scram-sha-512',
        SPANBUF_KAFKA_SASL_USERNAME: 'u',
        SPANBUF_KAFKA_SASL_PASSWORD_FILE: fileOf('sasl', 'p\r\n'),
        SPANBUF_KAFKA_METADATA_SECONDS: '1.5',
      };
      expect(readKafkaConnection(parse(env), 'me')).toEqual({
        brokers: ['k:9092'],
        clientId: 'me',
        metadataMaxAgeMs: 1_500,
        tls: {
          ca: certificates.ca,
          cert: expect.stringContaining('BEGIN CERTIFICATE'),
          key: expect.stringContaining('PRIVATE KEY'),
        },
        sasl: { mechanism: 'scram-sha-512', username: 'u', password: 'p' },
      });
      const swapped = { ...env, SPANBUF_KAFKA_TLS_KEY_FILE: certificates.clientCertFile };
      expect(() => readKafkaConnection(parse(swapped), 'me')).toThrow(
        /^SPANBUF_KAFKA_TLS_KEY_FILE must hold a PEM private key: /,
      );
    } finally {
      certificates.remove();
    }
  });
});
