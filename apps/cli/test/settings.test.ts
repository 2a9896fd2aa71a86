import { describe, expect, it } from 'vitest';
import { parseSettings, type RawSettings } from '../src/settings.ts';
import { formatStoreLocation, parseStoreLocation } from '../src/store-location.ts';

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
    ['redis://h', { kind: 'node', address: { host: 'h', port: 6379 }, db: 0, tls: false }],
    [
      'rediss://u:p%40@h:1/3',
      { kind: 'node', address: { host: 'h', port: 1 }, db: 3, tls: true, username: 'u', password: 'p@' },
    ],
    ['redis://:a@b:c@[::1]:7000', { kind: 'node', address: { host: '::1', port: 7000 }, password: 'a@b:c' }],
    [
      'redis-cluster://:p@a:1,b:2',
      {
        kind: 'cluster',
        seeds: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
        password: 'p',
      },
    ],
  ])('reads %s', (text, location) => {
    expect(parseStoreLocation(text)).toMatchObject(location);
  });

  it.each([
    '',
    'redis',
    'redis://',
    'redis://h:0',
    'redis://h:65536',
    'redis://h:1,i:2',
    'redis-cluster://h:1,',
    'redis-cluster://h:1/2',
    'redis://h:1?tls=1',
    'redis://u:secret%zz@h',
    'http://:secret@h',
  ])('refuses %j without telling a password', (text) => {
    expect(() => parseStoreLocation(text)).toThrow(/^(must|has)(?!.*secret)/);
  });

  it('is named without credentials', () => {
    expect(formatStoreLocation(parseStoreLocation('redis://u:secret@h:1'))).toBe('redis://h:1');
    expect(formatStoreLocation(parseStoreLocation('redis-cluster://:secret@a,[::1]:2'))).toBe(
      'redis-cluster://a:6379,[::1]:2',
    );
  });
});
