/** Everything that touches OpenTelemetry. Loaded by start-telemetry.ts, and only where it is wanted. */
import { type Attributes, DiagLogLevel, diag, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { defaultResource, envDetector, hostDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  ConsoleMetricExporter,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from '@opentelemetry/sdk-metrics';
import { NodeSDK } from '@opentelemetry/sdk-node';
import type { Logger } from 'pino';
import { withinSeconds } from '../process/deadline.ts';
import { PrometheusProducer } from './prometheus-producer.ts';
import type { Telemetry, TelemetryOptions } from './telemetry.ts';
import type { ActiveSpan, SpanOptions, Tracing } from './tracing.ts';

/** How long the last export may take when the service ends. */
const STOP_SECONDS = 3;

type Env = TelemetryOptions['env'];

/** As the standard `OTEL_…` variables say. Traces and metrics; the log stays on stdout. */
export async function startOpenTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { name, version, instanceId, env, log } = options;
  logProblems(log);
  const ours = { 'service.name': name, 'service.version': version, 'service.instance.id': instanceId };
  const sdk = new NodeSDK({
    // Below what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say.
    resource: defaultResource().merge(resourceFromAttributes(ours)),
    ...(env['OTEL_NODE_RESOURCE_DETECTORS'] ? {} : { resourceDetectors: [hostDetector, envDetector] }),
    metricReaders: await metricReaders(options),
    logRecordProcessors: [],
    instrumentations: [],
  });
  sdk.start();
  // Where OTEL_LOG_LEVEL is set, the SDK has begun to write to the console.
  logProblems(log);
  return {
    tracing: tracingOf(name, version),
    stop: () =>
      withinSeconds(sdk.shutdown(), STOP_SECONDS, `the last export did not end within ${STOP_SECONDS} s`).catch(
        (error: Error) => log.warn({ error: error.message }, 'OpenTelemetry: not everything was exported'),
      ),
  };
}

/** A receiver that is away is no reason to stop, nor for a line a second: the SDK says it once for each export. */
function logProblems(log: Logger): void {
  const say =
    (level: 'warn' | 'debug') =>
    (message: string, ...details: unknown[]): void =>
      log[level]({ details: details.map(String) }, `OpenTelemetry: ${message}`);
  const logger = {
    error: say('warn'),
    warn: say('warn'),
    info: say('debug'),
    debug: say('debug'),
    verbose: say('debug'),
  };
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
}

async function metricReaders(options: TelemetryOptions): Promise<PeriodicExportingMetricReader[]> {
  const { name, version, env, registry, clockMs, log } = options;
  if (env['OTEL_SDK_DISABLED']?.trim().toLowerCase() === 'true') return [];
  const names = new Set(listOf(env['OTEL_METRICS_EXPORTER'] || 'otlp'));
  if (names.has('none')) return [];
  const exporters = await Promise.all(
    [...names].map((each) => {
      if (each === 'otlp') return otlpExporter(env);
      if (each === 'console') return new ConsoleMetricExporter();
      log.warn(`OpenTelemetry: OTEL_METRICS_EXPORTER may be otlp, console or none, and not ${JSON.stringify(each)}`);
      return undefined;
    }),
  );
  const exportIntervalMillis = positive(env['OTEL_METRIC_EXPORT_INTERVAL']) ?? 60_000;
  const exportTimeoutMillis = Math.min(positive(env['OTEL_METRIC_EXPORT_TIMEOUT']) ?? 30_000, exportIntervalMillis);
  return exporters.flatMap((exporter) => {
    if (exporter === undefined) return [];
    const metricProducers = [new PrometheusProducer(registry, { name, version }, clockMs)];
    return [
      new PeriodicExportingMetricReader({ exporter, exportIntervalMillis, exportTimeoutMillis, metricProducers }),
    ];
  });
}

/** The SDK makes its own from the same variables, but they take no producer of ours. */
async function otlpExporter(env: Env): Promise<PushMetricExporter> {
  const protocol = env['OTEL_EXPORTER_OTLP_METRICS_PROTOCOL'] || env['OTEL_EXPORTER_OTLP_PROTOCOL'];
  if (protocol?.trim() === 'grpc')
    return new (await import('@opentelemetry/exporter-metrics-otlp-grpc')).OTLPMetricExporter();
  if (protocol?.trim() === 'http/json')
    return new (await import('@opentelemetry/exporter-metrics-otlp-http')).OTLPMetricExporter();
  return new (await import('@opentelemetry/exporter-metrics-otlp-proto')).OTLPMetricExporter();
}

function listOf(text: string): string[] {
  return text.split(',').map((each) => each.trim());
}

function positive(text: string | undefined): number | undefined {
  const value = Number(text);
  return Number.isFinite(value) && value > 0 ? value : undefined;
}

const KINDS = { consumer: SpanKind.CONSUMER, producer: SpanKind.PRODUCER } as const;

function tracingOf(name: string, version: string): Tracing {
  const tracer = trace.getTracer(name, version);
  return {
    span: <T>(span: string, { attributes = {}, kind, startMs }: SpanOptions, task: (span: ActiveSpan) => Promise<T>) =>
      tracer.startActiveSpan(
        span,
        {
          attributes: attributes as Attributes,
          kind: kind === undefined ? SpanKind.INTERNAL : KINDS[kind],
          ...(startMs !== undefined && { startTime: startMs }),
        },
        (started) => runIn(started, task),
      ),
  };
}

async function runIn<T>(span: Span, task: (span: ActiveSpan) => Promise<T>): Promise<T> {
  try {
    return await task({ set: (attributes) => void span.setAttributes(attributes as Attributes) });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    span.setStatus({ code: SpanStatusCode.ERROR, message });
    throw error;
  } finally {
    span.end();
  }
}
