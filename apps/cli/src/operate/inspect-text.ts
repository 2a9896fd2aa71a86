import type { InspectedPayload, InspectedSegment, InspectedTrace, Wait } from '@spanbuf/store';
import { printable } from '../reporter.ts';
import { grouped } from '../summary.ts';
import { durationText, timeText } from './quantities.ts';
import { formatSpanTree, missingParentsOf } from './span-tree.ts';
import { formatTable } from './text-table.ts';

/** Lines of one segment; who wants all of a large one asks for JSON. */
const TREE_LINES = 200;
const PAYLOAD_LINES = 20;
/** What stands in the place of a node that nobody knows. */
const NO_NODE = '(no node)';

/** The trace, then what is held of it. */
export function formatInspected(trace: InspectedTrace, at: { readonly sliceId: number | undefined }): string[] {
  const { segments, isWhole, unreadableFields } = trace;
  const count = (state: InspectedSegment['state']): number => segments.filter((each) => each.state === state).length;
  const states = (['live', 'sealed', 'parked'] as const).flatMap((state) =>
    count(state) > 0 ? `${grouped(count(state))} ${state}` : [],
  );
  return [
    `trace ${trace.traceId} of project ${trace.projectId}`,
    `  key    ${trace.key}`,
    `  node   ${trace.node ?? NO_NODE}, ${grouped(trace.fieldCount)} fields, ${trace.ttlSeconds < 0 ? 'without a time to live' : `expires in ${durationText(trace.ttlSeconds)}`}`,
    `  holds  ${segments.length === 0 ? 'nothing: what came was flushed, and it stays known until it expires' : states.join(', ')}`,
    ...(isWhole || unreadableFields.length > 0
      ? []
      : ['  note   it changed meanwhile, or has too many fields: there may be more']),
    ...unreadableFields.map((field) => `  note   its field ${printable(field)} cannot be read by this version`),
    ...segments.flatMap((segment) => ['', ...formatSegment(segment, trace, at.sliceId)]),
  ];
}

function formatSegment(segment: InspectedSegment, trace: InspectedTrace, sliceId: number | undefined): string[] {
  const { segmentId, generation, shard, state, sealReason, payloads, payloadCount, missingEntryCount } = segment;
  const spans = payloads.flatMap((payload) => payload.spans);
  const missing = missingParentsOf(spans);
  const unread = segment.spanCount - spans.length;
  const sealed = sealReason === undefined ? '' : ` for ${sealReason}`;
  return [
    `segment ${segmentId}, generation ${generation}: ${state === 'parked' ? `parked, sealed${sealed}` : `${state}${sealed}`}`,
    `  why      ${waitText(segment, trace, sliceId)}`,
    ...(segment.tries > 0
      ? [`  tries    it could not be produced ${times(segment.tries)}; the third time it is parked`]
      : []),
    `  shard    ${shard}`,
    `  spans    ${grouped(segment.spanCount)}, ${grouped(segment.payloadBytes)} bytes, from ${timeText(segment.firstSeconds)} to ${timeText(segment.lastSeconds)}`,
    `  root     ${segment.rootSeen ? 'has come' : 'has not come'}`,
    `  parents  ${missing.length === 0 ? 'none is missing' : `${grouped(missing.length)} missing`}${unread > 0 ? `, as far as was read: ${grouped(spans.length)} of ${grouped(segment.spanCount)} spans` : ''}`,
    `  payloads ${grouped(payloadCount)}${nodesText(payloads)}`,
    ...(missingEntryCount > 0 && trace.isWhole
      ? [`    ${grouped(missingEntryCount)} are not in its lists any more: their spans are lost`]
      : []),
    ...formatPayloads(payloads, payloadCount - missingEntryCount).map((line) => `    ${line}`),
    '  tree',
    ...formatSpanTree(spans, TREE_LINES, whereaboutsIn(segment, trace)).map((line) => `    ${line}`),
  ];
}

function times(count: number): string {
  return count === 1 ? 'once' : count === 2 ? 'twice' : `${count} times`;
}

/** Why it is not flushed yet. */
function waitText({ wait, shard }: InspectedSegment, trace: InspectedTrace, sliceId: number | undefined): string {
  const backstop = (seconds: number): string => `by the wall clock at ${timeText(seconds)} at the latest`;
  switch (wait.kind) {
    case 'not-due':
      return `not due yet: ${durationText(wait.dueSeconds - wait.messageSeconds)} of message time to go, until ${timeText(wait.dueSeconds)}; ${backstop(wait.backstopSeconds)}`;
    case 'held-back':
      return `held back by clocks: due at ${timeText(wait.dueSeconds)}, and the clock of shard ${shard} stands at ${timeText(wait.messageSeconds)}, as ${causeText(wait)}; ${backstop(wait.backstopSeconds)}`;
    case 'due': {
      const since =
        wait.dueSeconds === undefined
          ? 'to be taken at once'
          : `due for ${durationText(wait.messageSeconds - wait.dueSeconds)} of message time`;
      const due = trace.shards.find((each) => each.shard === shard)?.dueCount ?? 0;
      const { liveFlushers: flushers } = trace;
      const whom =
        flushers === 0
          ? 'and no flusher is alive'
          : `and waits for a flusher: ${flushers} alive, ${grouped(due)} due in its shard`;
      return `${since}, ${whom}`;
    }
    case 'leased': {
      const leftSeconds = wait.untilSeconds - wait.nowSeconds;
      const until = timeText(wait.untilSeconds);
      return leftSeconds > 0
        ? `leased by a flusher until ${until}, for another ${durationText(leftSeconds)}`
        : `its lease ended at ${until}, ${durationText(-leftSeconds)} ago: whichever flusher comes next takes it again`;
    }
    case 'parked':
      return `parked at ${timeText(wait.parkedSeconds)}: ${printable(wait.reason)}`;
    case 'not-queued':
      return `in no queue of ${sliceId === undefined ? 'the deployment without a slice' : `slice ${sliceId}`}: it is another one's (--slice), or its entry was lost (spanbuf audit --repair)`;
    case 'outdated':
      return `of epoch ${wait.epoch}, and it is epoch ${wait.currentEpoch} by now: it counts as lost, and is read from the input again`;
  }
}

function causeText({ cause }: Extract<Wait, { kind: 'held-back' }>): string {
  switch (cause.kind) {
    case 'backlog':
      return `its consumer works off a backlog, ${durationText(cause.behindSeconds)} behind`;
    case 'other-partitions':
      return `it waits ${durationText(cause.waitSeconds)} for partitions that are further behind`;
    case 'silent-consumer':
      return `its consumer was last heard of ${durationText(cause.silentSeconds)} ago`;
  }
}

/** ` on 127.0.0.1:7001 (3), 127.0.0.1:7002 (4)` */
function nodesText(payloads: readonly InspectedPayload[]): string {
  const counts = new Map<string, number>();
  for (const { places } of payloads)
    for (const { node = NO_NODE } of places) counts.set(node, (counts.get(node) ?? 0) + 1);
  const nodes = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([node, count]) => `${node} (${grouped(count)})`);
  return nodes.length === 0 ? '' : ` on ${nodes.join(', ')}`;
}

function formatPayloads(payloads: readonly InspectedPayload[], count: number): string[] {
  const shown = payloads.slice(0, PAYLOAD_LINES);
  const rows = shown.flatMap((payload) =>
    payload.places.map((place, i) => [
      place.node ?? NO_NODE,
      place.bytes === 0 ? 'GONE' : grouped(place.bytes),
      i === 0 ? spansText(payload) : '',
      `${place.key}${place.field === undefined ? '' : ` ${place.field}`}`,
    ]),
  );
  if (rows.length === 0) return [];
  const table = formatTable(
    [{ head: 'NODE' }, { head: 'BYTES', isNumber: true }, { head: 'SPANS', isNumber: true }, { head: 'KEY' }],
    rows,
  );
  const left = count - shown.length;
  const all = payloads.length < count ? '--payloads N and --json show more' : '--json shows all';
  return left > 0 ? [...table, `… and ${grouped(left)} more: ${all}`] : table;
}

function spansText({ state, spans }: InspectedPayload): string {
  return state === 'read'
    ? grouped(spans.length)
    : state === 'gone'
      ? '-'
      : state === 'unreadable'
        ? 'UNREADABLE'
        : 'not read';
}

/** What is known of a parent that is not in a segment. */
function whereaboutsIn(segment: InspectedSegment, { segments }: InspectedTrace): (spanId: string) => string {
  const others = new Map<string, InspectedSegment>();
  for (const other of segments)
    if (other !== segment)
      for (const { spans } of other.payloads) for (const { spanId } of spans) others.set(spanId, other);
  return (spanId) => {
    const other = others.get(spanId);
    if (other !== undefined)
      return other.segmentId === segment.segmentId
        ? `it is in generation ${other.generation}`
        : `it is in segment ${other.segmentId}`;
    if (spanId !== segment.segmentId) return '';
    return segment.rootSeen ? 'the root, which went out with an earlier generation' : 'the root, which has not come';
  };
}
