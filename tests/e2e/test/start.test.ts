import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { ChildProgram } from '@spanbuf/stack/processes';
import { makeCertificates } from '@spanbuf/tooling/certificates';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { startKafka } from '@spanbuf/tooling/kafka-servers';
import { startRedis } from '@spanbuf/tooling/redis-servers';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type Env, mainOf, System, stop } from '../system.ts';

const ROOT = `${import.meta.dirname}/../../..`;
const APPS = ['consumer', 'flusher'] as const;
type AppName = (typeof APPS)[number];

/** Runs an app that is expected to end by itself. */
async function run(name: AppName, env: Env, ...args: string[]) {
  const program = new ChildProgram({ name, main: mainOf(name), args, env });
  onTestFinished(async () => void (await program.kill()));
  const { code } = await program.ended;
  const told = program.stdout.filter(isTrouble).concat(program.stderr);
  return { code, told, output: [...program.stdout, ...program.stderr].join('\n') };
}

/** One line, and nothing of where in the code it comes from. */
function expectRefusal({ code, told, output }: Awaited<ReturnType<typeof run>>, message: RegExp): void {
  expect(code).not.toBe(0);
  expect(code).not.toBeNull();
  expect(told).toEqual([expect.stringMatching(message)]);
  expect(output).not.toMatch(/\n\s+at .*\.js|\\n\s+at /);
}

/** Of the log what is worse than news. */
function isTrouble(line: string): boolean {
  return !/^\{"level":"(debug|info)"/.test(line);
}

describeWithKafka('wrong settings', () => {
  /** Takes connections, and answers nothing. */
  const silent = createServer();
  beforeAll(async () => {
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
  });
  afterAll(() => void silent.close());

  const wrong: [what: string, env: (right: Env) => Env, message: RegExp][] = [
    ['a missing one', ({ SPANBUF_REDIS_URL: _, ...rest }) => rest, /SPANBUF_REDIS_URL is missing/],
    ['an unknown one', (right) => ({ ...right, SPANBUF_LAYUOT: 'colocated' }), /SPANBUF_LAYUOT.*SPANBUF_LAYOUT/],
    ['one out of range', (right) => ({ ...right, SPANBUF_LEASE_SECONDS: '-1' }), /SPANBUF_LEASE_SECONDS must be/],
    [
      'a contradiction',
      (right) => ({ ...right, SPANBUF_KAFKA_SASL_USERNAME: 'me' }),
      /SPANBUF_KAFKA_SASL_USERNAME needs SPANBUF_KAFKA_SASL_MECHANISM/,
    ],
    [
      'a Redis that is not there',
      (right) => ({ ...right, SPANBUF_REDIS_URL: 'redis://127.0.0.1:1', SPANBUF_START_SECONDS: '1' }),
      /127\.0\.0\.1:1/,
    ],
    [
      'a Kafka that is not there',
      (right) => ({ ...right, SPANBUF_KAFKA_BROKERS: '127.0.0.1:1', SPANBUF_START_SECONDS: '1' }),
      /127\.0\.0\.1:1/,
    ],
    [
      'a Kafka that says nothing',
      (right) => ({
        ...right,
        SPANBUF_KAFKA_BROKERS: `127.0.0.1:${(silent.address() as AddressInfo).port}`,
        SPANBUF_START_SECONDS: '1',
      }),
      /Kafka did not answer within 1 s: 127\.0\.0\.1:\d+/,
    ],
    [
      'a wrong password',
      (right) => ({ ...right, SPANBUF_REDIS_URL: (right['SPANBUF_REDIS_URL'] ?? '').replace(/:[\w-]+@/, ':wrong@') }),
      /password/i,
    ],
    [
      'a topic that is not there',
      (right) => ({ ...right, SPANBUF_DLQ_TOPIC: 'no-such-topic', SPANBUF_OUTPUT_TOPIC: 'no-such-topic' }),
      /no topic no-such-topic/,
    ],
  ];
  it.each(APPS.flatMap((app) => wrong.map(([what, env, message]) => [app, what, env, message] as const)))(
    'keep the %s from starting: %s',
    async (app, _, env, message) => {
      const system = await System.open();
      expectRefusal(await run(app, env(system.envOf(app))), message);
    },
  );

  it.each(APPS)('of the %s are all told at once', async (app) => {
    const { code, output } = await run(app, { SPANBUF_LEASE_SECONDS: 'x', SPANBUF_LAYOUT: 'y', SPANBUF_NONSENSE: 'z' });
    expect(code).toBe(2);
    for (const name of ['REDIS_URL', 'KAFKA_BROKERS', 'LEASE_SECONDS', 'LAYOUT', 'NONSENSE']) {
      expect(output).toContain(`SPANBUF_${name}`);
    }
  });
});

describeWithKafka('a start', () => {
  it.each(APPS)('of the %s can be tried: settings alone, or with connections', async (app) => {
    const system = await System.open();
    const env = system.envOf(app);
    const printed = await run(app, env, '--print-config');
    expect(printed.code).toBe(0);
    expect(printed.output).toContain(`SPANBUF_KAFKA_BROKERS=${system.brokers}`);
    expect(printed.output).not.toContain('-password@');
    expect((await run(app, env, '--check-config')).code).toBe(0);
  });

  it.each([
    ['consumer', 'flusher'],
    ['flusher', 'consumer'],
  ] as const)('of the %s works with every setting of the %s in the same environment', async (app, other) => {
    const system = await System.open();
    const { output } = await run(other, system.envOf(other), '--print-config');
    const names = [...output.matchAll(/^(SPANBUF_\w+)=/gm)].map(([, name]) => name);
    const foreign = Object.fromEntries(names.map((name) => [name, '']));
    const mine = await run(app, { ...foreign, ...system.envOf(app) }, '--print-config');
    expect(mine.output).not.toContain('is not a setting');
    expect(mine.code).toBe(0);
  });

  it('works with TLS and logins everywhere, and not with a wrong password', async () => {
    const certificates = await makeCertificates();
    const password = 'secret-password';
    const user = (name: AppName) => `user spanbuf-${name} on >${password} ~* &* +@all`;
    const [kafka, redis] = await Promise.all([
      startKafka({ users: [{ username: 'spanbuf', password }], certificates }),
      startRedis({ certificates, acl: [user('consumer'), user('flusher'), 'user default off'] }),
    ]);
    onTestFinished(async () => {
      await Promise.all([kafka.stop(), redis.stop()]);
      certificates.remove();
    });
    const system = await System.open({ brokers: kafka.bootstrap });
    for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
      const env = (name: AppName): Env => ({
        SPANBUF_KAFKA_BROKERS: kafka.listeners.SASL_SSL ?? '',
        SPANBUF_KAFKA_TLS: 'true',
        SPANBUF_KAFKA_TLS_CA_FILE: certificates.caFile,
        SPANBUF_KAFKA_SASL_MECHANISM: mechanism,
        SPANBUF_KAFKA_SASL_USERNAME: 'spanbuf',
        SPANBUF_KAFKA_SASL_PASSWORD: password,
        SPANBUF_REDIS_URL: `rediss://spanbuf-${name}:${password}@127.0.0.1:${redis.tlsPort}`,
        SPANBUF_REDIS_TLS_CA_FILE: certificates.caFile,
      });
      const consumer = await system.consumer(env('consumer'));
      const flusher = await system.flusher(env('flusher'));
      await system.generate({ spans: 200, seed: mechanism.length });
      await system.drained();
      await stop(consumer);
      await stop(flusher);
      for (const app of APPS) {
        const wrong = { ...system.envOf(app), ...env(app), SPANBUF_KAFKA_SASL_PASSWORD: 'wrong' };
        expectRefusal(await run(app, wrong), /credentials|authentication/i);
      }
    }
    await system.verified();
  });
});

describeWithKafka('the documented metrics', () => {
  it.each(APPS)('of the %s are those on /metrics', async (app) => {
    const system = await System.open();
    const url = (await (app === 'consumer' ? system.consumer() : system.flusher())).url;
    const text = await (await fetch(`${url}/metrics`)).text();
    const exposed = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name);
    const reference = readFileSync(`${ROOT}/docs/reference/${app}.md`, 'utf8').split('## Metrics')[1] ?? '';
    const documented = [...reference.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
    expect(exposed.sort()).toEqual(documented.sort());
    expect(documented.length).toBeGreaterThan(20);
  });
});
