import { depthOf } from './json-members.ts';

/** A message of the input topic that is a span: what places it. Ids are lower case. */
export interface InputSpan {
  /** The JSON as received. */
  readonly text: string;
  readonly projectId: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Its own id for the root of a segment. */
  readonly effectiveParentId: string;
}

type Json = Readonly<Record<string, unknown>>;

const MAX_BYTES = 10 * 1024 * 1024;
const MAX_DEPTH = 512;
const SPAN_ID = /^(?!0+$)[0-9a-f]{16}$/i;
const TRACE_ID = /^(?!0+$)[0-9a-f]{32}$/i;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a message the way docs say a consumer does, without its code.
 * @returns undefined when it is not a span, so that it belongs into the dead-letter topic.
 */
export function readInputSpan(value: Uint8Array | null): InputSpan | undefined {
  const text = value === null || value.length > MAX_BYTES ? undefined : decode(value);
  const span = text === undefined ? undefined : parseObject(text);
  if (text === undefined || span === undefined || !hasReadableFields(span)) return undefined;
  const projectId = readProjectId(span['project_id']);
  const traceId = readTraceId(span['trace_id']);
  const spanId = readSpanId(span['span_id']);
  const parentId = readOptional(span['parent_span_id'], readSpanId);
  const segmentId = readSegmentId(span['attributes']);
  if (projectId === undefined || traceId === undefined || spanId === undefined) return undefined;
  if (parentId === undefined || segmentId === undefined) return undefined;
  const isSegmentSpan = parentId === null || span['is_segment'] === true;
  const effectiveParentId = isSegmentSpan ? spanId : (segmentId ?? parentId ?? spanId);
  return { text, projectId, traceId, spanId, effectiveParentId };
}

function decode(value: Uint8Array): string | undefined {
  try {
    return utf8.decode(value);
  } catch {
    return undefined;
  }
}

function parseObject(text: string): Json | undefined {
  // Less text has no room for so many levels.
  if (text.length > 2 * MAX_DEPTH && opened(text) > MAX_DEPTH && depthOf(text) > MAX_DEPTH) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function opened(text: string): number {
  let count = 0;
  for (let at = text.indexOf('{'); at >= 0; at = text.indexOf('{', at + 1)) count++;
  for (let at = text.indexOf('['); at >= 0; at = text.indexOf('[', at + 1)) count++;
  return count;
}

function hasReadableFields(span: Json): boolean {
  const flag = span['is_segment'];
  const name = span['name'];
  return (
    (flag === undefined || flag === null || typeof flag === 'boolean') &&
    (name === undefined || name === null || typeof name === 'string') &&
    ['organization_id', 'retention_days'].every((key) => span[key] === undefined || Number.isInteger(span[key])) &&
    ['start_timestamp', 'end_timestamp', 'received'].every(
      (key) => span[key] === undefined || Number.isFinite(span[key]),
    )
  );
}

function readProjectId(id: unknown): string | undefined {
  if (typeof id === 'number') return Number.isSafeInteger(id) && id >= 0 ? String(id) : undefined;
  return typeof id === 'string' && /^\d{1,20}$/.test(id) ? id : undefined;
}

/** Of the output as well. */
export function readTraceId(id: unknown): string | undefined {
  if (typeof id !== 'string') return undefined;
  const hex = UUID.test(id) ? id.replaceAll('-', '') : id;
  return TRACE_ID.test(hex) ? hex.toLowerCase() : undefined;
}

function readSpanId(id: unknown): string | undefined {
  return typeof id === 'string' && SPAN_ID.test(id) ? id.toLowerCase() : undefined;
}

/** Null where it is absent, undefined where it is wrong. */
function readOptional(value: unknown, read: (value: unknown) => string | undefined): string | null | undefined {
  return value === undefined || value === null ? null : read(value);
}

function readSegmentId(attributes: unknown): string | null | undefined {
  if (attributes === undefined || attributes === null) return null;
  if (!isObject(attributes)) return undefined;
  const entry = attributes['sentry.segment.id'];
  if (entry === undefined || entry === null) return null;
  return isObject(entry) ? readSpanId(entry['value']) : undefined;
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
