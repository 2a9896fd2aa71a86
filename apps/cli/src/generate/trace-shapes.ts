import { OPERATIONS, type Role } from './operations.ts';
import type { Random } from './random.ts';
import type { PlannedSpan, TraceContext } from './span-text.ts';

/** A kind of trace. */
export interface TraceShape {
  readonly name: string;
  /** Percent of all traces. */
  readonly share: number;
  readonly description: string;
  readonly plan: (trace: TracePlan) => void;
}

const SECOND = 1_000_000;
/** From a span's end to its being sent. */
const SEND_DELAY_US = { least: 2_000, most: 40_000 };
/** Of traces whose spans write the trace id as a UUID. */
const UUID_SHARE = 0.05;
/** A span that comes late is sent so long after its segment's root. */
const LATE_SECONDS = { least: 3, most: 40 };

/** What to generate, by share. Sums up to 100. */
export const TRACE_SHAPES: readonly TraceShape[] = [
  {
    name: 'request',
    share: 56,
    description: 'one web request: a segment of 8 or 9 spans',
    plan: (trace) => planRequest(trace),
  },
  {
    name: 'services',
    share: 20,
    description: 'a request through 2 to 4 services: a segment each, of 5 to 11 spans, below a call of the one before',
    plan: (trace) => planServices(trace),
  },
  {
    name: 'known-segment',
    share: 8,
    description: 'a request whose spans carry their segment id already',
    plan: (trace) => planRequest(trace, { knowsSegment: true }),
  },
  { name: 'single', share: 8, description: 'a root alone', plan: (trace) => planSingle(trace) },
  {
    name: 'rootless',
    share: 2,
    description: 'a request whose root never comes',
    plan: (trace) => {
      const root = planRequest(trace);
      trace.spans.splice(trace.spans.indexOf(root), 1);
    },
  },
  {
    name: 'long',
    share: 3.5,
    description: 'a job of 15 to 40 seconds with a step every 1 to 6 seconds; its root comes last',
    plan: (trace) => planLong(trace),
  },
  {
    name: 'chain',
    share: 1.5,
    description: '40 to 150 spans, each the parent of the next',
    plan: (trace) => planChain(trace),
  },
  { name: 'wide', share: 1, description: '60 to 300 children of one root', plan: (trace) => planWide(trace) },
];

/** Plans one trace that begins at `startUs` (Unix microseconds). Its spans are in no order. */
export function planTrace(
  random: Random,
  options: { readonly startUs: number; readonly projectCount: number; readonly lateShare: number },
): PlannedSpan[] {
  const trace = new TracePlan(random, options);
  pickShape(random).plan(trace);
  const roots = trace.spans.filter((span) => span.isSegmentSpan);
  for (const root of roots) if (random.chance(options.lateShare)) planLateChild(trace, root);
  return trace.spans;
}

/** Plans a trace of one span. */
export function planSingleSpan(random: Random, options: { startUs: number; projectCount: number }): PlannedSpan {
  return planSingle(new TracePlan(random, options));
}

function pickShape(random: Random): TraceShape {
  let left = random.between(0, 100);
  for (const shape of TRACE_SHAPES) {
    if (left < shape.share) return shape;
    left -= shape.share;
  }
  return TRACE_SHAPES[0] as TraceShape;
}

interface Interval {
  readonly startUs: number;
  readonly endUs: number;
}

interface SpanPlace extends Interval {
  readonly role: Role;
  /** The same project as the parent's where there is one, unless said otherwise. */
  readonly projectId?: number;
  readonly isSegmentSpan?: boolean;
  readonly segmentId?: string | null;
}

/** The spans of one trace, as far as they are planned. */
export class TracePlan implements TraceContext {
  readonly random: Random;
  readonly traceId: string;
  readonly writtenTraceId: string;
  readonly startUs: number;
  readonly projectId: number;
  readonly projectCount: number;
  readonly spans: PlannedSpan[] = [];

  constructor(random: Random, { startUs, projectCount }: { startUs: number; projectCount: number }) {
    this.random = random;
    this.traceId = random.traceId();
    this.writtenTraceId = random.chance(UUID_SHARE) ? uuidOf(this.traceId) : this.traceId;
    this.startUs = startUs;
    this.projectCount = projectCount;
    // A few projects have most of the traffic.
    this.projectId = 1 + Math.floor(random.between(0, 1) ** 2 * projectCount);
  }

  /** From the trace's start, for as long as said: seconds, short ones more often. */
  lasting(leastSeconds: number, mostSeconds: number): Interval {
    const seconds = leastSeconds * (mostSeconds / leastSeconds) ** this.random.between(0, 1);
    return { startUs: this.startUs, endUs: this.startUs + Math.round(seconds * SECOND) };
  }

  /** A part of what `outer` lasts. */
  within({ startUs, endUs }: Interval): Interval {
    const start = Math.floor(this.random.between(startUs, startUs + 0.7 * (endUs - startUs)));
    return { startUs: start, endUs: Math.ceil(this.random.between(start, endUs)) };
  }

  add(parent: PlannedSpan | null, place: SpanPlace): PlannedSpan {
    const { random } = this;
    const span: PlannedSpan = {
      trace: this,
      projectId: place.projectId ?? parent?.projectId ?? this.projectId,
      spanId: random.spanId(),
      parentId: parent?.spanId ?? null,
      isSegmentSpan: place.isSegmentSpan ?? parent === null,
      segmentId: place.segmentId ?? null,
      startUs: place.startUs,
      endUs: place.endUs,
      receivedUs: place.endUs + random.integer(SEND_DELAY_US.least, SEND_DELAY_US.most),
      operation: random.pick(OPERATIONS[place.role]),
    };
    this.spans.push(span);
    return span;
  }
}

function planRequest(trace: TracePlan, { knowsSegment = false } = {}): PlannedSpan {
  const root = trace.add(null, { role: 'server', ...trace.lasting(0.5, 9) });
  planBelow(trace, root, { spanCount: trace.random.integer(7, 8), knowsSegment });
  return root;
}

/** What a request does: two levels of handlers, calls and queries below them. */
function planBelow(
  trace: TracePlan,
  root: PlannedSpan,
  { spanCount, knowsSegment = false }: { spanCount: number; knowsSegment?: boolean },
): PlannedSpan[] {
  const { random } = trace;
  const handlers = [root];
  const spans: PlannedSpan[] = [];
  for (let i = 0; i < spanCount; i++) {
    const isHandler = i < 2 || random.chance(0.15);
    const parent = i < 2 ? (handlers.at(-1) as PlannedSpan) : random.pick(handlers);
    const role = isHandler ? 'inner' : 'leaf';
    const span = trace.add(parent, { role, ...trace.within(parent), segmentId: knowsSegment ? root.spanId : null });
    if (isHandler) handlers.push(span);
    spans.push(span);
  }
  return spans;
}

function planServices(trace: TracePlan): void {
  const { random, projectCount } = trace;
  let root = trace.add(null, { role: 'server', ...trace.lasting(1, 9) });
  const services = random.integer(2, 4);
  for (let i = 1; ; i++) {
    const spans = planBelow(trace, root, { spanCount: random.integer(4, 9) });
    if (i === services) return;
    const call = trace.add(spans[1] as PlannedSpan, { role: 'call', ...trace.within(spans[1] as PlannedSpan) });
    // As a rule another team's service; sometimes another one of the same project.
    const projectId = random.chance(0.7) ? 1 + (root.projectId % projectCount) : root.projectId;
    root = trace.add(call, { role: 'server', ...trace.within(call), projectId, isSegmentSpan: true });
  }
}

function planSingle(trace: TracePlan): PlannedSpan {
  return trace.add(null, { role: 'server', ...trace.lasting(0.001, 0.05) });
}

function planLong(trace: TracePlan): void {
  const root = trace.add(null, { role: 'job', ...trace.lasting(15, 40) });
  for (let endUs = root.startUs; ; ) {
    const startUs = endUs;
    endUs += Math.round(trace.random.between(1, 6) * SECOND);
    if (endUs >= root.endUs) return;
    const step = trace.add(root, { role: 'inner', startUs, endUs });
    trace.add(step, { role: 'leaf', startUs: Math.ceil((startUs + endUs) / 2), endUs });
  }
}

function planChain(trace: TracePlan): void {
  const count = trace.random.integer(40, 150);
  let span = trace.add(null, { role: 'server', ...trace.lasting(1, 5) });
  const stepUs = Math.floor((span.endUs - span.startUs) / (2 * count));
  while (trace.spans.length < count) {
    const inner = { startUs: span.startUs + stepUs, endUs: span.endUs - stepUs };
    span = trace.add(span, { role: 'inner', ...inner });
  }
}

function planWide(trace: TracePlan): void {
  const count = trace.random.integer(61, 301);
  const root = trace.add(null, { role: 'job', ...trace.lasting(1, 6) });
  while (trace.spans.length < count) trace.add(root, { role: 'leaf', ...trace.within(root) });
}

/** Work that a segment left behind when its root had ended. */
function planLateChild(trace: TracePlan, root: PlannedSpan): void {
  const { random, spans } = trace;
  const siblings = spans.filter(({ projectId, parentId }) => projectId === root.projectId && parentId === root.spanId);
  const parent = siblings.length > 0 && random.chance(0.5) ? random.pick(siblings) : root;
  const afterUs = Math.round(random.between(LATE_SECONDS.least, LATE_SECONDS.most) * SECOND);
  const endUs = root.receivedUs + afterUs;
  trace.add(parent.isSegmentSpan ? root : parent, { role: 'inner', startUs: root.endUs, endUs });
}

function uuidOf(hex: string): string {
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
