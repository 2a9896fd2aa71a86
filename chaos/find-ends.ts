import { randomBytes } from 'node:crypto';
import type { Kafka, LogMessage } from '@spanbuf/kafka';
import { readTopic } from '@spanbuf/stack/read-topic';
import { type EndTime, type EndTimes, nameOfPosition, type Position } from './judge-ledger.ts';

export interface FindEndsOptions {
  readonly kafka: Kafka;
  readonly topics: { readonly input: string; readonly output: string; readonly deadLetters: string };
}

/**
 * When messages of the input came out first: in a segment, or as a dead letter. Those that are in neither topic are left out.
 * @throws What @spanbuf/kafka throws when a topic cannot be read.
 */
export async function findEnds({ kafka, topics }: FindEndsOptions, positions: readonly Position[]): Promise<EndTimes> {
  const ends = new Map<string, EndTime>();
  if (positions.length === 0) return ends;
  const wanted = new Set(positions.map(nameOfPosition));
  /** By span: where it is in the input. */
  const spans = new Map<string, string>();
  const runId = randomBytes(4).toString('hex');
  const read = (topic: string, onMessage: (message: LogMessage) => void): Promise<void> =>
    readTopic(kafka, { topic, groupId: `spanbuf-ends-${runId}-${topic}` }, onMessage);
  const end = (position: string, by: EndTime['by'], { timestampMs }: LogMessage): void => {
    if (timestampMs < (ends.get(position)?.atMs ?? Number.POSITIVE_INFINITY))
      ends.set(position, { atMs: timestampMs, by });
  };
  await read(topics.input, (message) => {
    const position = nameOfPosition(message);
    const name = wanted.has(position) ? nameOfSpan(parsed(message)) : undefined;
    if (name !== undefined) spans.set(name, position);
  });
  await read(topics.output, (message) => {
    const { spans: produced } = parsed(message) as { spans?: readonly unknown[] };
    for (const span of produced ?? []) {
      const position = spans.get(nameOfSpan(span) ?? '');
      if (position !== undefined) end(position, 'flusher', message);
    }
  });
  await read(topics.deadLetters, (message) => {
    const { 'spanbuf-partition': partition, 'spanbuf-offset': offset } = message.headers;
    if (wanted.has(`${partition}/${offset}`)) end(`${partition}/${offset}`, 'consumer', message);
  });
  return ends;
}

function parsed({ value }: LogMessage): unknown {
  try {
    return JSON.parse(String(value));
  } catch {
    // Of the input some are broken on purpose.
    return {};
  }
}

/** `undefined` of what is no span. */
function nameOfSpan(span: unknown): string | undefined {
  const { project_id: project, trace_id: trace, span_id: id } = (span ?? {}) as Record<string, unknown>;
  return typeof trace === 'string' && typeof id === 'string'
    ? `${project}:${trace.replaceAll('-', '').toLowerCase()}:${id}`
    : undefined;
}
