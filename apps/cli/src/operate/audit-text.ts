import type { AuditedBooks, AuditFinding, AuditReport, OffsetRange } from '@spanbuf/store';
import { printable } from '../reporter.ts';
import { grouped } from '../summary.ts';

/** Ranges of offsets on one line; who wants all asks for JSON. */
const RANGES_PRINTED = 10;
const PRODUCED = ['root-idle', 'idle', 'max-age', 'max-bytes', 'drain'];

/** A finding, and what became of it: two lines. */
export function formatFinding(finding: AuditFinding): string[] {
  const { kind, key, detail, spanCount, foundSpanCount, bytes, outcome, done } = finding;
  const facts = [
    ...(finding.shard === undefined ? [] : [`shard ${finding.shard}`]),
    ...(finding.projectId === undefined ? [] : [`project ${finding.projectId}`]),
    ...(finding.traceId === undefined ? [] : [`trace ${finding.traceId}`]),
    ...(finding.segmentId === undefined ? [] : [`segment ${finding.segmentId}`]),
    ...(spanCount === undefined || finding.offsets
      ? []
      : [`${grouped(spanCount)} ${spanCount === 1 ? 'span' : 'spans'}`]),
    ...(foundSpanCount === undefined ? [] : [`${grouped(foundSpanCount)} of them found`]),
    ...(bytes === undefined ? [] : [`${grouped(bytes)} bytes`]),
    ...(finding.offsets === undefined ? [] : [`offsets ${rangesOf(finding.offsets)}`]),
  ];
  const end = outcome === 'found' ? '' : `; ${outcome}: ${done}`;
  return [
    `${kind}  ${printable(key)}`,
    `  ${printable(detail)}${facts.length > 0 ? ` (${facts.join(', ')})` : ''}${end}`,
  ];
}

function rangesOf(ranges: readonly OffsetRange[]): string {
  const some = ranges
    .slice(0, RANGES_PRINTED)
    .map(({ from, to }) => (to - from === 1n ? `${from}` : `${from}-${to - 1n}`));
  return `${some.join(', ')}${ranges.length > some.length ? ', …' : ''}`;
}

/** The books, what was found in numbers, and what was looked at. */
export function formatReport(report: AuditReport): string[] {
  const { books, shards, counts, swept } = report;
  const holdings = shards.map(
    ({ shard, heldSpanCount, parkedSpanCount, generationCount }) =>
      `shard ${shard}: ${grouped(heldSpanCount)} spans held, ${grouped(parkedSpanCount)} parked, in ${grouped(generationCount)} segments`,
  );
  const found = counts.map(
    (count) => `${count.kind}: ${grouped(count.found)} found, ${grouped(count.repaired)} repaired`,
  );
  const looked = [
    `${grouped(swept.keys)} keys`,
    `${grouped(swept.traces)} traces`,
    `${grouped(swept.payloads)} payloads`,
    `${grouped(swept.queueEntries)} queue entries`,
  ].join(', ');
  return [
    ...(books.length > 0 ? books.flatMap(formatBooks) : ['no books: nothing says what was read']),
    ...holdings,
    ...(found.length > 0 ? found : ['nothing was found']),
    `looked at ${looked}`,
  ];
}

/** `in = out + …` */
function formatBooks(books: AuditedBooks): string[] {
  const { partition, source, baseOffset, takenOffset, counts, againCount } = books;
  const produced = PRODUCED.flatMap((reason) => termOf(counts.get(reason) ?? 0, reason));
  const others = [...counts].filter(([fate]) => !PRODUCED.includes(fate)).sort(([a], [b]) => (a < b ? -1 : 1));
  const terms = [
    ...produced,
    ...others.flatMap(([fate, count]) => termOf(count, printable(fate))),
    ...termOf(books.heldCount, 'held'),
    ...termOf(books.parkedCount, 'parked'),
    ...termOf(books.missingCount, 'missing'),
    ...termOf(books.movingCount, 'on the move'),
  ];
  const again = againCount > 0 ? `; ${grouped(againCount)} produced or told again` : '';
  const verdict = books.isBalanced ? 'balanced' : `NOT BALANCED: ${grouped(books.missingCount)} missing`;
  return [
    `partition ${partition}, source ${printable(source) || "''"}, offsets ${baseOffset} to ${takenOffset}: ${verdict}${again}`,
    `  ${grouped(Number(takenOffset - baseOffset))} in = ${terms.length > 0 ? terms.join(' + ') : '0'}`,
  ];
}

function termOf(count: number, name: string): string[] {
  return count === 0 ? [] : [`${grouped(count)} ${name}`];
}

/** A line of `--json`. Offsets are strings: they may be more than a number of JSON can hold. */
export function findingJson(finding: AuditFinding): Buffer {
  const { kind, outcome, done, key, detail, shard, source, bytes } = finding;
  return Buffer.from(
    JSON.stringify({
      type: 'finding',
      kind,
      outcome,
      done,
      key,
      detail,
      project_id: finding.projectId,
      trace_id: finding.traceId,
      segment_id: finding.segmentId,
      shard,
      span_count: finding.spanCount,
      found_span_count: finding.foundSpanCount,
      source,
      offsets: finding.offsets?.map(({ from, to }) => ({ from: `${from}`, to: `${to}` })),
      bytes,
    }),
  );
}

/** The last line of `--json`. */
export function reportJson({ isClean, books, shards, counts, swept }: AuditReport): Buffer {
  return Buffer.from(
    JSON.stringify({
      type: 'report',
      is_clean: isClean,
      books: books.map((each) => ({
        partition: each.partition,
        source: each.source,
        is_balanced: each.isBalanced,
        base_offset: `${each.baseOffset}`,
        taken_offset: `${each.takenOffset}`,
        first_open_offset: `${each.firstOpenOffset}`,
        in_count: Number(each.takenOffset - each.baseOffset),
        counts: Object.fromEntries(each.counts),
        open_count: each.openCount,
        held_count: each.heldCount,
        parked_count: each.parkedCount,
        missing_count: each.missingCount,
        moving_count: each.movingCount,
        again_count: each.againCount,
      })),
      shards: shards.map(({ shard, heldSpanCount, parkedSpanCount, generationCount }) => ({
        shard,
        held_span_count: heldSpanCount,
        parked_span_count: parkedSpanCount,
        generation_count: generationCount,
      })),
      counts,
      swept: { keys: swept.keys, traces: swept.traces, payloads: swept.payloads, queue_entries: swept.queueEntries },
    }),
  );
}
