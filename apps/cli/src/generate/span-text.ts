import { attributeText, type Operation } from './operations.ts';
import type { Random } from './random.ts';

/** What the spans of one trace have in common. */
export interface TraceContext {
  /** 32 lower-case hex digits. */
  readonly traceId: string;
  /** As the spans write it: the same, or a UUID with dashes. */
  readonly writtenTraceId: string;
}

/** One span that will be sent. Times are Unix microseconds. */
export interface PlannedSpan {
  readonly trace: TraceContext;
  readonly projectId: number;
  readonly spanId: string;
  readonly parentId: string | null;
  /** Root of its segment. */
  readonly isSegmentSpan: boolean;
  /** What the span itself says about its segment; null when it says nothing. */
  readonly segmentId: string | null;
  readonly startUs: number;
  readonly endUs: number;
  /** When it is sent. */
  readonly receivedUs: number;
  readonly operation: Operation;
}

/** How the senders of a project write what may be written in several ways. */
interface Dialect {
  /** For a span without parent. */
  readonly noParent: string;
  /** For a span that is not the root of its segment. */
  readonly notSegment: string;
  /** What all spans of the service say about it. */
  readonly resource: string;
  readonly tail: string;
}

const DIALECTS: readonly Dialect[] = [
  dialect('web-shop', { noParent: '"parent_span_id":null,', notSegment: '"is_segment":false,', tail: '},"links":[]}' }),
  dialect('inventory', { noParent: '', notSegment: '"is_segment":false,', tail: '}}' }),
  // A field that nobody knows, and a number that is not to be rewritten.
  dialect('payments', { noParent: '', notSegment: '', tail: '},"links":[],"measure":1.50}' }),
  dialect('search', {
    noParent: '"parent_span_id":null,',
    notSegment: '"is_segment":null,',
    tail: '},"links":[],"_meta":{"attributes":{"":{"len":9}}}}',
  }),
];

function dialect(service: string, ways: Pick<Dialect, 'noParent' | 'notSegment' | 'tail'>): Dialect {
  const resource = {
    'service.name': service,
    'service.namespace': 'example',
    'service.version': '1.4.0',
    'deployment.environment.name': 'staging',
    'telemetry.sdk.name': 'opentelemetry',
    'otel.scope.name': '@opentelemetry/instrumentation-http',
  };
  const texts = Object.entries(resource).map(([key, value]) => attributeText(key, value));
  return { ...ways, resource: texts.join(',') };
}

const FAILED_SHARE = 0.02;

/** The JSON of a span. Cost: 1 to 2 us. */
export function spanText(span: PlannedSpan, random: Random): string {
  const ways = DIALECTS[span.projectId % DIALECTS.length] as Dialect;
  const { operation, parentId, segmentId } = span;
  const parent = parentId === null ? ways.noParent : `"parent_span_id":"${parentId}",`;
  const segment = segmentId === null ? '' : `,"sentry.segment.id":{"type":"string","value":"${segmentId}"}`;
  let attributes = '';
  for (const part of operation.attributes) attributes += typeof part === 'string' ? part : part(random);
  return (
    `{"organization_id":1,"project_id":${span.projectId},"trace_id":"${span.trace.writtenTraceId}","span_id":"${span.spanId}",` +
    `${parent}${span.isSegmentSpan ? '"is_segment":true,' : ways.notSegment}` +
    `"start_timestamp":${secondsText(span.startUs)},"end_timestamp":${secondsText(span.endUs)},` +
    `"received":${secondsText(span.receivedUs)},"retention_days":90,"name":${operation.name},` +
    `"status":"${random.chance(FAILED_SHARE) ? 'error' : 'ok'}","attributes":{` +
    `${attributes},${ways.resource}${segment}${ways.tail}`
  );
}

const MICROSECONDS = 1_000_000;

/** Unix seconds with six decimals: exact, which dividing would not be. */
function secondsText(us: number): string {
  const seconds = Math.floor(us / MICROSECONDS);
  return `${seconds}.${String(MICROSECONDS + (us - seconds * MICROSECONDS)).slice(1)}`;
}
