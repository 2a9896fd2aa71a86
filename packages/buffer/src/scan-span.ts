import { constants, isUtf8 } from 'node:buffer';
import { F, Member, N, OPEN_BRACE, QUOTE, scanJson, T } from './scan-json.ts';
import type { SplicePlaces } from './span-json.ts';

/** What a span says of itself. Ids are in lower case, the trace id is without dashes. */
export interface ScannedSpan {
  readonly projectId: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | null;
  readonly segmentId: string | null;
  readonly isSegment: boolean;
  /** Undefined also when its number is not exact. */
  readonly organizationId: string | undefined;
  /** Undefined when there is no simple answer. */
  readonly places: SplicePlaces | undefined;
}

// W3C Trace Context: an id of zeros alone is invalid.
export const SPAN_ID = /^(?!0+$)[0-9a-f]{16}$/i;
export const TRACE_ID = /^(?![0-]+$)(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/i;
export const PROJECT_ID = /^[0-9]{1,20}$/;
export const SEGMENT_ID = 'sentry.segment.id';

const projectId = new Member('project_id');
const traceId = new Member('trace_id');
const spanId = new Member('span_id');
const parentSpanId = new Member('parent_span_id');
const isSegment = new Member('is_segment');
const segmentId = new Member('value');
const segmentEntry = new Member(SEGMENT_ID, [segmentId]);
const attributes = new Member('attributes', [segmentEntry]);
const organizationId = new Member('organization_id');
const retentionDays = new Member('retention_days');
const times = ['start_timestamp', 'end_timestamp', 'received'].map((name) => new Member(name));
const name = new Member('name');
const span = new Member('', [
  projectId,
  traceId,
  spanId,
  parentSpanId,
  isSegment,
  attributes,
  organizationId,
  retentionDays,
  ...times,
  name,
]);

/**
 * What the schema of ingested spans finds in an ordinary span. Every byte is checked, as JSON and as UTF-8, and all fields that
 * the schema knows are. Undefined of what is no such span, and of one that is out of the ordinary: with an escape in a
 * key, a field twice, a number that is not in plain decimals or not exact.
 * @remarks Cost: one pass over the bytes and a string for each id; half of JSON.parse.
 */
export function scanSpan(payload: Uint8Array): ScannedSpan | undefined {
  // JSON.parse takes no more than this.
  if (payload.length > constants.MAX_STRING_LENGTH) return undefined;
  const json = Buffer.isBuffer(payload) ? payload : Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  if (!scanJson(json, span) || !isUtf8(json)) return undefined;
  if (isAbsent(projectId) || isAbsent(traceId) || isAbsent(spanId)) return undefined;
  const project =
    json[projectId.start] === QUOTE ? readText(json, projectId, PROJECT_ID) : readInteger(json, projectId);
  const trace = readText(json, traceId, TRACE_ID);
  const id = readText(json, spanId, SPAN_ID);
  if (project === undefined || trace === undefined || id === undefined) return undefined;
  const parent = isAbsentOrNull(json, parentSpanId) ? null : readText(json, parentSpanId, SPAN_ID);
  const segment = readSegmentId(json);
  if (parent === undefined || segment === undefined) return undefined;
  const flag = json[isSegment.start];
  if (!isAbsentOrNull(json, isSegment) && flag !== T && flag !== F) return undefined;
  if (!isAbsentOrNull(json, name) && json[name.start] !== QUOTE) return undefined;
  const organization = isAbsent(organizationId) ? undefined : readInteger(json, organizationId);
  if (organization === undefined && !isAbsent(organizationId)) return undefined;
  if (!isAbsent(retentionDays) && readInteger(json, retentionDays) === undefined) return undefined;
  for (const time of times) if (!isAbsent(time) && !isDecimal(json, time)) return undefined;
  return {
    projectId: project,
    traceId: trace.length === 32 ? trace : trace.replaceAll('-', ''),
    spanId: id,
    parentSpanId: parent,
    segmentId: segment,
    isSegment: flag === T,
    organizationId: organization,
    places: findPlaces(json),
  };
}

function findPlaces(json: Buffer): SplicePlaces | undefined {
  if (isAbsentOrNull(json, attributes)) return undefined;
  if (isAbsent(segmentEntry)) return [isSegment.start, attributes.end - 1];
  return json[segmentEntry.start] === N ? undefined : [isSegment.start, 0];
}

function readSegmentId(json: Buffer): string | null | undefined {
  if (isAbsentOrNull(json, attributes)) return null;
  if (json[attributes.start] !== OPEN_BRACE) return undefined;
  if (isAbsentOrNull(json, segmentEntry)) return null;
  // In what is no object nothing was looked for.
  return readText(json, segmentId, SPAN_ID);
}

/** A string without escapes, in lower case. */
function readText(json: Buffer, { start, end }: Member, pattern: RegExp): string | undefined {
  if (json[start] !== QUOTE) return undefined;
  const text = json.toString('latin1', start + 1, end - 1);
  return pattern.test(text) ? text.toLowerCase() : undefined;
}

/** An integer from 0, as JSON.parse reads and String writes it, both exactly. */
function readInteger(json: Buffer, { start, end }: Member): string | undefined {
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = (json[at] as number) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return Number.isSafeInteger(value) ? String(value) : undefined;
}

/** A longer number may be too large to be finite. */
const LONGEST_DECIMAL = 32;

function isDecimal(json: Buffer, { start, end }: Member): boolean {
  if (end - start > LONGEST_DECIMAL) return false;
  for (let at = start; at < end; at++) {
    const byte = json[at] as number;
    // Minus, point, digits; and the slash, which no value begins with.
    if (byte < 0x2d || byte > 0x39) return false;
  }
  return true;
}

function isAbsent({ start }: Member): boolean {
  return start === 0;
}

function isAbsentOrNull(json: Buffer, { start }: Member): boolean {
  return start === 0 || json[start] === N;
}
