/** Of promise 10 what `spanbuf generate` does not send: spans that are strange and come out all the same, and broken messages beside. */
import { randomBytes } from 'node:crypto';
import type { OutgoingMessage } from '@spanbuf/kafka';

const DEFAULT_MAX_SPAN_BYTES = 10 * 1024 * 1024;
const MAX_SPAN_DEPTH = 512;
const FAR_SECONDS = { 1970: 1, 2099: Date.UTC(2099) / 1_000 };

const newSpanId = () => randomBytes(8).toString('hex');

interface Trace {
  readonly key: string;
  span(fields?: Readonly<Record<string, unknown>>, timestampMs?: number): OutgoingMessage;
}

function newTrace(): Trace {
  const traceId = randomBytes(16).toString('hex');
  return {
    key: traceId,
    span: (fields = {}, timestampMs = Date.now()) => {
      const seconds = timestampMs / 1_000;
      const times = { start_timestamp: seconds, end_timestamp: seconds, received: seconds };
      const span = { project_id: 1, trace_id: traceId, span_id: newSpanId(), ...times, ...fields };
      return { key: traceId, value: Buffer.from(JSON.stringify(span)), timestampMs };
    },
  };
}

/** A root with two children, one of which is special. */
function family(special: (trace: Trace, parentId: string) => OutgoingMessage): OutgoingMessage[] {
  const trace = newTrace();
  const rootId = newSpanId();
  return [special(trace, rootId), trace.span({ parent_span_id: rootId }), trace.span({ span_id: rootId })];
}

/** Spans that have to come out, each group in one segment. Those of a group belong into one call of the producer. */
export function strangeSpans(): Readonly<Record<string, readonly OutgoingMessage[]>> {
  const [own, circle] = [newTrace(), newTrace()];
  const ownId = newSpanId();
  const [a, b, c] = [newSpanId(), newSpanId(), newSpanId()];
  const far = (year: keyof typeof FAR_SECONDS) => {
    const seconds = FAR_SECONDS[year];
    const fields = { start_timestamp: seconds, end_timestamp: seconds, received: seconds };
    return {
      [`fields from ${year}`]: family((trace, parent) => trace.span({ parent_span_id: parent, ...fields })),
      [`all of it from ${year}`]: family((trace, parent) =>
        trace.span({ parent_span_id: parent, ...fields }, seconds * 1_000),
      ),
    };
  };
  return {
    'a span that is its own parent': [
      own.span({ parent_span_id: ownId }),
      own.span({ span_id: ownId, parent_span_id: ownId }),
    ],
    // Seen by one batch, it is named after its smallest id; see docs/decisions/0004.
    'parents in a circle': [
      circle.span({ span_id: a, parent_span_id: c }),
      circle.span({ span_id: b, parent_span_id: a }),
      circle.span({ span_id: c, parent_span_id: b }),
    ],
    ...far(1970),
    ...far(2099),
    'as deep as it may be': family((trace, parent) =>
      trace.span({ parent_span_id: parent, links: levels(MAX_SPAN_DEPTH - 1) }),
    ),
    long: family((trace, parent) => trace.span({ parent_span_id: parent, name: randomBytes(350_000).toString('hex') })),
  };
}

/** Messages that are no spans, by a part of the reason why, with keys and headers of their own. */
export function refusedMessages(): ReadonlyMap<string, OutgoingMessage> {
  const { key, span } = newTrace();
  const headers = {
    traceparent: `00-${key}-${newSpanId()}-01`,
    twice: ['first', 'second'],
    'no value': undefined,
    empty: '',
    bytes: Buffer.from([0xff, 0xfe, 0x80]),
    // What the consumer says itself takes the place of it.
    'spanbuf-reason': 'none',
  };
  const broken: [string, Buffer][] = [
    ['is not JSON', Buffer.from('GET / took 12 ms')],
    [`more than ${DEFAULT_MAX_SPAN_BYTES}`, tooLong(span())],
    [`more than ${MAX_SPAN_DEPTH} levels`, span({ links: levels(MAX_SPAN_DEPTH) }).value as Buffer],
    [
      'start_timestamp',
      Buffer.from(String(span().value).replace(/"start_timestamp":[^,]+/, '"start_timestamp":1e999')),
    ],
  ];
  return new Map(broken.map(([reason, value], i) => [reason, { key: `key ${i}`, value, headers }]));
}

/** So many arrays inside each other. */
function levels(count: number): unknown {
  return JSON.parse('['.repeat(count) + ']'.repeat(count));
}

/** By a byte. Compressed it is short, so that a broker takes it. */
function tooLong({ value }: OutgoingMessage): Buffer {
  return Buffer.concat([value as Buffer, Buffer.alloc(DEFAULT_MAX_SPAN_BYTES + 1 - (value?.length ?? 0), ' ')]);
}
