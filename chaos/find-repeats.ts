import { randomBytes } from 'node:crypto';
import type { Kafka, LogMessage } from '@spanbuf/kafka';
import { readTopic } from '@spanbuf/stack/read-topic';

/** A span that came out under more than one flush id. */
export interface Repeat {
  /** `project:trace:span` */
  readonly span: string;
  /** When it came out first, Unix milliseconds by the clock of the broker. */
  readonly firstMs: number;
}

interface Seen {
  flushId: string;
  firstMs: number;
  isRepeated: boolean;
}

/**
 * All of them.
 * @throws What @spanbuf/kafka throws when the topic cannot be read.
 * @remarks Holds some 200 bytes for each span of the output.
 */
export async function findRepeats(kafka: Kafka, outputTopic: string): Promise<Repeat[]> {
  const seen = new Map<string, Seen>();
  const groupId = `spanbuf-repeats-${randomBytes(4).toString('hex')}`;
  await readTopic(kafka, { topic: outputTopic, groupId }, (message) => note(seen, message));
  return [...seen].filter(([, { isRepeated }]) => isRepeated).map(([span, { firstMs }]) => ({ span, firstMs }));
}

function note(seen: Map<string, Seen>, { value, timestampMs }: LogMessage): void {
  const { flush_id: flushId, spans } = JSON.parse(String(value)) as {
    flush_id: string;
    spans: readonly { project_id: number; trace_id: string; span_id: string }[];
  };
  for (const { project_id: project, trace_id: trace, span_id: id } of spans) {
    const span = `${project}:${trace}:${id}`;
    const known = seen.get(span);
    if (known === undefined) {
      seen.set(span, { flushId, firstMs: timestampMs, isRepeated: false });
    } else {
      known.firstMs = Math.min(known.firstMs, timestampMs);
      known.isRepeated ||= known.flushId !== flushId;
    }
  }
}
