import type { Span } from '@spanbuf/buffer';
import { LAYOUTS, type LayoutName } from '@spanbuf/store';
import { Chance } from './chance.ts';

/** What the committed offset says: that what lies below it is in the buffer, or that it is produced. */
export const MODES = ['buffered', 'flushed'] as const;
export type Mode = (typeof MODES)[number];

/** Everything that a seed decides before the first step. */
export interface Scenario {
  readonly layout: LayoutName;
  readonly mode: Mode;
  /** Whether there is a ledger: always where offsets wait for the flush. */
  readonly hasBooks: boolean;
  /** Whether nodes may be emptied: always where offsets wait for the flush. Elsewhere spans are lost then, and the books say which. */
  readonly mayLoseData: boolean;
  /** Layouts that a process may be started with besides. */
  readonly otherLayouts: readonly LayoutName[];
  readonly partitions: number;
  readonly consumers: number;
  readonly flushers: number;
  /** In the order in which they are sent. */
  readonly spans: readonly Span[];
  /** Steps until everything heals. */
  readonly steps: number;
  /** Part of the round trips that something happens to. */
  readonly faultRate: number;
  readonly dedupeWindowSeconds: number;
  readonly redisTtlSeconds: number;
  readonly leaseSeconds: number;
  readonly rootTimeoutSeconds: number;
  readonly timeoutSeconds: number;
  readonly maxAgeSeconds: number;
  readonly maxSegmentBytes: number;
  readonly maxMessageBytes: number;
}

/** Where a scenario is cut down, to show a failure with as little as possible. */
export interface Cut {
  /** Of the spans of the scenario, by index; absent: all. */
  readonly spans?: readonly number[];
  readonly consumers?: number;
  readonly flushers?: number;
  readonly steps?: number;
}

/** The log in which offsets count. */
export const SOURCE = 't';

const MIB = 1024 * 1024;

export function scenarioOf(seed: number, layout: LayoutName, mode: Mode, cut: Cut = {}): Scenario {
  const chance = new Chance(seed, 1);
  const partitions = chance.int(1, 3);
  const at = LAYOUTS.indexOf(layout);
  const near = LAYOUTS.filter((_, i) => Math.abs(i - at) === 1);
  const scenario = {
    layout,
    mode,
    otherLayouts: chance.is(0.25) ? (chance.is(0.5) ? near : LAYOUTS) : [],
    partitions,
    consumers: chance.int(1, 3),
    flushers: chance.int(1, 3),
    steps: chance.int(60, 350),
    faultRate: chance.pick([0, 0.02, 0.05, 0.05, 0.15]),
    dedupeWindowSeconds: chance.pick([0, 30, 120, 120]),
    redisTtlSeconds: chance.pick([30, 300, 86_400]),
    leaseSeconds: 10,
    rootTimeoutSeconds: 5,
    timeoutSeconds: 20,
    maxAgeSeconds: 60,
    maxSegmentBytes: chance.pick([300, 1_500, 10 * MIB, 10 * MIB]),
    maxMessageBytes: chance.pick([700, 10 * MIB, 10 * MIB]),
    hasBooks: chance.is(0.5) || mode === 'flushed',
    mayLoseData: chance.is(0.5) || mode === 'flushed',
  };
  const spans = spansOf(new Chance(seed, 2), partitions);
  return {
    ...scenario,
    mayLoseData: scenario.mayLoseData && scenario.hasBooks,
    consumers: cut.consumers ?? scenario.consumers,
    flushers: cut.flushers ?? scenario.flushers,
    steps: cut.steps ?? scenario.steps,
    spans: inLogs(cut.spans?.map((index) => spans[index] as Draft) ?? spans, partitions),
  };
}

/** A span before it has its place in a log. */
interface Draft {
  readonly projectId: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | null;
  readonly segmentId: string | null;
  readonly isSegmentSpan: boolean;
  readonly partition: number;
  readonly padBytes: number;
  /** Offsets before it that no message has. */
  readonly gap: number;
}

function spansOf(chance: Chance, partitions: number): Draft[] {
  const traces = Array.from({ length: chance.int(1, 4) }, (_, trace) => traceOf(chance, trace, partitions));
  // Some traces one after the other, some interleaved; some spans much later than the others of their trace.
  const keyed = traces.flatMap((spans) => {
    const start = chance.next() * 2;
    const length = chance.pick([0.1, 1, 2]);
    const late = chance.pick([0, 0, 0.2]);
    return spans.map((span, i) => ({
      span,
      at: start + (i / spans.length) * length + (chance.is(late) ? 2 : 0),
    }));
  });
  return keyed.sort((a, b) => a.at - b.at).map(({ span }) => span);
}

type Shape = 'chain' | 'star' | 'tree' | 'forest';

function traceOf(chance: Chance, trace: number, partitions: number): Draft[] {
  // Two projects may have the same trace id.
  const projectId = String(chance.int(1, 2));
  const traceId = digits(chance.is(0.3) ? 1 : trace + 1, 32);
  const shape = chance.pick<Shape>(['chain', 'star', 'tree', 'tree', 'forest']);
  const count = chance.is(0.1) ? chance.int(20, 60) : chance.int(1, 14);
  const home = chance.int(0, partitions - 1);
  const spread = chance.is(0.3);
  const nested = chance.pick([0, 0.15]);
  const known = chance.pick([0, 0, 0.2]);
  const spans = Array.from({ length: count }, (_, i): Draft => {
    const parent = parentOf(chance, shape, i);
    const isSegmentSpan = parent === undefined || chance.is(nested);
    return {
      projectId,
      traceId,
      spanId: idOf(trace, i),
      parentSpanId: parent === undefined ? null : idOf(trace, parent),
      // Known upstream: the root's id, which is no shortcut past a segment span.
      segmentId: !isSegmentSpan && nested === 0 && shape !== 'forest' && chance.is(known) ? idOf(trace, 0) : null,
      isSegmentSpan,
      partition: spread ? chance.int(0, partitions - 1) : home,
      padBytes: chance.is(0.1) ? chance.int(200, 400) : chance.int(0, 40),
      gap: chance.is(0.03) ? chance.int(1, 10) : 0,
    };
  });
  // A root that never comes.
  if (spans.length > 1 && chance.is(0.2)) spans.shift();
  const ordered = chance.pick([() => spans, () => spans.toReversed(), () => chance.shuffled(spans)])();
  // Other messages with ids that were there already.
  return ordered.flatMap((span) => (chance.is(0.05) ? [span, { ...span, padBytes: span.padBytes + 1 }] : [span]));
}

function parentOf(chance: Chance, shape: Shape, i: number): number | undefined {
  if (i === 0) return undefined;
  if (shape === 'chain') return i - 1;
  if (shape === 'star') return 0;
  if (shape === 'forest' && chance.is(0.3)) return undefined;
  return chance.int(0, i - 1);
}

function idOf(trace: number, i: number): string {
  return digits((trace + 1) * 0x100 + i, 16);
}

function digits(value: number, length: number): string {
  return value.toString(16).padStart(length, '0');
}

/** With offsets as they come; each payload says where it is from. */
function inLogs(drafts: readonly Draft[], partitions: number): Span[] {
  const ends = new Array<number>(partitions).fill(0);
  return drafts.map(({ padBytes, gap, ...draft }) => {
    const offset = (ends[draft.partition] as number) + gap;
    ends[draft.partition] = offset + 1;
    const payload = Buffer.from(
      JSON.stringify({ span_id: draft.spanId, at: `${draft.partition}/${offset}`, pad: 'x'.repeat(padBytes) }),
    );
    return { ...draft, payload, offset: BigInt(offset), source: SOURCE };
  });
}
