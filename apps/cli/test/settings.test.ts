import { describe, expect, it } from 'vitest';
import { parseSettings, type RawSettings } from '../src/settings.ts';
import { parseStoreLocation } from '../src/store-location.ts';

const RAW: RawSettings = {
  output: '-',
  store: 'memory',
  batchSize: '1000',
  rootTimeoutSeconds: '10',
  timeoutSeconds: '60',
  maxAgeSeconds: '600',
  maxSegmentBytes: '10485760',
  maxMessageBytes: '10485760',
};

describe('parseSettings', () => {
  it('names every option that is wrong', () => {
    const wrong = {
      output: '',
      store: 'postgres://h',
      layout: 'flat',
      batchSize: '100001',
      shuffle: '-1',
      rootTimeoutSeconds: '0',
      timeoutSeconds: 'soon',
      maxAgeSeconds: '1e9',
      maxSegmentBytes: '1.5',
      maxMessageBytes: '',
    };
    const options = Object.keys(wrong).map((name) => `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`);
    for (const option of options) expect(() => parseSettings('-', wrong)).toThrow(option);
    expect(() => parseSettings('-', wrong)).toThrow(/^[^\n]+$/);
  });

  it('reads fractions of seconds', () => {
    expect(parseSettings('-', { ...RAW, rootTimeoutSeconds: '0.5' }).limits.rootTimeoutSeconds).toBe(0.5);
  });
});

describe('parseStoreLocation', () => {
  it.each([
    ['memory', { kind: 'memory' }],
    ['rediss://u:p@h:1/3', { kind: 'node', db: 3, tls: true, username: 'u' }],
    ['redis-cluster://a:1,b:2', { kind: 'cluster', tls: false }],
  ])('reads %s', (text, location) => {
    expect(parseStoreLocation(text)).toMatchObject(location);
  });

  it.each(['', 'disk', 'redis', 'http://:secret@h'])('lists what it takes instead of %j', (text) => {
    expect(() => parseStoreLocation(text)).toThrow(/^must be memory, redis:\/\/host:port, (?!.*secret)/);
  });

  it('says what is wrong with a URL of Redis, without the password', () => {
    expect(() => parseStoreLocation('redis://:secret@h:0')).toThrow(/^must name each host(?!.*secret)/);
  });
});
