/** `spanbuf generate` as a process: into files, into Kafka. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { type KcatRecord, kcatConsume } from '@spanbuf/tooling/kcat';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { COMPRESSIONS } from '../src/generate/generate-settings.ts';
import { INVALID_KINDS } from '../src/generate/invalid-messages.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'apps/cli/dist/main.js');
/** In the past: Kafka takes no messages of a time to come. */
const START = 1_790_000_000;
const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-generate-'));

beforeAll(() => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
}, 120_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(command: string, args: readonly (string | number)[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [MAIN, command, ...args.map(String)], {
    env: { ...process.env, ...env },
    cwd: scratch,
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

async function ended(child: ReturnType<typeof start>): Promise<Ended> {
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code, stdout, stderr };
}

const generate = (...args: (string | number)[]): Promise<Ended> => ended(start('generate', args));

describe('spanbuf generate into a file', () => {
  it('writes the same bytes for the same seed, to stdout or a file', async () => {
    const args = ['--spans', 2_000, '--seed', 5, '--start', START, '--invalid-share', 0.05];
    const direct = await generate(...args);
    expect(direct.stderr).toMatch(/^spans written: 2,000\ntime: [\d.]+ s, [\d,]+ spans\/s\n$/);
    expect(direct.stdout.split('\n')).toHaveLength(2_001);
    const file = join(scratch, 'spans.ndjson');
    expect(await generate(...args, '-o', file)).toMatchObject({ code: 0, stdout: '' });
    expect(readFileSync(file, 'utf8')).toBe(direct.stdout);
    expect((await generate(...args, '--seed', 6)).stdout).not.toBe(direct.stdout);
  });

  it('makes what spanbuf assemble puts together: every span comes out', async () => {
    const file = join(scratch, 'to-assemble.ndjson');
    await generate('--spans', 5_000, '--seed', 3, '-o', file);
    const whole = await ended(start('assemble', [file]));
    expect(whole.code, whole.stderr).toBe(0);
    expect(whole.stderr).toContain('spans in: 5,000, refused: 0, spans out: 5,000, unaccounted: 0\n');
    await generate('--spans', 2_000, '--invalid-share', 0.1, '-o', file);
    const broken = await ended(start('assemble', [file]));
    expect(broken.stderr).toContain('spans in: 2,000, refused: 200, spans out: 1,800, unaccounted: 0\n');
  });

  it('gives each segment one generation when nothing is late, as time goes by in the input', async () => {
    const file = join(scratch, 'in-one-piece.ndjson');
    await generate('--spans', 8_000, '--rate', 100, '--late-share', 0, '-o', file);
    const { stderr } = await ended(start('assemble', [file, '-o', '/dev/null']));
    expect(stderr).toContain('spans out: 8,000, unaccounted: 0\n');
    expect(stderr).toContain('root-idle');
    expect(stderr).not.toContain('generations > 1');
    await generate('--spans', 8_000, '--rate', 100, '--late-share', 0.2, '-o', file);
    expect((await ended(start('assemble', [file, '-o', '/dev/null']))).stderr).toContain('generations > 1');
  });

  it('stops between two lines', async () => {
    const file = join(scratch, 'stopped.ndjson');
    const child = start('generate', ['--spans', 1e9, '-o', file]);
    const written = () => readFileSync(file, { encoding: 'utf8', flag: 'a+' }).length;
    await expect.poll(written, { timeout: 20_000 }).toBeGreaterThan(0);
    child.kill('SIGTERM');
    expect((await ended(child)).code).toBe(143);
    expect(readFileSync(file, 'utf8')).toMatch(/\n$/);
  });

  it.each([
    ['wrong usage', ['--kafka', 'nowhere', '--spans', 1], '--kafka'],
    ['a folder as output', ['--spans', 1, '-o', '/'], 'cannot write /'],
  ])('ends with 2 and one line for %s', async (_name, args, message) => {
    const { code, stdout, stderr } = await generate(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toMatch(message);
  });

  it('explains itself', async () => {
    const { code, stdout } = await generate('--help');
    expect(code).toBe(0);
    for (const part of ['--spans', '--invalid-share', '--late-share', 'rootless', 'tombstone', 'Exit codes'])
      expect(stdout).toContain(part);
  });
});

describe('spanbuf generate and a Kafka it cannot use', () => {
  it('names it: nobody there', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    server.close();
    const { code, stderr } = await generate('--kafka', `127.0.0.1:${port}`, '--spans', 1);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: .+\n$/);
  });

  it('takes TLS and SASL from the environment, and says when they do not fit', async () => {
    const env = { SPANBUF_KAFKA_SASL_MECHANISM: 'plain', SPANBUF_REDIS_URL: 'none of its business' };
    const { code, stderr } = await ended(start('generate', ['--kafka', '127.0.0.1:1', '--spans', 1], env));
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: SPANBUF_KAFKA_SASL_MECHANISM needs SPANBUF_KAFKA_SASL_USERNAME/);
  });
});

describeWithKafka('spanbuf generate into Kafka', (brokers) => {
  const newTopic = () => `generated-${randomBytes(4).toString('hex')}`;
  const send = (topic: string, ...args: (string | number)[]) => generate('--kafka', brokers, '--topic', topic, ...args);
  const valuesOf = (records: readonly KcatRecord[]) => records.map(({ value }) => String(value));

  it.each(COMPRESSIONS)('sends the messages that it would write, compressed by %s', async (compression) => {
    const topic = newTopic();
    const args = ['--spans', 1_500, '--seed', 9, '--start', START];
    const { code, stderr } = await send(topic, ...args, '--partitions', 3, '--compression', compression);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain('spans sent: 1,500, messages refused: 0\n');
    const records = await kcatConsume({ brokers, topic });
    const { stdout } = await generate(...args);
    expect(valuesOf(records).sort()).toEqual(stdout.trimEnd().split('\n').sort());
    expect(new Set(records.map(({ partition }) => partition)).size).toBe(3);
  });

  it('keeps a trace in one partition, in the order of time, with the time at which spans were received', async () => {
    const topic = newTopic();
    await send(topic, '--spans', 2_000, '--start', START, '--partitions', 4);
    const partitionOf = new Map<string, number>();
    const latest = new Map<number, number>();
    for (const { partition, key, value, timestampMs } of await kcatConsume({ brokers, topic })) {
      const span = JSON.parse(String(value));
      expect(String(key)).toBe(span.trace_id.replaceAll('-', ''));
      expect(partitionOf.get(String(key)) ?? partition).toBe(partition);
      partitionOf.set(String(key), partition);
      expect(Math.abs(timestampMs - span.received * 1_000)).toBeLessThanOrEqual(1);
      expect(timestampMs).toBeGreaterThanOrEqual(latest.get(partition) ?? 0);
      latest.set(partition, timestampMs);
    }
  });

  it('spreads the spans of a trace when told to, and sends at full speed with the time of sending', async () => {
    const topic = newTopic();
    const beforeMs = Date.now();
    await send(topic, '--spans', 2_000, '--partitions', 4, '--key', 'none');
    const records = await kcatConsume({ brokers, topic });
    expect(records.every(({ key }) => key === null)).toBe(true);
    expect(records.every(({ timestampMs }) => timestampMs >= beforeMs && timestampMs <= Date.now())).toBe(true);
    const partitionsOf = new Map<string, Set<number>>();
    for (const { value, partition } of records) {
      const traceId = JSON.parse(String(value)).trace_id;
      partitionsOf.set(traceId, (partitionsOf.get(traceId) ?? new Set()).add(partition));
    }
    const spread = [...partitionsOf.values()].filter(({ size }) => size > 1);
    expect(spread.length).toBeGreaterThan(10);
  });

  it('sends broken messages of every kind, tombstones too', async () => {
    const topic = newTopic();
    const kinds = Object.keys(INVALID_KINDS).length;
    await send(topic, '--spans', 2 * kinds, '--invalid-share', 1, '--partitions', 1);
    const records = await kcatConsume({ brokers, topic });
    expect(records).toHaveLength(2 * kinds);
    expect(records.filter(({ value }) => value === null)).toHaveLength(2);
    expect(records.filter(({ value }) => value?.length === 0)).toHaveLength(2);
  });

  it('sends what lies in the past at once, and without end goes on until it is stopped', async () => {
    const topic = newTopic();
    const startSeconds = Math.floor(Date.now() / 1_000) - 600;
    const child = start('generate', [
      ...['--kafka', brokers, '--topic', topic, '--partitions', 2],
      ...['--rate', 20, '--start', startSeconds],
    ]);
    const result = ended(child);
    // Ten minutes of it: a load that waits for each message's time would take as long.
    await expect
      .poll(async () => (await kcatConsume({ brokers, topic }).catch(() => [])).length, { timeout: 20_000 })
      .toBeGreaterThan(11_000);
    child.kill('SIGINT');
    const { code, stderr } = await result;
    expect(code, stderr).toBe(0);
    const sent = Number(/spans sent: ([\d,]+), messages refused: 0\n/.exec(stderr)?.[1]?.replaceAll(',', ''));
    const records = await kcatConsume({ brokers, topic });
    expect(records).toHaveLength(sent);
    const nowMs = Date.now();
    expect(records.filter(({ timestampMs }) => timestampMs > nowMs)).toEqual([]);
  });

  it('does not create a topic unless told to', async () => {
    const topic = newTopic();
    const { code, stderr } = await send(topic, '--spans', 1);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toContain(topic);
  });
});
