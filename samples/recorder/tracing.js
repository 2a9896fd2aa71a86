'use strict';

// Must be required before express and ioredis: the instrumentations patch modules as they are loaded.

const { SpanStatusCode, trace } = require('@opentelemetry/api');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { IORedisInstrumentation } = require('@opentelemetry/instrumentation-ioredis');
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici');
const { defaultResource, resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchSpanProcessor, NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');
const { IngestExporter } = require('./ingest-exporter');

const { SERVICE_NAME, PROJECT_ID, COLLECTOR_URL, EXPORT_DELAY_MS } = process.env;

/** Counts what the service began and ended, so that the recorder can tell whether a span got lost. */
class Counter {
  started = 0;
  ended = 0;

  onStart() {
    this.started += 1;
  }

  onEnd() {
    this.ended += 1;
  }

  async forceFlush() {}

  async shutdown() {}
}

const counter = new Counter();
const exporter = new IngestExporter({ url: COLLECTOR_URL, projectId: Number(PROJECT_ID) });

const provider = new NodeTracerProvider({
  resource: defaultResource().merge(
    resourceFromAttributes({
      'service.name': SERVICE_NAME,
      'service.namespace': 'web-shop',
      'service.version': '1.4.0',
      'deployment.environment.name': 'staging',
    }),
  ),
  spanProcessors: [
    counter,
    new BatchSpanProcessor(exporter, {
      maxQueueSize: 8_192,
      maxExportBatchSize: 50,
      scheduledDelayMillis: Number(EXPORT_DELAY_MS),
    }),
  ],
});
provider.register();

registerInstrumentations({
  instrumentations: [
    new HttpInstrumentation({
      headersToSpanAttributes: { server: { requestHeaders: ['accept-language', 'x-request-id'] } },
    }),
    new UndiciInstrumentation(),
    new ExpressInstrumentation(),
    new IORedisInstrumentation(),
  ],
});

const tracer = trace.getTracer(SERVICE_NAME, '1.4.0');

/** Runs `fn` inside a span of its own. */
function inSpan(name, options, fn) {
  return tracer.startActiveSpan(name, options, async (span) => {
    try {
      return await fn(span);
    } catch (error) {
      span.recordException(error);
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Delivers what is left; the counts are final after it. */
async function stopTracing() {
  await provider.shutdown();
  return { started: counter.started, ended: counter.ended };
}

module.exports = { inSpan, stopTracing };
