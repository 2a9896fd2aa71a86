/** `spanbuf size` as a process. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createKafka } from '@spanbuf/kafka';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { beforeAll, describe, expect, inject, it, onTestFinished, vi } from 'vitest';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'apps/cli/dist/main.js');
const T0 = 1_700_000_000;
const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];

beforeAll(() => {
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'apps/cli')], { stdio: 'pipe' });
});

interface Line {
  readonly seconds: number;
  readonly text: string;
}

function line(seconds: number, spanId: string, parentId: string | null, traceId: string): Line {
  const ids = { project_id: 1, trace_id: traceId, span_id: spanId, parent_span_id: parentId };
  return { seconds, text: JSON.stringify({ ...ids, received: T0 + seconds, name: 'x'.repeat(500) }) };
}

/** A trace of one span every tenth of a second, so that time goes on. */
function traffic(seconds: number): Line[] {
  return Array.from({ length: seconds * 10 }, (_, i) =>
    line(i / 10, randomBytes(8).toString('hex'), null, randomBytes(16).toString('hex')),
  );
}

/** With a child that comes 8 s after its root, and a trace whose link between root and leaf comes 20 s after the leaf. */
function recording(): Line[] {
  const [late, linkless] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
  const lines = [
    ...traffic(60),
    line(5, A, null, late),
    line(13, B, A, late),
    line(5, C, B, linkless),
    line(25, B, A, linkless),
    line(25, A, null, linkless),
  ];
  return lines.toSorted((a, b) => a.seconds - b.seconds);
}

async function size(args: readonly string[], input: Iterable<string> | 'endless' = [], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [MAIN, 'size', ...args], { env: { ...process.env, ...env } });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stdin.on('error', () => undefined);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  if (input === 'endless') void writeForEver(child.stdin);
  else child.stdin.end([...input].map((text) => `${text}\n`).join(''));
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

async function writeForEver(stdin: NodeJS.WritableStream): Promise<void> {
  for (let at = 0; stdin.writable; at++) {
    const { text } = line(at / 1_000, randomBytes(8).toString('hex'), null, randomBytes(16).toString('hex'));
    if (!stdin.write(`${text}\n`)) await once(stdin, 'drain').catch(() => undefined);
  }
}

describe('spanbuf size', () => {
  it('says for each setting how complete segments would be, and how late', async () => {
    const lines = recording().map(({ text }) => text);
    const { code, stdout, stderr } = await size(
      ['--json', '--root-timeout-seconds', '5,10', '--timeout-seconds', '15,30', '--max-segment-bytes', '10485760'],
      lines,
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { input, candidates } = JSON.parse(stdout);
    expect(input).toMatchObject({ spans: 605, refused: 0, segments: 602, segments_with_root: 602 });
    // The clock follows the median of the last spans.
    expect(input.seconds).toBeGreaterThan(58);
    expect(input.seconds).toBeLessThan(60);
    const of = (root: number, timeout: number) =>
      candidates.find(
        (one: Record<string, number>) => one['root_timeout_seconds'] === root && one['timeout_seconds'] === timeout,
      );
    expect(of(5, 15)).toMatchObject({ whole_share: 600 / 602, later_pieces: 1, later_spans: 1, astray_spans: 1 });
    expect(of(10, 15)).toMatchObject({ whole_share: 601 / 602, later_pieces: 0, astray_spans: 1 });
    expect(of(5, 30)).toMatchObject({ whole_share: 601 / 602, later_spans: 1, astray_spans: 0 });
    expect(of(10, 30)).toMatchObject({ whole_share: 1, later_spans: 0, astray_spans: 0 });
    expect(of(10, 30)).toMatchObject({
      delay_seconds: { p50: 10, p95: 10, max: 10 },
      wait_seconds: { p50: 10 },
    });
    // The last of it waits for twenty seconds for its root, and ten after.
    expect(of(10, 30).wait_seconds.max).toBeCloseTo(30, 0);
    expect(of(10, 30).redis_peak_bytes).toBeGreaterThan(of(5, 30).redis_peak_bytes);
    expect(of(10, 30).script_calls_per_1000_spans).toBeGreaterThan(3_000);
  });

  it('counts what a limit of bytes cuts', async () => {
    const trace = randomBytes(16).toString('hex');
    const spans = Array.from({ length: 40 }, (_, i) =>
      line(1 + i / 10, i === 0 ? A : randomBytes(8).toString('hex'), i === 0 ? null : A, trace),
    );
    const lines = [...traffic(20), ...spans].toSorted((a, b) => a.seconds - b.seconds).map(({ text }) => text);
    const { stdout } = await size(
      ['--json', '--root-timeout-seconds', '5', '--max-segment-bytes', '5000,10485760'],
      lines,
    );
    const [cut, whole] = JSON.parse(stdout).candidates;
    expect(cut).toMatchObject({ max_segment_bytes: 5_000, whole_share: 200 / 201 });
    expect(cut.later_spans).toBeGreaterThan(20);
    expect(cut.delay_seconds.max).toBe(5);
    expect(whole).toMatchObject({ whole_share: 1, later_spans: 0 });
  });

  it('prints a table for people, and names the lines that are no spans', async () => {
    const { code, stdout, stderr } = await size(
      ['--root-timeout-seconds', '5'],
      ['{"no": "span"}', ...traffic(3).map(({ text }) => text)],
    );
    expect(code).toBe(0);
    expect(stderr).toMatch(/^line 1: /);
    expect(stdout).toMatch(
      /^30 spans, and 1 that are none, .* of message time, \d+ spans\/s\n30 segments, 30 with their root/,
    );
    expect(stdout).toContain('root  timeout  max age  max bytes    whole');
    expect(stdout).toContain('  5s      60s     600s      1 MiB  100.00%');
  });

  it('reads no more spans than it is to, of an input without end', async () => {
    const { code, stdout } = await size(['--spans', '500', '--json'], 'endless');
    expect(code).toBe(0);
    expect(JSON.parse(stdout).input.spans).toBe(500);
  });

  it.each([
    [['--root-timeout-seconds', '5,x'], /--root-timeout-seconds must be/],
    [['--max-age-seconds', '5'], /must not be above --max-age-seconds \(5\)/],
    [['file', '--topic', 'a'], /give FILE or --topic, not both/],
    [['--kafka', 'localhost:1'], /--kafka needs --topic/],
    [['--topic', 'a'], /neither --kafka nor SPANBUF_KAFKA_BROKERS is given/],
    [['--topic', 'a', '--kafka', '127.0.0.1:1'], /127\.0\.0\.1:1/],
    [['no-such-file'], /cannot read no-such-file: no such file/],
    [['--root-timeout-seconds', '1,2,3,4,5,6,7,8,9', '--timeout-seconds', '11,12,13,14'], /at most 64 combinations/],
    [[], /there are no spans in the input/],
  ])('ends with 2 and one line for %j', async (args, message) => {
    const { code, stdout, stderr } = await size(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: .*\n$/);
    expect(stderr).toMatch(message);
  });
});

describeWithKafka('spanbuf size --topic', () => {
  it('reads a topic in the order of time, whatever partition a span is in, and leaves nothing behind', async () => {
    const brokers = inject('kafkaBrokers');
    const kafka = createKafka({ brokers: brokers.split(','), clientId: 'size-test' });
    onTestFinished(() => kafka.close());
    const topic = `size-${randomUUID()}`;
    await kafka.createTopics([{ topic, partitionCount: 3 }]);
    const lines = recording();
    const producer = await kafka.createProducer();
    // One partition after the other: what is read first is not what came first.
    for (const partition of [2, 0, 1]) {
      const of = lines.filter((_, i) => i % 3 === partition);
      const outcomes = await producer.send(
        topic,
        of.map(({ text, seconds }) => ({
          key: null,
          value: Buffer.from(text),
          timestampMs: Math.round((T0 + seconds) * 1_000),
          partition,
        })),
      );
      expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['acked']));
    }
    await producer.close();
    const args = ['--json', '--root-timeout-seconds', '5,10', '--timeout-seconds', '30'];
    const fromTopic = await size(['--topic', topic, '--kafka', brokers, ...args]);
    expect(fromTopic).toMatchObject({ code: 0, stderr: '' });
    const { input, candidates } = JSON.parse(fromTopic.stdout);
    expect(input).toMatchObject({ spans: 605, segments: 602 });
    expect(candidates[0]).toMatchObject({ whole_share: 601 / 602, later_spans: 1 });
    expect(candidates[1]).toMatchObject({ whole_share: 1 });
    const some = await size(['--topic', topic, ...args, '--spans', '100'], [], { SPANBUF_KAFKA_BROKERS: brokers });
    expect(JSON.parse(some.stdout).input.spans).toBe(100);
  });
});
