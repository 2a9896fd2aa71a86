import { isId, MAX_SHARD } from '@spanbuf/keys';
import { checkPayload, isIngested, type SpanProblem } from './ingest-span.ts';
import type { Span } from './span.ts';

const MAX_OFFSET = 2n ** 63n - 1n;
const MAX_SOURCE_CHARACTERS = 256;

const NONE: readonly SpanProblem[] = [];

/** What keeps a span from being stored; nothing, as a rule. Cost: a JSON.parse, unless {@link parseIngestSpan} made the span. */
export function problemsOf(span: Span): readonly SpanProblem[] {
  if (isIngested(span) && isPartition(span.partition) && isOffset(span.offset) && isSource(span.source)) return NONE;
  const problems: SpanProblem[] = [];
  const check = (holds: boolean, path: string, problem: string): void => {
    if (!holds) problems.push({ path, problem });
  };
  check(isId('projectId', span.projectId), 'projectId', 'must be 1 to 64 of 0-9 A-Z a-z _ -');
  check(isId('traceId', span.traceId), 'traceId', 'must be 32 lower-case hex digits');
  check(isId('spanId', span.spanId), 'spanId', 'must be 16 lower-case hex digits');
  check(
    span.parentSpanId === null || isId('spanId', span.parentSpanId),
    'parentSpanId',
    'must be 16 lower-case hex digits or null',
  );
  check(
    span.segmentId === null || isId('spanId', span.segmentId),
    'segmentId',
    'must be 16 lower-case hex digits or null',
  );
  check(typeof span.isSegmentSpan === 'boolean', 'isSegmentSpan', 'must be a boolean');
  check(isPartition(span.partition), 'partition', `must be an integer from 0 to ${MAX_SHARD}`);
  check(isOffset(span.offset), 'offset', 'must be a bigint from 0 to 2^63 - 1');
  check(isSource(span.source), 'source', `must be a string of at most ${MAX_SOURCE_CHARACTERS} characters`);
  problems.push(...checkPayload(span));
  return problems;
}

function isPartition(partition: unknown): boolean {
  return Number.isInteger(partition) && (partition as number) >= 0 && (partition as number) <= MAX_SHARD;
}

function isOffset(offset: unknown): boolean {
  return offset === undefined || (typeof offset === 'bigint' && offset >= 0n && offset <= MAX_OFFSET);
}

function isSource(source: unknown): boolean {
  return source === undefined || (typeof source === 'string' && source.length <= MAX_SOURCE_CHARACTERS);
}
