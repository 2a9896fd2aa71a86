import { grouped } from '../summary.ts';
import type { Candidate, CandidateSettings, FirstPiece } from './candidate.ts';

/** What was read. */
export interface InputFacts {
  readonly spanCount: number;
  readonly refusedCount: number;
  readonly payloadBytes: number;
  /** Message time from its first span to its last. */
  readonly seconds: number;
  readonly segmentCount: number;
  /** Of them, those whose root is in the input: no others can come out whole. */
  readonly rootedCount: number;
}

interface Spread {
  readonly p50: number;
  readonly p95: number;
  readonly max: number;
}

/** How one set of settings did. */
export interface CandidateReport extends CandidateSettings {
  /** Share of the segments with a root that came out in one piece, with all of their spans. */
  readonly wholeShare: number;
  /** Pieces after the first of their segment, and the spans in them. */
  readonly laterPieceCount: number;
  readonly laterSpanCount: number;
  /** Spans that came out under the id of a segment that is none: part of another, whose link came too late. */
  readonly astraySpanCount: number;
  /** From the last span of a piece until it was due; and from the first. */
  readonly delaySeconds: Spread;
  readonly waitSeconds: Spread;
  /** Reckoned: see redis-model.ts. At the worst moment. */
  readonly redisPeakBytes: number;
  /** The same, of the whole input. */
  readonly scriptCallsPerThousandSpans: number;
  readonly payloadsPerThousandSpans: number;
}

export function reportOf(
  candidate: Candidate,
  truth: ReadonlyMap<number, FirstPiece>,
  spanCount: number,
): CandidateReport {
  const { settings, firstPieces, laterPieces, delaySeconds, waitSeconds, store } = candidate;
  let [whole, rooted] = [0, 0];
  for (const [number, segment] of truth) {
    if (!segment.rootSeen) continue;
    rooted += 1;
    const piece = firstPieces.get(number);
    if (piece?.rootSeen && piece.spanCount === segment.spanCount) whole += 1;
  }
  let [laterPieceCount, laterSpanCount, astraySpanCount] = [0, 0, 0];
  for (const [number, { spanCount: count }] of firstPieces) if (!truth.has(number)) astraySpanCount += count;
  for (const [number, later] of laterPieces) {
    if (!truth.has(number)) astraySpanCount += later.spanCount;
    else {
      laterPieceCount += later.pieceCount;
      laterSpanCount += later.spanCount;
    }
  }
  const perThousand = (count: number): number => (1_000 * count) / Math.max(1, spanCount);
  return {
    ...settings,
    wholeShare: rooted === 0 ? 1 : whole / rooted,
    laterPieceCount,
    laterSpanCount,
    astraySpanCount,
    delaySeconds: spreadOf(delaySeconds),
    waitSeconds: spreadOf(waitSeconds),
    redisPeakBytes: Math.round(store.peakBytes),
    scriptCallsPerThousandSpans: perThousand(store.scriptCalls),
    payloadsPerThousandSpans: perThousand(store.payloadCount),
  };
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

/** For people: what was read, a table, and what its columns are. */
export function formatSizes(input: InputFacts, reports: readonly CandidateReport[]): string[] {
  const { spanCount, refusedCount, payloadBytes, seconds, segmentCount, rootedCount } = input;
  const rate = seconds > 0 ? `, ${grouped(Math.round(spanCount / seconds))} spans/s` : '';
  const refused = refusedCount > 0 ? `, and ${grouped(refusedCount)} that are none` : '';
  const header = [
    'root',
    'timeout',
    'max age',
    'max bytes',
    'whole',
    'later',
    'astray',
    'delay',
    'wait',
    'wait p95',
    'Redis',
    'scripts',
  ];
  const rows = reports.map((report) => [
    `${report.rootTimeoutSeconds}s`,
    `${report.timeoutSeconds}s`,
    `${report.maxAgeSeconds}s`,
    size(report.maxSegmentBytes),
    percent(report.wholeShare),
    grouped(report.laterSpanCount),
    grouped(report.astraySpanCount),
    `${report.delaySeconds.p50.toFixed(1)}s`,
    `${report.waitSeconds.p50.toFixed(1)}s`,
    `${report.waitSeconds.p95.toFixed(1)}s`,
    size(report.redisPeakBytes),
    report.scriptCallsPerThousandSpans.toFixed(0),
  ]);
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => (row[i] as string).length)));
  const line = (row: readonly string[]) => row.map((cell, i) => cell.padStart(widths[i] as number)).join('  ');
  return [
    `${grouped(spanCount)} spans${refused}, ${size(payloadBytes)}, in ${seconds.toFixed(1)} s of message time${rate}`,
    `${grouped(segmentCount)} segments, ${grouped(rootedCount)} with their root in the input`,
    '',
    line(header),
    ...rows.map(line),
    '',
    'whole: of the segments with a root, those that came out in one piece. later: spans that came out in a further piece of',
    'their segment. astray: spans that came out under another segment id. delay: from the last span of a piece until it was',
    'due; wait: from its first; the median. Redis: used_memory at the worst moment, and scripts: calls per 1,000 spans, both',
    'reckoned (docs/size.md).',
  ];
}

/** For programs: one object. */
export function sizesJson(input: InputFacts, reports: readonly CandidateReport[]): string {
  const spread = ({ p50, p95, max }: Spread) => ({ p50, p95, max });
  return JSON.stringify({
    input: {
      spans: input.spanCount,
      refused: input.refusedCount,
      payload_bytes: input.payloadBytes,
      seconds: input.seconds,
      segments: input.segmentCount,
      segments_with_root: input.rootedCount,
    },
    candidates: reports.map((report) => ({
      root_timeout_seconds: report.rootTimeoutSeconds,
      timeout_seconds: report.timeoutSeconds,
      max_age_seconds: report.maxAgeSeconds,
      max_segment_bytes: report.maxSegmentBytes,
      whole_share: report.wholeShare,
      later_pieces: report.laterPieceCount,
      later_spans: report.laterSpanCount,
      astray_spans: report.astraySpanCount,
      delay_seconds: spread(report.delaySeconds),
      wait_seconds: spread(report.waitSeconds),
      redis_peak_bytes: report.redisPeakBytes,
      script_calls_per_1000_spans: report.scriptCallsPerThousandSpans,
      payloads_per_1000_spans: report.payloadsPerThousandSpans,
    })),
  });
}

function percent(share: number): string {
  // Not 100 % where one is missing.
  return `${(Math.floor(share * 10_000) / 100).toFixed(2)}%`;
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1_024 ** power;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[power]}`;
}
