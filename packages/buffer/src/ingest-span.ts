import { SpanbufError } from '@spanbuf/keys';
import { z } from 'zod';
import { PROJECT_ID, type ScannedSpan, SEGMENT_ID, SPAN_ID, scanSpan, TRACE_ID } from './scan-span.ts';
import type { Span } from './span.ts';
import { isTooDeep, MAX_SPAN_DEPTH, type SplicePlaces } from './span-json.ts';

/** Default of `maxSpanBytes`: 10 MiB. */
export const DEFAULT_MAX_SPAN_BYTES = 10 * 1024 * 1024;

/** A message that is not a span. The input is at fault, so trying again does not help. */
export class InvalidSpanError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_SPAN';
  readonly retriable = false;
  /** All that is wrong, at least one. `path` is that of the field, empty for the message as a whole. */
  readonly problems: readonly SpanProblem[];

  constructor(problems: readonly SpanProblem[], options?: ErrorOptions) {
    super(`not a span: ${summary(problems)}`, options);
    this.problems = problems;
  }
}

/** One thing that is wrong with a message: one printable line of a few hundred characters, whatever the input. */
export interface SpanProblem {
  /** For example `attributes["sentry.segment.id"].value`. */
  readonly path: string;
  readonly problem: string;
}

const spanId = z.stringFormat('span id', SPAN_ID, 'must be 16 hex digits, not all zero').toLowerCase();
const wholeNumber = z.number('must be an integer').refine(Number.isInteger, 'must be an integer');
const finiteNumber = z.number('must be a finite number');

/**
 * What spanbuf relies on in a message of the input topic, the way JSON.parse reads it; all other fields may be anything.
 * Its output has ids in lower case, the trace id without dashes and the project id as a string.
 */
export const ingestSpanSchema = z.looseObject(
  {
    project_id: z.union(
      [z.int().nonnegative().transform(String), z.string().regex(PROJECT_ID)],
      'must be an integer from 0 or a string of 1 to 20 digits',
    ),
    trace_id: z
      .stringFormat('trace id', TRACE_ID, 'must be 32 hex digits or a UUID, not all zero')
      .transform((id) => id.replaceAll('-', '').toLowerCase()),
    span_id: spanId,
    parent_span_id: spanId.nullish(),
    is_segment: z.boolean('must be a boolean or null').nullish(),
    attributes: z
      .looseObject(
        { [SEGMENT_ID]: z.looseObject({ value: spanId }, 'must be an object or null').nullish() },
        'must be an object or null',
      )
      .nullish(),
    organization_id: wholeNumber.optional(),
    retention_days: wholeNumber.optional(),
    start_timestamp: finiteNumber.optional(),
    end_timestamp: finiteNumber.optional(),
    received: finiteNumber.optional(),
    name: z.string('must be a string or null').nullish(),
  },
  'must be a JSON object',
);

/** Where a message was read. */
export interface SpanOrigin {
  /** Kafka partition, an integer from 0. */
  readonly partition: number;
  /** Kafka offset; without it the span is never treated as a replay. */
  readonly offset?: bigint;
  /** The log in which `offset` counts, see {@link Span.source}. */
  readonly source?: string;
}

export interface IngestLimits {
  /** Most bytes of one message. Default: {@link DEFAULT_MAX_SPAN_BYTES}. */
  readonly maxSpanBytes?: number;
}

/**
 * Reads one message of the input topic.
 * @param payload - The message's value. The span keeps it, without a copy.
 * @throws {@link InvalidSpanError} with all its problems when it is not UTF-8, not a JSON object of at most
 * {@link MAX_SPAN_DEPTH} levels, longer than `maxSpanBytes`, or not what {@link ingestSpanSchema} accepts.
 * @remarks Cost: half of JSON.parse; more than that for a span that is out of the ordinary (one with escapes in its ids, for instance), and
 * several times as much for a message that is refused.
 */
export function parseIngestSpan(payload: Uint8Array, at: SpanOrigin, limits: IngestLimits = {}): Span {
  const maxSpanBytes = limits.maxSpanBytes ?? DEFAULT_MAX_SPAN_BYTES;
  if (payload.length > maxSpanBytes) throw refusal(`is ${payload.length} bytes long, more than ${maxSpanBytes}`);
  return new IngestedSpan(scanSpan(payload) ?? readBySchema(readPayload(payload)), payload, at);
}

// A byte order mark is kept so that JSON.parse refuses it: it could not be part of an array of spans.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readPayload(payload: Uint8Array): unknown {
  // Before JSON.parse, which would build a value for each level first.
  if (isTooDeep(payload)) throw refusal(`has more than ${MAX_SPAN_DEPTH} levels of objects and arrays`);
  let text: string;
  try {
    text = utf8.decode(payload);
  } catch (cause) {
    throw refusal('is not UTF-8', cause);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    // The engine's message quotes some 20 characters of the input; the rest of it is of fixed length.
    const reason = cause instanceof Error ? cause.message.slice(0, 100) : String(cause);
    throw refusal(`is not JSON: ${printable(reason)}`, cause);
  }
}

function readBySchema(value: unknown): ScannedSpan {
  const result = ingestSpanSchema.safeParse(value);
  if (!result.success) throw new InvalidSpanError(result.error.issues.map((issue) => problemOf(issue, value)));
  const { data } = result;
  const organizationId = data.organization_id;
  return {
    projectId: data.project_id,
    traceId: data.trace_id,
    spanId: data.span_id,
    parentSpanId: data.parent_span_id ?? null,
    segmentId: data.attributes?.[SEGMENT_ID]?.value ?? null,
    isSegment: data.is_segment === true,
    // JSON.parse has rounded one that is larger: it may be that of another organisation now.
    organizationId: Number.isSafeInteger(organizationId) ? String(organizationId) : undefined,
    places: undefined,
  };
}

/** A span whose payload was read here, so that nobody needs to read it once more to know that it can be flushed. */
class IngestedSpan implements Span {
  /** What {@link spliceSpan} needs to know; undefined when it has to look for itself. */
  readonly #places: SplicePlaces | undefined;
  readonly projectId: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | null;
  readonly segmentId: string | null;
  readonly isSegmentSpan: boolean;
  declare readonly organizationId?: string;
  readonly payload: Uint8Array;
  readonly partition: number;
  declare readonly offset?: bigint;
  declare readonly source?: string;

  constructor(read: ScannedSpan, payload: Uint8Array, at: SpanOrigin) {
    this.projectId = read.projectId;
    this.traceId = read.traceId;
    this.spanId = read.spanId;
    this.parentSpanId = read.parentSpanId;
    this.segmentId = read.segmentId;
    this.isSegmentSpan = read.isSegment || read.parentSpanId === null;
    if (read.organizationId !== undefined) this.organizationId = read.organizationId;
    this.payload = payload;
    this.#places = read.places;
    this.partition = at.partition;
    if (at.offset !== undefined) this.offset = at.offset;
    if (at.source !== undefined) this.source = at.source;
  }

  static is(span: Span): boolean {
    return #places in span;
  }

  static placesOf(span: Span): SplicePlaces | undefined {
    return #places in span ? span.#places : undefined;
  }
}

/** Whether {@link parseIngestSpan} made the span: then its ids, its flag and its payload are as they should be. */
export function isIngested(span: Span): boolean {
  return IngestedSpan.is(span);
}

/** Where a span of {@link parseIngestSpan} is to be changed, as far as that is known. */
export function placesOf(span: Span): SplicePlaces | undefined {
  return IngestedSpan.placesOf(span);
}

/**
 * What would keep a span from being written into a message. Free for spans of {@link parseIngestSpan}; for others it
 * costs a JSON.parse.
 */
export function checkPayload(span: Span): SpanProblem[] {
  if (IngestedSpan.is(span)) return [];
  const { payload } = span;
  if (!(payload instanceof Uint8Array)) return [{ path: 'payload', problem: 'must be bytes' }];
  try {
    const value = readPayload(payload);
    const isWritable = isObject(value) && (isAbsent(value.attributes) || isObject(value.attributes));
    return isWritable
      ? []
      : [{ path: 'payload', problem: 'must be a JSON object whose attributes are an object or null' }];
  } catch (error) {
    if (!(error instanceof InvalidSpanError)) throw error;
    return error.problems.map(({ problem }) => ({ path: 'payload', problem }));
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

function refusal(problem: string, cause?: unknown): InvalidSpanError {
  return new InvalidSpanError([{ path: '', problem }], { cause });
}

function problemOf(issue: z.core.$ZodIssue, value: unknown): SpanProblem {
  const [path, found] = lookUp(issue.path, value);
  return { path, problem: `${issue.message}, is ${describe(found)}` };
}

/** The path as it would stand in JavaScript, and what is there. */
function lookUp(keys: readonly PropertyKey[], value: unknown): [path: string, found: unknown] {
  let path = '';
  let found = value;
  for (const key of keys.map(String)) {
    path += /^\w+$/.test(key) ? `${path === '' ? '' : '.'}${key}` : `[${JSON.stringify(key)}]`;
    found = isObject(found) ? found[key] : undefined;
  }
  return [path, found];
}

const EXCERPT_CHARACTERS = 60;

function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return String(value);
  const excerpt = printable(JSON.stringify(value.slice(0, EXCERPT_CHARACTERS)));
  return value.length > EXCERPT_CHARACTERS ? `${excerpt}… of ${value.length} characters` : excerpt;
}

/** Hostile text without what could forge or hide a log line. */
function printable(text: string): string {
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** So that a message with many problems still makes one line. */
const SUMMARISED_PROBLEMS = 4;

function summary(problems: readonly SpanProblem[]): string {
  const shown = problems.slice(0, SUMMARISED_PROBLEMS);
  const line = shown.map(({ path, problem }) => (path === '' ? `it ${problem}` : `${path} ${problem}`)).join('; ');
  const more = problems.length - shown.length;
  return more === 0 ? line : `${line}; and ${more} more`;
}
