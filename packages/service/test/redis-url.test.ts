import { describe, expect, it } from 'vitest';
import { formatRedisLocation, parseRedisUrl } from '../src/index.ts';

const ab = [
  { host: 'a', port: 1 },
  { host: 'b', port: 2 },
];

describe('parseRedisUrl', () => {
  it.each([
    ['redis://h', { kind: 'node', address: { host: 'h', port: 6379 }, db: 0, tls: false, password: undefined }],
    ['redis://h:1/', { kind: 'node', address: { host: 'h', port: 1 }, db: 0 }],
    [
      'rediss://u:p%40@h:1/3',
      { kind: 'node', address: { host: 'h', port: 1 }, db: 3, tls: true, username: 'u', password: 'p@' },
    ],
    ['redis://:a@b:c@[::1]:7000', { kind: 'node', address: { host: '::1', port: 7000 }, password: 'a@b:c' }],
    ['redis-cluster://:p@a:1,b:2', { kind: 'cluster', seeds: ab, tls: false, password: 'p' }],
    ['rediss-cluster://u:p@a:1,b:2', { kind: 'cluster', seeds: ab, tls: true, username: 'u', password: 'p' }],
    ['REDIS-CLUSTER://a:1,b:2', { kind: 'cluster', seeds: ab }],
  ])('reads %s', (text, location) => {
    expect(parseRedisUrl(text)).toMatchObject(location);
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
    'redis://u:secret/@h',
    'http://:secret@h',
  ])('refuses %j without telling a password', (text) => {
    expect(() => parseRedisUrl(text)).toThrow(/^(must|has)(?!.*secret)/);
  });
});

describe('formatRedisLocation', () => {
  it.each([
    ['redis://u:secret@h:1/2', 'redis://h:1'],
    ['rediss://:secret@h', 'rediss://h:6379'],
    ['redis-cluster://:secret@a,[::1]:2', 'redis-cluster://a:6379,[::1]:2'],
    ['rediss-cluster://a:1', 'rediss-cluster://a:1'],
  ])('names %s without credentials', (url, name) => {
    expect(formatRedisLocation(parseRedisUrl(url))).toBe(name);
  });
});
