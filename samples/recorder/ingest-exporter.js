'use strict';

const { SpanKind, SpanStatusCode } = require('@opentelemetry/api');

const RETENTION_DAYS = 90;

// What names the machine rather than the service, or holds its paths, stays out of the recording.
const PRIVATE_ATTRIBUTE = /^(host|process|os|container|code)\.|stacktrace$/;

/** OpenTelemetry's [seconds, nanoseconds] as float seconds with microseconds. */
function hrTimeToSeconds([seconds, nanos]) {
  return Number((seconds + nanos / 1e9).toFixed(6));
}

function nowSeconds() {
  return Number(((performance.timeOrigin + performance.now()) / 1e3).toFixed(6));
}

function typeOf(value) {
  if (Array.isArray(value)) {
    return 'array';
  }
  if (typeof value === 'number') {
    return Number.isInteger(value) ? 'integer' : 'double';
  }
  return typeof value;
}

function operationOf(span) {
  const { attributes, kind } = span;
  if (attributes['db.system.name'] !== undefined) {
    return 'db.redis';
  }
  if (attributes['express.type'] !== undefined) {
    return `${attributes['express.type']}.express`;
  }
  switch (kind) {
    case SpanKind.SERVER:
      return 'http.server';
    case SpanKind.CLIENT:
      return 'http.client';
    case SpanKind.PRODUCER:
      return 'queue.publish';
    case SpanKind.CONSUMER:
      return 'queue.process';
    default:
      return 'function';
  }
}

function attributesOf(span) {
  const exception = span.events.find((event) => event.name === 'exception');
  const scope = span.instrumentationScope;
  const plain = {
    'sentry.op': operationOf(span),
    'sentry.origin': scope.name.startsWith('@opentelemetry/') ? 'auto.otel' : 'manual',
    'span.kind': SpanKind[span.kind].toLowerCase(),
    ...span.attributes,
    ...exception?.attributes,
    ...span.resource.attributes,
    'otel.scope.name': scope.name,
    'otel.scope.version': scope.version,
    'otel.status_description': span.status.message,
  };
  return Object.fromEntries(
    Object.entries(plain)
      .filter(([key, value]) => value !== undefined && value !== null && !PRIVATE_ATTRIBUTE.test(key))
      .map(([key, value]) => [key, { type: typeOf(value), value }]),
  );
}

/** A finished OpenTelemetry span as the JSON object that the ingest topic carries. */
function toIngestSpan(span, { projectId, received }) {
  const { traceId, spanId } = span.spanContext();
  const parent = span.parentSpanContext;
  return {
    organization_id: 1,
    project_id: projectId,
    trace_id: traceId,
    span_id: spanId,
    ...(parent && { parent_span_id: parent.spanId }),
    // The entry of a service: nothing above it, or the span above it belongs to someone else.
    is_segment: parent === undefined || parent.isRemote === true,
    start_timestamp: hrTimeToSeconds(span.startTime),
    end_timestamp: hrTimeToSeconds(span.endTime),
    received,
    retention_days: RETENTION_DAYS,
    name: span.name,
    status: span.status.code === SpanStatusCode.ERROR ? 'error' : 'ok',
    attributes: attributesOf(span),
    links: [],
  };
}

/** Posts each batch as NDJSON to the collector, in the order in which the spans ended. */
class IngestExporter {
  constructor({ url, projectId }) {
    this.url = url;
    this.projectId = projectId;
  }

  export(spans, done) {
    this.send(spans).then(
      () => done({ code: 0 }),
      (error) => done({ code: 1, error }),
    );
  }

  async send(spans) {
    const stamp = { projectId: this.projectId, received: nowSeconds() };
    const body = spans.map((span) => `${JSON.stringify(toIngestSpan(span, stamp))}\n`).join('');
    const response = await fetch(this.url, { method: 'POST', body });
    if (!response.ok) {
      throw new Error(`the collector answered ${response.status}`);
    }
  }

  async shutdown() {}
}

module.exports = { IngestExporter };
