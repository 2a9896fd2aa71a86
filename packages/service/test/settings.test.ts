import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  address,
  bytes,
  flag,
  formatSettings,
  InvalidSettingsError,
  integer,
  listOf,
  oneOf,
  parseSettings,
  positiveSeconds,
  redisUrl,
  seconds,
  secretText,
  setting,
  settingsReference,
  share,
  text,
  topicName,
} from '../src/index.ts';

const definitions = {
  url: setting('SPANBUF_URL', redisUrl(), 'Where it is.', { secret: 'password-in-url' }),
  password: setting('SPANBUF_PASSWORD', secretText().optional(), 'Password.', { secret: 'whole' }),
  timeoutSeconds: setting('SPANBUF_TIMEOUT_SECONDS', positiveSeconds(2_592_000).default(60), 'Quiet time.'),
  mode: setting('SPANBUF_MODE', oneOf(['fast', 'safe']).default('safe'), 'How | to work.'),
  hosts: setting('SPANBUF_HOSTS', listOf(address()).default(['a:1', 'b:2']), 'Others.'),
};
const ENOUGH = { SPANBUF_URL: 'redis://h:1' };

function problemsOf(env: Record<string, string>, rules?: () => readonly string[]): readonly string[] {
  try {
    parseSettings(definitions, env, { rules: rules });
  } catch (error) {
    if (error instanceof InvalidSettingsError) return error.problems;
    throw error;
  }
  return [];
}

describe('parseSettings', () => {
  it('reads what is set, and takes the default of everything else', () => {
    expect(parseSettings(definitions, { ...ENOUGH, SPANBUF_TIMEOUT_SECONDS: '1.5', PATH: '/bin' })).toEqual({
      url: 'redis://h:1',
      password: undefined,
      timeoutSeconds: 1.5,
      mode: 'safe',
      hosts: ['a:1', 'b:2'],
    });
  });

  it('takes an empty variable for one that is absent', () => {
    expect(parseSettings(definitions, { ...ENOUGH, SPANBUF_MODE: '' }).mode).toBe('safe');
    expect(problemsOf({ SPANBUF_URL: '' })[0]).toMatch(/^SPANBUF_URL is missing: redis:\/\/host:port, /);
  });

  it('names every problem, a line each', () => {
    const env = { SPANBUF_TIMEOUT_SECONDS: 'x', SPANBUF_MODE: 'quick', SPANBUF_HOSTS: 'a:1,b', SPANBUF_MOOD: 'good' };
    expect(problemsOf(env)).toEqual([
      expect.stringMatching(/^SPANBUF_URL is missing: redis/),
      'SPANBUF_TIMEOUT_SECONDS must be a number above 0, up to 2592000, got "x"',
      'SPANBUF_MODE must be one of fast, safe, got "quick"',
      'SPANBUF_HOSTS must be host:port, several separated by commas, got "a:1,b"',
      'SPANBUF_MOOD is not a setting; did you mean SPANBUF_MODE?',
    ]);
  });

  it('says in its message what its problems say', () => {
    expect(() => parseSettings(definitions, { SPANBUF_MODE: 'quick' })).toThrow(
      /^SPANBUF_URL is missing: [^\n]*\nSPANBUF_MODE must be one of [^\n]*$/,
    );
  });

  it('refuses an unknown name without a guess when none is near', () => {
    expect(problemsOf({ ...ENOUGH, SPANBUF_QUITE_ANOTHER_THING: '1' })).toEqual([
      'SPANBUF_QUITE_ANOTHER_THING is not a setting',
    ]);
  });

  it('leaves alone what Kubernetes makes of services whose name begins with spanbuf', () => {
    const links = {
      SPANBUF_CONSUMER_SERVICE_HOST: '10.0.0.1',
      SPANBUF_CONSUMER_SERVICE_PORT: '9464',
      SPANBUF_CONSUMER_SERVICE_PORT_METRICS: '9464',
      SPANBUF_CONSUMER_PORT: 'tcp://10.0.0.1:9464',
      SPANBUF_CONSUMER_PORT_9464_TCP: 'tcp://10.0.0.1:9464',
      SPANBUF_CONSUMER_PORT_9464_TCP_ADDR: '10.0.0.1',
      // Of a service that is called spanbuf-timeout-seconds.
      SPANBUF_TIMEOUT_SECONDS: 'tcp://10.0.0.1:80',
    };
    expect(parseSettings(definitions, { ...ENOUGH, ...links }).timeoutSeconds).toBe(60);
  });

  it('never tells a secret', () => {
    const env = {
      SPANBUF_URL: 'redis://:hunter2@h:99999',
      SPANBUF_PASSWORD: 'hunter2'.repeat(200),
      SPANBUF_PASWORD: 'hunter2',
    };
    const problems = problemsOf(env);
    expect(problems).toHaveLength(3);
    expect(problems.join()).not.toContain('hunter2');
  });

  it('shows hostile values cut and on one line', () => {
    const hostile = `\u001b[31mred\nSPANBUF_OK \u202e${'x'.repeat(10_000)}`;
    const [value, name] = problemsOf({ ...ENOUGH, SPANBUF_MODE: hostile, [`SPANBUF_${hostile}`]: '1' });
    for (const line of [value, name]) {
      expect(line).toMatch(/^[ -~…]+$/);
      expect(line?.length).toBeLessThan(200);
    }
  });

  it('looks at contradictions only when every setting is fine by itself', () => {
    const rules = () => ['SPANBUF_MODE must not be safe here'];
    expect(problemsOf({ ...ENOUGH, SPANBUF_MODE: 'quick' }, rules)).toHaveLength(1);
    expect(problemsOf({ ...ENOUGH, SPANBUF_MOOD: '1' }, rules)).toHaveLength(2);
    expect(problemsOf(ENOUGH, rules)).toEqual(rules());
  });
});

describe('schemas', () => {
  it.each([
    ['seconds', seconds(0, 10), ['0', '10', '0.25'], ['-1', '10.1', '1e1', '', ' 1', 'Infinity', '.5']],
    ['positive seconds', positiveSeconds(10), ['0.001', '10'], ['0', '0.0', '11']],
    ['integers', integer(1, 100), ['1', '100', '007'], ['0', '101', '1.0', '+1', '0x1', '１']],
    ['bytes', bytes(), ['1', '1073741824'], ['0', '1073741825', '1k']],
    ['shares', share(), ['0', '1', '0.5'], ['1.1', '-0.5', '50%']],
    ['flags', flag(), ['true', 'false'], ['1', 'yes', 'TRUE']],
    ['names', oneOf(['a', 'b']), ['a'], ['A', 'c', 'a,b']],
    ['text', text(), ['ä b'], ['', 'a\nb', '\u0007', 'x'.repeat(1_025)]],
    ['topics', topicName(), ['ingest-spans', 'a.b_c'], ['', '.', '..', 'a b', 'ä', 'x'.repeat(250)]],
    ['addresses', address(), ['h:1', '[::1]:65535', 'a-b.c:9092'], ['h', 'h:0', 'h:65536', ':1', 'a b:1', 'h:1:2']],
    ['lists', listOf(integer(1, 9)), ['1', '1,2', ' 1 , 2 '], ['', '1,', ',1', '1;2']],
  ] as const)('%s', (_name, schema, allowed, refused) => {
    for (const value of allowed) expect(z.safeParse(schema, value).success, value).toBe(true);
    for (const value of refused) expect(z.safeParse(schema, value).success, value).toBe(false);
  });
});

describe('formatSettings', () => {
  const settings = parseSettings(definitions, {
    SPANBUF_URL: 'redis://user:p%40ss:w@rd@h:1/2',
    SPANBUF_PASSWORD: 'hunter2',
    SPANBUF_HOSTS: 'c:3, d:4',
  });

  it('prints everything that is in force, with secrets masked', () => {
    expect(formatSettings(definitions, settings)).toBe(
      [
        'SPANBUF_URL=redis://user:******@h:1/2',
        'SPANBUF_PASSWORD=******',
        'SPANBUF_TIMEOUT_SECONDS=60',
        'SPANBUF_MODE=safe',
        'SPANBUF_HOSTS=c:3,d:4',
        '',
      ].join('\n'),
    );
  });

  it.each([
    ['redis://h:1', 'redis://h:1'],
    ['redis://user@h:1', 'redis://user@h:1'],
    ['redis://:secret@h', 'redis://:******@h'],
    ['redis://a@b:secret@h:1', 'redis://a@b:******@h:1'],
    ['rediss-cluster://u:secret@a:1,b:2', 'rediss-cluster://u:******@a:1,b:2'],
    ['redis-cluster://u:@a:1,b:2', 'redis-cluster://u:******@a:1,b:2'],
  ])('masks what is secret of %s', (url, masked) => {
    const parsed = parseSettings(definitions, { SPANBUF_URL: url });
    expect(formatSettings(definitions, parsed)).toContain(`SPANBUF_URL=${masked}\n`);
  });

  it('prints what can be read again', () => {
    const { url: _url, password: _password, ...open } = definitions;
    const printed = formatSettings(open, parseSettings(open, { SPANBUF_MODE: 'fast' }));
    const env = Object.fromEntries(
      printed
        .trimEnd()
        .split('\n')
        .map((line) => line.split('=')),
    );
    expect(parseSettings(open, env)).toEqual(parseSettings(open, { SPANBUF_MODE: 'fast' }));
  });
});

describe('settingsReference', () => {
  it('is a table of names, defaults, what is allowed and meanings', () => {
    expect(settingsReference(definitions).split('\n').slice(0, 6)).toEqual([
      '| setting | default | allowed | meaning |',
      '|---|---|---|---|',
      expect.stringMatching(/^\| `SPANBUF_URL` \| \*required\* \| redis:\/\/host:port, .* \| Where it is. \|$/),
      '| `SPANBUF_PASSWORD` |  | at most 1024 characters | Password. |',
      '| `SPANBUF_TIMEOUT_SECONDS` | `60` | a number above 0, up to 2592000 | Quiet time. |',
      '| `SPANBUF_MODE` | `safe` | one of fast, safe | How \\| to work. |',
    ]);
  });
});
