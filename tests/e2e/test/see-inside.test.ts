import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type AppProcess, ChildProgram } from '@spanbuf/stack/processes';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, inject, it, onTestFinished } from 'vitest';
import { mainOf, System } from '../system.ts';

const [A, B, C, D] = ['a', 'b', 'c', 'd'].map((digit) => digit.repeat(16)) as [string, string, string, string];

/** Of one partition, so that what is sent first is read first. */
function message(traceId: string, spanId: string, parentSpanId: string | null, more: object = {}) {
  const seconds = Date.now() / 1_000;
  const times = { start_timestamp: seconds - 1, end_timestamp: seconds, received: seconds };
  const ids = { organization_id: 1, project_id: 42, trace_id: traceId, span_id: spanId, parent_span_id: parentSpanId };
  const span = { ...ids, ...times, retention_days: 90, name: 'work', ...more };
  return { key: null, value: Buffer.from(JSON.stringify(span)), partition: 1 };
}

async function trace(system: System, ...args: string[]): Promise<string> {
  const redis = ['--redis', inject('redisClusterUrl'), '--slice', String(system.sliceId)];
  const program = new ChildProgram({ name: 'trace', main: mainOf('cli'), args: ['trace', ...args, ...redis], env: {} });
  onTestFinished(async () => void (await program.kill()));
  const { code } = await program.ended;
  expect(code, program.lastWords).toBe(0);
  return program.stdout.join('\n');
}

describeWithKafka('a watched trace', () => {
  it('is logged step by step by both apps, from the moment it is named until it is not', async () => {
    const system = await System.open({ env: { SPANBUF_LOG_LEVEL: 'info' } });
    const apps: AppProcess[] = [await system.consumer(), await system.flusher()];
    const [consumer, flusher] = apps as [AppProcess, AppProcess];
    const traceId = randomBytes(16).toString('hex');
    const stepsOf = (app: AppProcess) => app.log.filter((line) => line['traceId'] === traceId);
    const named = (app: AppProcess, step: string) => stepsOf(app).filter((line) => line['step'] === step);
    const until = async (app: AppProcess, step: string, count = 1) =>
      expect.poll(() => named(app, step).length, { timeout: 60_000, message: app.lastWords }).toBe(count);

    await trace(system, 'on', '42', traceId, '--for', '5m');
    for (const app of apps) await until(app, 'watched');

    await system.send([message(traceId, C, B)]);
    await until(consumer, 'stored');
    await system.send([message(traceId, A, null)]);
    await until(consumer, 'stored', 2);
    await system.send([
      message(traceId, B, A),
      message(randomBytes(16).toString('hex'), D, null),
      message(traceId, 'none', A),
    ]);
    await until(consumer, 'dead-lettered');
    await until(flusher, 'done');

    const consumed = stepsOf(consumer).map((line) => line['step']);
    expect(consumed.slice(0, 9)).toEqual([
      ...['watched', 'received', 'grouped', 'linked', 'stored'],
      ...['received', 'grouped', 'linked', 'stored'],
    ]);
    // What is invalid in a batch goes to its topic before the rest is stored.
    expect(consumed.slice(9)).toEqual(['received', 'dead-lettered', 'grouped', 'linked', 'stored']);
    expect(stepsOf(flusher).map((line) => line['step'])).toEqual(['watched', 'claimed', 'produced', 'done']);

    expect(named(consumer, 'received')[0]).toMatchObject({
      level: 'debug',
      projectId: '42',
      partition: 1,
      firstOffset: '0',
      spanCount: 1,
      spans: [{ spanId: C, parentSpanId: B, isSegmentSpan: false }],
    });
    expect(named(consumer, 'linked').map(({ outcome, mergedCount }) => [outcome, mergedCount])).toEqual([
      ['new', 0],
      ['new', 0],
      ['merged', 1],
    ]);
    expect(named(consumer, 'dead-lettered')[0]).toMatchObject({ partition: 1, offset: '4' });
    const segment = { segmentId: A, generation: 1 };
    expect(named(flusher, 'claimed')[0]).toMatchObject({ ...segment, sealReason: 'root-idle', spanCount: 3, shard: 1 });
    expect(named(flusher, 'produced')[0]).toMatchObject({
      ...segment,
      flushId: expect.stringMatching(/^[0-9a-f]{32}$/),
      part: 1,
      parts: 1,
      partition: expect.any(Number),
    });
    expect(named(flusher, 'done')[0]).toMatchObject(segment);
    for (const app of apps) {
      const times = stepsOf(app).map((line) => String(line['time']));
      expect(times).toEqual(times.toSorted());
    }

    await trace(system, 'off', '42', traceId);
    for (const app of apps) await until(app, 'unwatched');
    await system.send([message(traceId, D, A)]);
    await system.drained();
    for (const app of apps) expect(stepsOf(app).at(-1)).toMatchObject({ step: 'unwatched' });
  });
});

interface ExportedSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly service: string;
}

/** What OTLP/HTTP brings, in JSON. */
async function startReceiver() {
  const spans: ExportedSpan[] = [];
  const metrics = new Set<string>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = JSON.parse(String(Buffer.concat(chunks)));
    for (const { resource, scopeSpans } of body.resourceSpans ?? []) {
      const service = resource.attributes.find(({ key }: { key: string }) => key === 'service.name').value.stringValue;
      for (const scope of scopeSpans) for (const span of scope.spans) spans.push({ ...span, service });
    }
    for (const { scopeMetrics } of body.resourceMetrics ?? [])
      for (const scope of scopeMetrics) for (const { name } of scope.metrics) metrics.add(name);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans, metrics };
}

describeWithKafka('OpenTelemetry', () => {
  it('has a span for each batch, flush and send, and the metrics of both apps', async () => {
    const { url, spans, metrics } = await startReceiver();
    const system = await System.open({
      env: {
        SPANBUF_OPENTELEMETRY: 'true',
        OTEL_EXPORTER_OTLP_ENDPOINT: url,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_METRIC_EXPORT_INTERVAL: '500',
        OTEL_BSP_SCHEDULE_DELAY: '200',
      },
    });
    await system.consumer();
    await system.flusher();
    await system.generate({ spans: 2_000 });
    await system.drained();
    const of = (name: string) => spans.filter((span) => span.name === name);
    await expect.poll(() => of('mark segments done').length, { timeout: 30_000 }).toBeGreaterThan(0);
    // A span ends before the one that it is part of, and may be exported before it.
    const withoutParent = () =>
      spans.filter((one) => one.parentSpanId && !spans.some(({ spanId }) => spanId === one.parentSpanId));
    await expect.poll(withoutParent, { timeout: 30_000 }).toEqual([]);
    await expect
      .poll(() => [...metrics], { timeout: 30_000 })
      .toEqual(expect.arrayContaining(['spanbuf_consumer_spans_total', 'spanbuf_flusher_segments_total']));
    const parentsOf = (name: string) =>
      new Set(of(name).map(({ parentSpanId }) => spans.find(({ spanId }) => spanId === parentSpanId)?.name));
    expect(of('apply batch')[0]).toMatchObject({ kind: 5, service: 'spanbuf-consumer' });
    expect(parentsOf('store spans')).toEqual(new Set(['apply batch']));
    expect(of('flush segments')[0]).toMatchObject({ kind: 1, service: 'spanbuf-flusher' });
    expect(parentsOf('produce segments')).toEqual(new Set(['flush segments']));
    expect(parentsOf('mark segments done')).toEqual(new Set(['flush segments']));
    // None of a single span, command or request.
    expect(new Set(spans.map(({ name }) => name))).toEqual(
      new Set(['apply batch', 'store spans', 'flush segments', 'produce segments', 'mark segments done']),
    );
    await system.verified();
  });
});
