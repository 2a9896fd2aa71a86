import type { PlannedSpan } from './span-text.ts';

/** Turns the JSON of a span into the value of a message that is not a span; null is a tombstone. */
type Break = (text: string, span: PlannedSpan) => Buffer | string | null;

/** More levels than any reader takes. */
const TOO_DEEP = 5_000;

/** Every way in which a message can fail to be a span. */
export const INVALID_KINDS = {
  'not JSON': () => 'GET /products/7 took 12 ms',
  cut: (text) => text.slice(0, text.length >> 1),
  'not UTF-8': (text) => {
    const value = Buffer.from(text);
    // In the middle of the attributes, which are strings for the most part: a byte that UTF-8 does not have.
    value[value.indexOf('"value":"') + 9] = 0xff;
    return value;
  },
  empty: () => '',
  tombstone: () => null,
  array: (text) => `[${text}]`,
  'too deep': (text) => setField(text, 'links', `${'['.repeat(TOO_DEEP)}${']'.repeat(TOO_DEEP)}`),
  'span id not hex': (text) => setField(text, 'span_id', '"0123456789abcdeg"'),
  'span id of zeros': (text) => setField(text, 'span_id', `"${'0'.repeat(16)}"`),
  'trace id of zeros': (text) => setField(text, 'trace_id', `"${'0'.repeat(32)}"`),
  'key in the project id': (text) => setField(text, 'project_id', '"1:{0}"'),
  'key in the trace id': (text, { trace }) => setField(text, 'trace_id', `"${trace.traceId.slice(16)}}:{span-buf:q:0"`),
  'key in the span id': (text) => setField(text, 'span_id', '"}:span-buf:mk:{1"'),
  'key in the parent id': (text) => setField(text, 'parent_span_id', '"a\\r\\nDEL span-buf"'),
  'key in the segment id': (text) =>
    setField(text, 'attributes', '{"sentry.segment.id":{"type":"string","value":"span-buf:s:{1}"}}'),
  'no project id': (text) => setField(text, 'project_id', undefined),
  'no trace id': (text) => setField(text, 'trace_id', undefined),
  'no span id': (text) => setField(text, 'span_id', undefined),
  'span id a number': (text) => setField(text, 'span_id', '1234567890123456'),
  'is_segment a string': (text) => setField(text, 'is_segment', '"true"'),
  'attributes an array': (text) => setField(text, 'attributes', '[]'),
  'time a string': (text) => setField(text, 'start_timestamp', '"yesterday"'),
} as const satisfies Readonly<Record<string, Break>>;

export type InvalidKind = keyof typeof INVALID_KINDS;

/** Those that cannot be told from a blank line in a file. */
export const KINDS_WITHOUT_TEXT: readonly InvalidKind[] = ['empty', 'tombstone'];

/** The value of a broken message that is made from the JSON of a span. */
export function breakMessage(kind: InvalidKind, text: string, span: PlannedSpan): Buffer | null {
  const broken: Buffer | string | null = (INVALID_KINDS[kind] as Break)(text, span);
  return typeof broken === 'string' ? Buffer.from(broken) : broken;
}

/** The object with another JSON text, or none, for a field. Slow; there are few broken messages. */
function setField(text: string, field: string, value: string | undefined): string {
  const rest: Record<string, unknown> = JSON.parse(text);
  delete rest[field];
  const others = JSON.stringify(rest);
  return value === undefined ? others : `{${JSON.stringify(field)}:${value},${others.slice(1)}`;
}
