import { hash } from 'node:crypto';
import type { SealedGeneration, StoredSpan } from '@spanbuf/store';
import { type Splice, splicedBytes, spliceSpan, writeSpliced } from './span-json.ts';

/** One message of the output topic. */
export interface SegmentMessage {
  /**
   * 32 hex digits computed from what the message holds: produced twice, it carries the same one. Never shared by two
   * messages that hold different spans, as long as no two spans have the same source, partition and offset.
   */
  readonly flushId: string;
  /** `{"flush_id": …, "spans": [ … ]}`, and `"skip_enrichment": true` where the segment had to be cut. */
  readonly value: Buffer;
  readonly spanCount: number;
}

const FLUSH_ID_DIGITS = 32;
const HEAD = '{"flush_id":"';
const SPANS = '","spans":[';
const TAIL = ']}';
const TAIL_OF_PART = '],"skip_enrichment":true}';
const COMMA = 0x2c;
const COMMA_BYTES = 1;

/** Bytes of a message besides the spans and the commas between them. */
const ENVELOPE_BYTES = HEAD.length + FLUSH_ID_DIGITS + SPANS.length + TAIL.length;
const PART_ENVELOPE_BYTES = ENVELOPE_BYTES - TAIL.length + TAIL_OF_PART.length;

interface SpanJson {
  readonly span: StoredSpan;
  readonly splice: Splice;
  readonly bytes: number;
}

/**
 * The messages of a sealed generation: one, or several that are each at most `maxMessageBytes` long unless they hold a
 * single span that is longer. Same spans, same messages: the spans stand in an order of their own, the root first.
 * @throws {@link UnreadableSpanError} when a payload is not a JSON object.
 * @remarks Cost: one copy of the payloads, a hash of those without an offset, and a scan of those whose `places` are not known.
 */
export function segmentMessages(
  generation: SealedGeneration,
  spans: readonly StoredSpan[],
  maxMessageBytes: number,
): SegmentMessage[] {
  const { segmentId } = generation;
  const parts = inMessageOrder(spans, segmentId).map((span): SpanJson => {
    const splice = spliceSpan(span.payload, { isSegment: span.spanId === segmentId, segmentId }, span.places);
    return { span, splice, bytes: splicedBytes(splice) };
  });
  const bytes = parts.reduce((sum, part) => sum + part.bytes + COMMA_BYTES, ENVELOPE_BYTES - COMMA_BYTES);
  if (bytes <= maxMessageBytes || parts.length === 1) return [buildMessage(generation, parts, 0, TAIL)];
  return cutParts(parts, maxMessageBytes).map((part, i) => buildMessage(generation, part, i, TAIL_OF_PART));
}

function cutParts(spans: readonly SpanJson[], maxMessageBytes: number): SpanJson[][] {
  const parts: SpanJson[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const span of spans) {
    bytes += COMMA_BYTES + span.bytes;
    if (bytes > maxMessageBytes) {
      parts.push([span]);
      bytes = PART_ENVELOPE_BYTES + span.bytes;
    } else {
      parts.at(-1)?.push(span);
    }
  }
  return parts;
}

function buildMessage(
  generation: SealedGeneration,
  spans: readonly SpanJson[],
  part: number,
  tail: string,
): SegmentMessage {
  const envelopeBytes = HEAD.length + FLUSH_ID_DIGITS + SPANS.length + tail.length;
  const bytes = spans.reduce((sum, span) => sum + span.bytes + COMMA_BYTES, envelopeBytes - COMMA_BYTES);
  const flushId = flushIdOf(generation, spans, part);
  const value = Buffer.allocUnsafe(bytes);
  let at = value.write(HEAD + flushId + SPANS, 'latin1');
  for (const { span, splice } of spans) {
    at = writeSpliced(span.payload, splice, value, at);
    value[at++] = COMMA;
  }
  // In the place of the last comma.
  at--;
  value.write(tail, at, 'latin1');
  return { flushId, value, spanCount: spans.length };
}

/**
 * Of the spans as received, not as written, so that it does not depend on the version that builds the message. A position stands
 * for what is there, as it does when replays are told apart; of spans without an offset the payloads themselves count.
 */
function flushIdOf(generation: SealedGeneration, spans: readonly SpanJson[], part: number): string {
  const { projectId, traceId, segmentId } = generation;
  let facts = `${projectId}:${traceId}:${segmentId}:${generation.generation}:${part}`;
  const payloads: Uint8Array[] = [];
  for (const { span } of spans) {
    const { source = '', partition, offset, payload } = span;
    facts += ` ${source}/${partition}/${offset ?? ''}:${payload.length}`;
    if (offset === undefined) payloads.push(payload);
  }
  const content = payloads.length === 0 ? facts : Buffer.concat([Buffer.from(facts), ...payloads]);
  return hash('sha256', content).slice(0, FLUSH_ID_DIGITS);
}

/** The root, then by id; spans with the same id by position, then by content. */
function inMessageOrder(spans: readonly StoredSpan[], segmentId: string): StoredSpan[] {
  const roots = spans.filter(({ spanId }) => spanId === segmentId).sort(compareSameId);
  const others = spans.filter(({ spanId }) => spanId !== segmentId);
  const ordered = others.length >= MANY_SPANS && others.length <= MOST_SPANS ? nearlyOrdered(others) : others;
  ordered.sort((a, b) => (a.spanId < b.spanId ? -1 : a.spanId > b.spanId ? 1 : compareSameId(a, b)));
  return roots.concat(ordered);
}

/** As many do not stay in the processor's cache while they are compared. */
const MANY_SPANS = 1_024;
const DIGITS = 8;
/** So many places beside so many digits are a number without loss. */
const MOST_SPANS = 2 ** (53 - 4 * DIGITS);

/** By the first digits of their ids, as numbers: sorting what is in order looks at each span once. */
function nearlyOrdered(spans: readonly StoredSpan[]): StoredSpan[] {
  const { length } = spans;
  const places = Float64Array.from(spans, ({ spanId }, i) => Number.parseInt(spanId.slice(0, DIGITS), 16) * length + i);
  return Array.from(places.sort(), (place) => spans[place % length] as StoredSpan);
}

function compareSameId(a: StoredSpan, b: StoredSpan): number {
  const [sourceA, sourceB] = [a.source ?? '', b.source ?? ''];
  if (sourceA !== sourceB) return sourceA < sourceB ? -1 : 1;
  if (a.partition !== b.partition) return a.partition - b.partition;
  const [offsetA, offsetB] = [a.offset ?? -1n, b.offset ?? -1n];
  if (offsetA !== offsetB) return offsetA < offsetB ? -1 : 1;
  return Buffer.compare(a.payload, b.payload);
}
