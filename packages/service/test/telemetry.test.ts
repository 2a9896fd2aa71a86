/** OpenTelemetry as a service has it: a process of its own, a receiver that speaks OTLP over HTTP. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const APP = fileURLToPath(new URL('./an-app.ts', import.meta.url));

beforeAll(() => {
  execFileSync(`${ROOT}node_modules/.bin/tsc`, ['-b', `${ROOT}packages/service`], { stdio: 'pipe' });
}, 120_000);

interface Received {
  readonly path: string;
  readonly contentType: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

async function startReceiver(): Promise<{ url: string; received: Received[] }> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { url = '', headers } = request;
    received.push({ path: url, contentType: headers['content-type'] ?? '', headers, body: Buffer.concat(chunks) });
    response.writeHead(200, { 'content-type': headers['content-type'] ?? '' }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

/** Runs the app until it has started, then ends it. Answers what it logged. */
async function run(env: Record<string, string>): Promise<Record<string, unknown>[]> {
  const settings = { SPANBUF_HTTP_PORT: '0', SPANBUF_HTTP_HOST: '127.0.0.1', SPANBUF_BEHAVIOUR: 'works' };
  const child = spawn(process.execPath, [APP], { env: { PATH: process.env['PATH'], ...settings, ...env } });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const closed = once(child, 'close');
  await expect.poll(() => out, { timeout: 20_000 }).toContain('"started"');
  child.kill('SIGTERM');
  expect(await closed).toEqual([0, null]);
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const jsonOf = ({ body }: Received) => JSON.parse(String(body));
/** `[{ key, value: { stringValue } }]` as an object. */
const plain = (attributes: readonly { key: string; value: Record<string, unknown> }[]) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));

describe('OpenTelemetry', () => {
  it('is off by default, whatever OTEL_ variables there are', async () => {
    const { url, received } = await startReceiver();
    await run({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_EXPORTER: 'otlp' });
    expect(received).toEqual([]);
  });

  it('exports spans with their attributes, parents and failures, as OTEL_ variables say', async () => {
    const { url, received } = await startReceiver();
    await run({
      SPANBUF_OPENTELEMETRY: 'true',
      OTEL_EXPORTER_OTLP_ENDPOINT: url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=seven',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    });
    const traces = received.filter(({ path }) => path === '/v1/traces');
    expect(traces).toHaveLength(1);
    expect(traces[0]?.headers['x-tenant']).toBe('seven');
    const [{ resource, scopeSpans }] = jsonOf(traces[0] as Received).resourceSpans;
    expect(plain(resource.attributes)).toMatchObject({
      'service.name': 'an-app',
      'service.version': '0.0.0',
      'service.instance.id': expect.stringMatching(/^an-app-/),
      'deployment.environment.name': 'test',
    });
    const [{ scope, spans }] = scopeSpans;
    expect(scope).toMatchObject({ name: 'an-app', version: '0.0.0' });
    const [store, batch] = spans;
    expect(batch).toMatchObject({ name: 'batch', kind: 5, status: { code: 2, message: 'it went wrong' } });
    expect(plain(batch.attributes)).toEqual({ partition: 3, spans: 12 });
    expect(store).toMatchObject({ name: 'store', kind: 1, traceId: batch.traceId, parentSpanId: batch.spanId });
  });

  it('exports the metrics of /metrics under their names, at the latest when the service ends', async () => {
    const { url, received } = await startReceiver();
    await run({
      SPANBUF_OPENTELEMETRY: 'true',
      OTEL_TRACES_EXPORTER: 'none',
      OTEL_EXPORTER_OTLP_ENDPOINT: url,
      OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'http/json',
      OTEL_SERVICE_NAME: 'buffer-eu',
    });
    expect(received.map(({ path }) => path)).toEqual(['/v1/metrics']);
    const [{ resource, scopeMetrics }] = jsonOf(received[0] as Received).resourceMetrics;
    expect(plain(resource.attributes)).toMatchObject({ 'service.name': 'buffer-eu' });
    const metrics = new Map<string, Record<string, { dataPoints: Record<string, unknown>[] }>>(
      scopeMetrics.flatMap((scope: { metrics: { name: string }[] }) => scope.metrics.map((one) => [one.name, one])),
    );
    expect(metrics.get('an_app_batches_total')).toMatchObject({
      description: 'Batches.',
      sum: {
        isMonotonic: true,
        aggregationTemporality: 2,
        dataPoints: [{ asDouble: 2, attributes: [{ key: 'outcome', value: { stringValue: 'ok' } }] }],
      },
    });
    expect(metrics.get('an_app_held_bytes')).toMatchObject({ unit: 'By', gauge: { dataPoints: [{ asDouble: 7 }] } });
    expect(metrics.get('an_app_batch_seconds')).toMatchObject({
      unit: 's',
      histogram: {
        dataPoints: [{ count: 4, sum: 6.05, explicitBounds: [0.1, 1], bucketCounts: [1, 2, 1] }],
      },
    });
    expect(metrics.has('nodejs_heap_size_used_bytes')).toBe(true);
  });

  it('speaks protobuf unless it is told otherwise', async () => {
    const { url, received } = await startReceiver();
    await run({ SPANBUF_OPENTELEMETRY: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: url });
    expect(received.map(({ path, contentType }) => `${path} ${contentType}`).sort()).toEqual([
      '/v1/metrics application/x-protobuf',
      '/v1/traces application/x-protobuf',
    ]);
    expect(received.some(({ body }) => body.includes('an_app_batches_total'))).toBe(true);
  });

  it('exports nothing when the SDK is disabled', async () => {
    const { url, received } = await startReceiver();
    await run({ SPANBUF_OPENTELEMETRY: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_SDK_DISABLED: 'true' });
    expect(received).toEqual([]);
  });

  it('says in the log that a receiver is away, and ends in order all the same', async () => {
    const logged = await run({
      SPANBUF_OPENTELEMETRY: 'true',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
      OTEL_METRICS_EXPORTER: 'none',
    });
    expect(logged.filter(({ level }) => level === 'warn').map(({ msg }) => msg)).toEqual([
      expect.stringMatching(/^OpenTelemetry: /),
    ]);
  });
});
