/** The examples as somebody who installed the packages has them: outside of the workspace, with the tarballs that would be published. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LogMessage } from '@spanbuf/kafka';
import { ChildProgram } from '@spanbuf/stack/processes';
import { readTopic } from '@spanbuf/stack/read-topic';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { outsideEnvironment, PackedPackages } from '@spanbuf/tooling/packed-packages';
import { run } from '@spanbuf/tooling/toolchain';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { type Env, System } from '../system.ts';

const EXAMPLES = join(import.meta.dirname, '../../../examples');
const names = readdirSync(EXAMPLES, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? entry.name : [],
);
const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-examples-'));
const folderOf = (name: string) => join(scratch, name);

beforeAll(() => {
  const packed = PackedPackages.pack(join(scratch, 'tarballs'));
  for (const name of names) packed.install(join(EXAMPLES, name), folderOf(name));
}, 600_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Starts `main.ts` of an example; it ends with the test. */
function start(name: string, env: Env): ChildProgram {
  const program = new ChildProgram({ name, main: join(folderOf(name), 'main.ts'), env });
  onTestFinished(async () => void (await program.kill()));
  return program;
}

describe.each(names)('the example %s', (name) => {
  it('is accepted by TypeScript', () => {
    const options = ['--strict', '--exactOptionalPropertyTypes', '--noEmit', '--skipLibCheck', '--types', 'node'];
    const modules = [
      '--module',
      'nodenext',
      '--target',
      'es2024',
      '--allowImportingTsExtensions',
      '--erasableSyntaxOnly',
    ];
    const files = readdirSync(folderOf(name)).filter((file) => file.endsWith('.ts'));
    run('tsc', [...options, ...modules, ...files], { cwd: folderOf(name) });
  });
});

describe('the example store-adapter', () => {
  it('passes the conformance suite', () => {
    const bin = join(folderOf('store-adapter'), 'node_modules', '.bin', 'vitest');
    const output = run(bin, ['run', '--no-color'], { env: outsideEnvironment(), cwd: folderOf('store-adapter') });
    expect(output).toMatch(/Tests {2}\d\d passed \(\d\d\)/);
  });
});

describe('the example embed', () => {
  const trace = { project_id: 7, trace_id: '0af7651916cd43dd8448eb211c80319c' };
  const root = { ...trace, span_id: 'b7ad6b7169203331', name: 'GET /cart' };
  const child = { ...trace, span_id: '00f067aa0ba902b7', parent_span_id: root.span_id, name: 'GET cart:7' };

  async function serve(env: Env) {
    const program = start('embed', env);
    await expect.poll(() => portOf(program), { message: program.lastWords }).toBeDefined();
    const post = (body: string) =>
      fetch(`http://127.0.0.1:${portOf(program)}/spans`, { method: 'POST', body }).then(async (response) => ({
        status: response.status,
        ...JSON.parse(await response.text()),
      }));
    return { program, post };
  }
  const portOf = ({ stderr }: ChildProgram) =>
    stderr.map((line) => /^listening on port (\d+)$/.exec(line)?.[1]).find((port) => port !== undefined);
  const delivered = ({ stdout }: ChildProgram) => stdout.map((line) => JSON.parse(line).spans);

  it('delivers segments, also those that a process held which was killed', async () => {
    const nodes = inject('redisClusterUrl').replace('redis-cluster://', '').split(',');
    const env = { REDIS_URL: nodes.map((node) => `redis://${node}`).join(), PORT: '0', SLICE_ID: String(process.pid) };
    const first = await serve({ ...env, ROOT_TIMEOUT_SECONDS: '3600' });
    const { status, accepted, refused } = await first.post([child, { ...child, span_id: 'x' }].map(toLine).join(''));
    expect({ status, accepted }).toEqual({ status: 202, accepted: 1 });
    expect(refused).toEqual([expect.stringContaining('span_id')]);
    expect(await first.post(toLine(root))).toMatchObject({ status: 202, accepted: 1 });
    expect(first.program.stdout).toEqual([]);
    await first.program.kill();

    // What is due when is decided when spans come: one more, with a shorter timeout.
    const second = await serve({ ...env, ROOT_TIMEOUT_SECONDS: '0.5' });
    await second.post(toLine({ ...child, span_id: '00f067aa0ba902b8', name: 'late' }));
    await expect.poll(() => delivered(second.program)).toEqual([['GET /cart', 'GET cart:7', 'late']]);
    expect((await second.program.stop()).code).toBe(0);
  });
});

const toLine = (span: object): string => `${JSON.stringify(span)}\n`;

interface Printed {
  readonly traceId: string;
  readonly segmentId: string;
  readonly revision: number;
  readonly generations: readonly number[];
  readonly flushIds: readonly string[];
  readonly missingPartCount: number;
  readonly names: readonly string[];
}

describeWithKafka('the example consume-segments', () => {
  const GROUP = 'example';

  /** Everything in the output topic. */
  async function messagesOf({ kafka, topics }: System): Promise<LogMessage[]> {
    const messages: LogMessage[] = [];
    await readTopic(kafka, { topic: topics.output, groupId: `read-${Math.random()}` }, (message) =>
      messages.push(message),
    );
    return messages;
  }
  const headerOf = ({ headers }: LogMessage, name: string) => String(headers[`spanbuf-${name}`]);
  const printedBy = (program: ChildProgram): Printed[] => program.stdout.map((line) => JSON.parse(line));

  /** Resolves when the example has committed all there is. */
  async function finished({ kafka, topics }: System): Promise<void> {
    const left = async () => {
      const committed = await kafka.readCommitted(GROUP, topics.output);
      const watermarks = [...(await kafka.readWatermarks(topics.output))];
      return watermarks.filter(([partition, { low, high }]) => (committed.get(partition) ?? low) < high).length;
    };
    await expect.poll(left, { timeout: 60_000, interval: 300 }).toBe(0);
  }

  it('prints every segment whole, whatever comes late, in parts or twice, and however it dies', async () => {
    // Messages so short that many segments are cut.
    const system = await System.open({ env: { SPANBUF_MAX_MESSAGE_BYTES: '6000' } });
    const { brokers, topics } = system;
    const env = { KAFKA_BROKERS: brokers, TOPIC: topics.output, GROUP, SETTLE_SECONDS: '2' };
    await Promise.all([system.consumer(), system.flusher()]);
    const first = start('consume-segments', env);
    await system.generate({ spans: 800, rate: 100, lateShare: 0.2, seed: 5 });
    await system.drained(90_000);
    await finished(system);

    const messages = await messagesOf(system);
    const spansOf = new Map<string, number>();
    for (const message of messages) {
      const key = `${headerOf(message, 'trace-id')} ${headerOf(message, 'segment-id')}`;
      spansOf.set(key, (spansOf.get(key) ?? 0) + Number(headerOf(message, 'span-count')));
    }
    expect(messages.some((message) => headerOf(message, 'parts') !== '1')).toBe(true);
    expect(messages.some((message) => headerOf(message, 'generation') !== '1')).toBe(true);
    const last = new Map(printedBy(first).map((each) => [`${each.traceId} ${each.segmentId}`, each]));
    expect(new Map([...last].map(([key, { names }]) => [key, names.length]))).toEqual(spansOf);
    expect([...last.values()].filter(({ missingPartCount }) => missingPartCount > 0)).toEqual([]);

    // All of it again, as if the flusher had died before it could note anything.
    const linesBefore = first.stdout.length;
    const producer = await system.kafka.createProducer();
    const copies = messages.map(({ key, value, headers }) => ({ key, value: value ?? Buffer.alloc(0), headers }));
    const outcomes = await producer.send(topics.output, copies);
    expect(outcomes.filter(({ status }) => status !== 'acked')).toEqual([]);
    await producer.close();
    await finished(system);
    expect(first.stdout.length).toBe(linesBefore);

    // Killed in the midst of it: what it had not committed comes again.
    const load = system.startLoad({ rate: 100, seed: 6 });
    await expect.poll(() => first.stdout.length, { timeout: 60_000 }).toBeGreaterThan(linesBefore + 5);
    await first.kill();
    await load.stop();
    const second = start('consume-segments', env);
    await system.drained(90_000);
    await finished(system);
    const printed = new Set([...printedBy(first), ...printedBy(second)].flatMap(({ flushIds }) => flushIds));
    expect(new Set((await messagesOf(system)).map((message) => headerOf(message, 'flush-id')))).toEqual(printed);
    expect((await second.stop()).code).toBe(0);
  });
});
