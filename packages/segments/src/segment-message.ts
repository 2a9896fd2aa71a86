import { isId } from '@spanbuf/keys';
import { InvalidSegmentMessageError } from './errors.ts';
import { spanTexts } from './span-texts.ts';

/** As Kafka clients give headers: bytes or text, an array where one occurs several times. */
export type SegmentHeaders = Readonly<Record<string, HeaderValue | readonly HeaderValue[] | undefined>>;
export type HeaderValue = Uint8Array | string;

/** A message of the output topic: what is in it, and what its headers say (docs/output.md). */
export interface SegmentPart {
  /** 32 hex digits. Two messages with the same id hold the same spans. */
  readonly flushId: string;
  readonly projectId: string;
  readonly traceId: string;
  /** Id of the root span, which may be missing. */
  readonly segmentId: string;
  /** From 1: what was flushed first, then what came later. */
  readonly generation: number;
  /** Which message of how many of this generation, from 1. */
  readonly part: number;
  readonly parts: number;
  /** Why it was flushed: `root-idle`, `idle`, `max-age`, `max-bytes`, `drain`. More may be added. */
  readonly reason: string;
  /** Whether the root span had arrived when it was flushed. */
  readonly rootSeen: boolean;
  /** Parents that spans of this generation name and that are not in it. */
  readonly missingParentCount: number;
  /** Spans of this generation that Redis lost. */
  readonly lostSpanCount: number;
  /** Message time of the first and the last span of this generation, Unix seconds. */
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** JSON text of each span, as it came. `JSON.parse` gives the object, with big integers rounded. The root comes first. */
  readonly spans: readonly string[];
  /** Whether the first of `spans` is the root. */
  readonly holdsRoot: boolean;
}

/**
 * Reads a message of the output topic.
 * @throws {@link InvalidSegmentMessageError} when it is not one.
 * @remarks Cost: one `JSON.parse` of the value and one pass over its text.
 */
export function parseSegmentMessage(message: {
  readonly value: Uint8Array | null;
  readonly headers: SegmentHeaders;
}): SegmentPart {
  const text = readText(message.value);
  const { flushId, first, count } = readValue(text);
  const header = (name: string) => readHeader(message.headers, name);
  const part: SegmentPart = {
    flushId,
    projectId: header('project-id'),
    traceId: header('trace-id'),
    segmentId: header('segment-id'),
    generation: readCount(message.headers, 'generation', 1),
    part: readCount(message.headers, 'part', 1),
    parts: readCount(message.headers, 'parts', 1),
    reason: header('reason'),
    rootSeen: header('root-seen') === 'true',
    missingParentCount: readCount(message.headers, 'missing-parents', 0),
    lostSpanCount: readCount(message.headers, 'lost-spans', 0),
    firstSeconds: readSeconds(message.headers, 'first-seconds'),
    lastSeconds: readSeconds(message.headers, 'last-seconds'),
    spans: spanTexts(text),
    holdsRoot: first['is_segment'] === true,
  };
  const problems = [
    !isId('projectId', part.projectId) && 'spanbuf-project-id is no project id',
    !isId('traceId', part.traceId) && 'spanbuf-trace-id is no trace id',
    !isId('spanId', part.segmentId) && 'spanbuf-segment-id is no span id',
    header('flush-id') !== flushId && 'spanbuf-flush-id is not the flush_id of the value',
    part.part > part.parts && 'spanbuf-part is above spanbuf-parts',
    readCount(message.headers, 'span-count', 1) !== count && 'spanbuf-span-count is not the number of its spans',
  ].filter((problem) => problem !== false);
  if (problems.length > 0) throw new InvalidSegmentMessageError(`not a segment message: ${problems.join('; ')}`);
  return part;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });
const FLUSH_ID = /^[0-9a-f]{32}$/;
const COUNT = /^\d{1,15}$/;

function readText(value: Uint8Array | null): string {
  if (value === null) throw new InvalidSegmentMessageError('not a segment message: it has no value');
  try {
    return UTF8.decode(value);
  } catch (cause) {
    throw new InvalidSegmentMessageError('not a segment message: its value is not UTF-8', { cause });
  }
}

function readValue(text: string): { flushId: string; first: Record<string, unknown>; count: number } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InvalidSegmentMessageError('not a segment message: its value is not JSON', { cause });
  }
  if (!isObject(value)) throw new InvalidSegmentMessageError('not a segment message: its value is not an object');
  const { flush_id: flushId, spans } = value;
  if (typeof flushId !== 'string' || !FLUSH_ID.test(flushId))
    throw new InvalidSegmentMessageError('not a segment message: its flush_id is not 32 hex digits');
  if (!Array.isArray(spans) || !isObject(spans[0]) || !spans.every(isObject))
    throw new InvalidSegmentMessageError('not a segment message: its spans are not an array of one or more objects');
  return { flushId, first: spans[0], count: spans.length };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readHeader(headers: SegmentHeaders, name: string): string {
  const value = headers[`spanbuf-${name}`];
  const single = typeof value === 'string' || value instanceof Uint8Array ? value : value?.[0];
  if (single === undefined) throw new InvalidSegmentMessageError(`not a segment message: no header spanbuf-${name}`);
  return typeof single === 'string' ? single : Buffer.from(single).toString();
}

function readCount(headers: SegmentHeaders, name: string, least: number): number {
  const text = readHeader(headers, name);
  if (COUNT.test(text) && Number(text) >= least) return Number(text);
  throw new InvalidSegmentMessageError(`not a segment message: spanbuf-${name} is not an integer from ${least}`);
}

function readSeconds(headers: SegmentHeaders, name: string): number {
  const text = readHeader(headers, name);
  if (text.trim() !== '' && Number.isFinite(Number(text))) return Number(text);
  throw new InvalidSegmentMessageError(`not a segment message: spanbuf-${name} is not a number`);
}
