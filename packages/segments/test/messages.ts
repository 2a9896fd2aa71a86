import { createHash } from 'node:crypto';
import type { IncomingMessage } from '../src/index.ts';

export const TRACE = '0af7651916cd43dd8448eb211c80319c';

/** What a test says of a message; the rest is as if it were the whole of a first generation. */
export interface MessageFacts {
  readonly segmentId?: string;
  readonly generation?: number;
  readonly part?: number;
  readonly parts?: number;
  readonly rootSeen?: boolean;
  readonly lostSpans?: number;
  readonly firstSeconds?: number;
  readonly lastSeconds?: number;
}

export const id = (digits: string | number): string => `${digits}`.padStart(16, '0');

/** JSON text of a span, as it is in a message. */
export const span = (spanId: string, segmentId = id(1), name = ''): string =>
  `{"span_id":"${spanId}","name":"${name}","is_segment":${spanId === segmentId},"big":12345678901234567890}`;

/** A message of the output topic without its offset; the same facts and spans give the same flush id. */
export function message(spans: readonly string[], facts: MessageFacts = {}): Omit<IncomingMessage, 'offset'> {
  const { segmentId = id(1), generation = 1, part = 1, parts = 1, rootSeen = true, lostSpans = 0 } = facts;
  const { firstSeconds = 1_700_000_000, lastSeconds = firstSeconds + 5 } = facts;
  const identity = JSON.stringify([segmentId, generation, part, spans]);
  const flushId = createHash('sha256').update(identity).digest('hex').slice(0, 32);
  const tail = parts > 1 ? '],"skip_enrichment":true}' : ']}';
  return {
    value: Buffer.from(`{"flush_id":"${flushId}","spans":[${spans.join()}${tail}`),
    headers: {
      'spanbuf-flush-id': Buffer.from(flushId),
      'spanbuf-project-id': Buffer.from('7'),
      'spanbuf-trace-id': Buffer.from(TRACE),
      'spanbuf-segment-id': Buffer.from(segmentId),
      'spanbuf-generation': `${generation}`,
      'spanbuf-part': `${part}`,
      'spanbuf-parts': `${parts}`,
      'spanbuf-reason': 'root-idle',
      'spanbuf-root-seen': `${rootSeen}`,
      'spanbuf-missing-parents': '0',
      'spanbuf-span-count': `${spans.length}`,
      'spanbuf-lost-spans': `${lostSpans}`,
      'spanbuf-first-seconds': `${firstSeconds}`,
      'spanbuf-last-seconds': `${lastSeconds}`,
    },
  };
}
