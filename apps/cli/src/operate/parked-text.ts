import type { ParkedContents, ParkedGeneration, StoredSpan } from '@spanbuf/store';
import { printable } from '../reporter.ts';
import { grouped } from '../summary.ts';
import { formatParkedName } from './parked-name.ts';
import { timeText } from './quantities.ts';
import { formatSpanTree } from './span-tree.ts';
import { formatTable } from './text-table.ts';

/** Lines of a tree; who wants all of a large segment asks for JSON. */
const TREE_LINES = 200;
const REASON_CHARACTERS = 80;

/** A table, the longest parked first. */
export function formatParkedList(parked: readonly ParkedGeneration[]): string[] {
  const columns = [
    { head: 'PARKED' },
    { head: 'SHARD', isNumber: true },
    { head: 'SPANS', isNumber: true },
    { head: 'BYTES', isNumber: true },
    { head: 'NAME' },
    { head: 'REASON' },
  ];
  return formatTable(
    columns,
    parked.map((one) => [
      timeText(one.parkedSeconds),
      `${one.shard}`,
      grouped(one.spanCount),
      grouped(one.payloadBytes),
      formatParkedName(one),
      shortened(printable(one.reason)),
    ]),
  );
}

/** What is known of one, and its spans as a tree. */
export function formatParked(one: ParkedGeneration, { spans, unreadable }: ParkedContents): string[] {
  const missing = one.spanCount - spans.length;
  const tree = formatSpanTree(spans, TREE_LINES);
  return [
    formatParkedName(one),
    `  parked  ${timeText(one.parkedSeconds)}, in shard ${one.shard}`,
    `  reason  ${printable(one.reason)}`,
    `  spans   ${grouped(one.spanCount)}, ${grouped(one.payloadBytes)} bytes${missing > 0 ? `; ${grouped(missing)} are not there or cannot be read` : ''}`,
    ...unreadable.map(({ message }) => `  cannot be read: ${printable(message)}`),
    ...tree.map((line) => `    ${line}`),
  ];
}

/** One line of `--json`. */
export function parkedJson(one: ParkedGeneration): Buffer {
  return Buffer.from(JSON.stringify(factsOf(one)));
}

/** The same with its spans; their payloads as they were received. */
export function parkedContentsJson(one: ParkedGeneration, { spans, unreadable }: ParkedContents): Buffer {
  const facts = JSON.stringify({ ...factsOf(one), unreadable: unreadable.map(({ message }) => message) });
  const parts: Uint8Array[] = [Buffer.from(`${facts.slice(0, -1)},"spans":[`)];
  for (const [i, span] of spans.entries()) {
    const { spanId, parentId, partition, source, offset } = span;
    // An offset may be more than a number of JSON can hold.
    const own = { span_id: spanId, parent_id: parentId, partition, source, offset: offset?.toString() };
    parts.push(Buffer.from(`${i === 0 ? '' : ','}${JSON.stringify(own).slice(0, -1)},"payload":`));
    parts.push(payloadJson(span), Buffer.from('}'));
  }
  parts.push(Buffer.from(']}'));
  return Buffer.concat(parts);
}

function factsOf(one: ParkedGeneration) {
  return {
    name: formatParkedName(one),
    project_id: one.projectId,
    trace_id: one.traceId,
    segment_id: one.segmentId,
    generation: one.generation,
    shard: one.shard,
    span_count: one.spanCount,
    payload_bytes: one.payloadBytes,
    reason: one.reason,
    parked_seconds: one.parkedSeconds,
  };
}

/** As it is, on one line; a string in base64 where it is not JSON. */
function payloadJson({ payload }: StoredSpan): Buffer {
  const bytes = Buffer.from(payload);
  try {
    JSON.parse(bytes.toString());
  } catch {
    return Buffer.from(JSON.stringify(bytes.toString('base64')));
  }
  // Outside of strings alone: inside, JSON has no line ends.
  return Buffer.from(bytes.map((byte) => (byte === LF || byte === CR ? SPACE : byte)));
}

const [LF, CR, SPACE] = [10, 13, 32] as const;

function shortened(text: string): string {
  return text.length > REASON_CHARACTERS ? `${text.slice(0, REASON_CHARACTERS)}…` : text;
}
