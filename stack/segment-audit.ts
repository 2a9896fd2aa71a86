import { hash } from 'node:crypto';
import { isObject, readInputSpan, readTraceId } from './input-span.ts';
import { elementsOf, isAt, skipSpace, visitMembers } from './json-members.ts';
import { Problems } from './problems.ts';
import { contentOf } from './span-content.ts';
import { type InputPosition, TraceInput } from './trace-input.ts';

/** Text by name. */
type Headers = Readonly<Record<string, string | undefined>>;

/** A message of any topic, as far as it is judged. */
export interface AuditMessage {
  readonly partition: number;
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Headers;
  /** Unix milliseconds. */
  readonly timestampMs: number;
}

export interface AuditReport {
  readonly input: { readonly messages: number; readonly spans: number; readonly invalid: number };
  /** Traces of a project that have spans in more than one partition of the input. */
  readonly spreadTraces: number;
  readonly output: {
    readonly messages: number;
    /** Of them, those that repeat a flush id seen before: harmless, whoever reads them can tell. */
    readonly copies: number;
    /** Spans in the copies. */
    readonly copiedSpans: number;
    /** In all messages but the copies. */
    readonly spans: number;
    readonly segments: number;
    readonly generations: number;
    /** Segments that came in more than one generation. */
    readonly splitSegments: number;
    /** Generations that say themselves that Redis has lost spans of theirs. */
    readonly partialGenerations: number;
    /** Generations that came in more than one message. */
    readonly cutGenerations: number;
    /** Generations by why they were flushed. */
    readonly reasons: Readonly<Record<string, number>>;
  };
  readonly deadLetters: { readonly messages: number; readonly copies: number };
  /** Segments of the input, as `project:trace:root`, of which no single generation has every span. */
  readonly incompleteSegments: readonly string[];
  /** Spans of the input that did not come out, each as often as it is missing. */
  readonly lost: readonly LostSpan[];
  readonly problems: Problems;
}

export interface LostSpan extends InputPosition {
  readonly projectId: string;
  readonly traceId: string;
  readonly spanId: string;
}

/** One generation of one segment, as its messages say. */
interface Generation {
  isPartial: boolean;
  readonly parts: number;
  readonly seenParts: Set<number>;
}

const FLUSH_ID = /^[0-9a-f]{32}$/;

/**
 * Judges what came out against what went in. First give it the whole input, then the output and the dead letters, in any
 * order; then ask for the report. Holds about 500 bytes for each span of the input. Knows nothing of how spanbuf works,
 * and shares no code with it.
 */
export class SegmentAudit {
  readonly #problems = new Problems();
  readonly #traces = new Map<string, TraceInput>();
  readonly #invalid = new Map<string, { readonly digest: string; readonly headers: Headers; letters: number }>();
  /** Flush id -> digest of the spans it came with. */
  readonly #flushes = new Map<string, string>();
  /** `project:trace:segment` -> generations by number. */
  readonly #segments = new Map<string, Map<number, Generation>>();
  /** `project:trace:root` -> most different spans of it that came in one generation. */
  readonly #largest = new Map<string, number>();
  /** Of generations in several parts: what has come of them. */
  readonly #partial = new Map<string, Set<string>>();
  readonly #reasons: Record<string, number> = {};
  #inputMessages = 0;
  #inputSpans = 0;
  #outputMessages = 0;
  #copies = 0;
  #copiedSpans = 0;
  #outputSpans = 0;
  #deadLetters = 0;
  #deadLetterCopies = 0;

  addInput(message: AuditMessage): void {
    this.#inputMessages += 1;
    const span = readInputSpan(message.value);
    if (span === undefined) {
      this.#invalid.set(positionOf(message), { digest: digestOf(message), headers: message.headers, letters: 0 });
      return;
    }
    this.#inputSpans += 1;
    const key = `${span.projectId}:${span.traceId}`;
    let trace = this.#traces.get(key);
    if (trace === undefined) {
      trace = new TraceInput();
      this.#traces.set(key, trace);
    }
    trace.add(span.spanId, span.effectiveParentId, { content: contentOf(span.text), position: message });
  }

  addOutput(message: AuditMessage): void {
    this.#outputMessages += 1;
    const at = `output ${positionOf(message)}`;
    const text = message.value?.toString() ?? '';
    const value = parse(text);
    const flushId = value?.['flush_id'];
    const spans = value?.['spans'];
    if (typeof flushId !== 'string' || !FLUSH_ID.test(flushId) || !Array.isArray(spans) || spans.length === 0) {
      this.#problems.add('not a segment message', at);
      return;
    }
    const spansText = spansTextOf(text);
    const digest = hash('sha1', spansText, 'base64');
    const known = this.#flushes.get(flushId);
    if (known !== undefined) {
      this.#copies += 1;
      this.#copiedSpans += spans.length;
      if (known !== digest) this.#problems.add('flush id of other spans', `${at}: ${flushId}`);
      return;
    }
    this.#flushes.set(flushId, digest);
    this.#judgeHeaders(message, { at, flushId, spanCount: spans.length, isPart: value?.['skip_enrichment'] === true });
    const texts = elementsOf(spansText, 0);
    for (const [i, span] of spans.entries()) this.#judgeSpan(span, texts[i] ?? '', message, at);
    this.#measure(message, spans);
    this.#outputSpans += spans.length;
  }

  addDeadLetter(message: AuditMessage): void {
    this.#deadLetters += 1;
    const { headers } = message;
    const position = `${headers['spanbuf-partition']}/${headers['spanbuf-offset']}`;
    const at = `dead letter ${positionOf(message)} of ${position}`;
    const invalid = this.#invalid.get(position);
    if (invalid === undefined) {
      this.#problems.add('dead letter of no broken message', at);
      return;
    }
    if (invalid.letters++ > 0) this.#deadLetterCopies += 1;
    if (!headers['spanbuf-reason']) this.#problems.add('dead letter without reason', at);
    const hasHeaders = Object.entries(invalid.headers).every(([name, text]) => isOwn(name) || headers[name] === text);
    if (digestOf(message) !== invalid.digest || !hasHeaders) this.#problems.add('dead letter changed', at);
  }

  /** @param expects - Whether the dead letters were added as well, and have to be complete. */
  report(expects: { readonly deadLetters: boolean }): AuditReport {
    const lost: LostSpan[] = [];
    for (const [key, trace] of this.#traces) {
      const [projectId = '', traceId = ''] = key.split(':');
      for (const { spanId, count, position } of trace.missing()) {
        this.#problems.add('lost', `${key}:${spanId}`, count);
        const span = { projectId, traceId, spanId, ...position };
        for (let i = 0; i < count; i += 1) lost.push(span);
      }
    }
    for (const [position, { letters }] of this.#invalid) {
      if (expects.deadLetters && letters === 0) this.#problems.add('broken message without dead letter', position);
    }
    const segments = [...this.#segments.values()];
    const generations = segments.flatMap((segment) => [...segment.values()]);
    for (const { parts, seenParts } of generations) {
      if (seenParts.size < parts) this.#problems.add('part missing', `${seenParts.size} of ${parts}`);
    }
    return {
      input: { messages: this.#inputMessages, spans: this.#inputSpans, invalid: this.#invalid.size },
      spreadTraces: [...this.#traces.values()].filter(({ isSpread }) => isSpread).length,
      output: {
        messages: this.#outputMessages,
        copies: this.#copies,
        copiedSpans: this.#copiedSpans,
        spans: this.#outputSpans,
        segments: segments.length,
        generations: generations.length,
        splitSegments: segments.filter(({ size }) => size > 1).length,
        partialGenerations: generations.filter(({ isPartial }) => isPartial).length,
        cutGenerations: generations.filter(({ parts }) => parts > 1).length,
        reasons: this.#reasons,
      },
      deadLetters: { messages: this.#deadLetters, copies: this.#deadLetterCopies },
      incompleteSegments: this.#incompleteSegments(),
      lost,
      problems: this.#problems,
    };
  }

  #incompleteSegments(): string[] {
    return [...this.#traces].flatMap(([key, trace]) =>
      [...trace.segmentSizes()].flatMap(([root, size]) => {
        const segment = `${key}:${root}`;
        return (this.#largest.get(segment) ?? 0) < size ? [segment] : [];
      }),
    );
  }

  /** Headers say what the message is; a generation has each of its parts once. */
  #judgeHeaders(
    { key, headers }: AuditMessage,
    { at, flushId, spanCount, isPart }: { at: string; flushId: string; spanCount: number; isPart: boolean },
  ): void {
    const number = (name: string) => (/^\d{1,15}$/.test(headers[name] ?? '') ? Number(headers[name]) : Number.NaN);
    const [generation, part, parts] = [number('spanbuf-generation'), number('spanbuf-part'), number('spanbuf-parts')];
    const isRight =
      headers['spanbuf-flush-id'] === flushId &&
      key?.toString() === headers['spanbuf-trace-id'] &&
      number('spanbuf-span-count') === spanCount &&
      generation >= 1 &&
      part >= 1 &&
      part <= parts &&
      parts > 1 === isPart;
    if (!isRight) {
      this.#problems.add('wrong headers', `${at}: ${JSON.stringify(headers)}`);
      return;
    }
    const segmentKey = ['project-id', 'trace-id', 'segment-id'].map((name) => headers[`spanbuf-${name}`]).join(':');
    const generations = this.#segments.get(segmentKey) ?? new Map<number, Generation>();
    this.#segments.set(segmentKey, generations);
    let known = generations.get(generation);
    if (known === undefined) {
      known = { isPartial: false, parts, seenParts: new Set() };
      generations.set(generation, known);
      const reason = headers['spanbuf-reason'] ?? '';
      this.#reasons[reason] = (this.#reasons[reason] ?? 0) + 1;
    }
    if (known.parts !== parts || known.seenParts.has(part)) {
      this.#problems.add('generation with several flush ids', `${at}: ${segmentKey} generation ${generation}`);
    }
    known.seenParts.add(part);
    if ((headers['spanbuf-lost-spans'] ?? '0') !== '0') known.isPartial = true;
  }

  /** How much of each segment the generation has that this message is, or is a part of. */
  #measure({ headers }: AuditMessage, spans: readonly unknown[]): void {
    const isWhole = headers['spanbuf-parts'] === '1';
    const own = new Map<string, Set<string>>();
    for (const span of spans) {
      if (!isObject(span)) continue;
      const key = `${span['project_id']}:${readTraceId(span['trace_id'])}`;
      const id = String(span['span_id']).toLowerCase();
      const trace = this.#traces.get(key);
      if (trace === undefined || !trace.has(id)) continue;
      const segment = `${key}:${trace.rootOf(id)}`;
      const generation = `${segment} ${headers['spanbuf-generation']}`;
      const of = isWhole ? own : this.#partial;
      const ids = of.get(generation) ?? new Set();
      of.set(generation, ids.add(id));
      this.#largest.set(segment, Math.max(this.#largest.get(segment) ?? 0, ids.size));
    }
  }

  #judgeSpan(span: unknown, text: string, { headers }: AuditMessage, at: string): void {
    const id = isObject(span) ? String(span['span_id']).toLowerCase() : '';
    const projectId = isObject(span) ? String(span['project_id']) : '';
    const traceId = isObject(span) ? readTraceId(span['trace_id']) : undefined;
    const where = `${projectId}:${traceId}:${id} in ${at}`;
    const trace = this.#traces.get(`${projectId}:${traceId}`);
    if (!isObject(span) || trace === undefined || !trace.has(id)) {
      this.#problems.add('not from the input', where);
      return;
    }
    const content = contentOf(text);
    const origin = trace.take(id, content.digest);
    if (origin === undefined) {
      this.#problems.add('changed', where);
      return;
    }
    if (!origin.isFirst) this.#problems.add('twice under different flush ids', where);
    const rootId = trace.rootOf(id);
    const segmentId = headers['spanbuf-segment-id'];
    if (
      segmentId !== rootId ||
      headers['spanbuf-project-id'] !== projectId ||
      headers['spanbuf-trace-id'] !== traceId
    ) {
      this.#problems.add('wrong segment', `${where}: ${segmentId} instead of ${rootId}`);
    }
    if (span['is_segment'] !== (id === rootId)) this.#problems.add('wrong is_segment', where);
    if (!isRightEntry(content.segmentEntry, origin.segmentEntry, rootId)) {
      this.#problems.add('wrong segment attribute', `${where}: ${content.segmentEntry}`);
    }
  }
}

/** What spanbuf says itself. */
function isOwn(header: string): boolean {
  return header.startsWith('spanbuf-');
}

/** What the span came with stays; otherwise the segment's id. */
function isRightEntry(entry: string | undefined, received: string | undefined, rootId: string): boolean {
  if (received !== undefined) return entry === received;
  const value = parse(entry ?? '');
  return value?.['type'] === 'string' && value['value'] === rootId && Object.keys(value).length === 2;
}

/** The array of spans as it is written; of a key that occurs twice the last counts, as in JSON.parse. */
function spansTextOf(text: string): string {
  let spans = '';
  visitMembers(text, skipSpace(text, 0), (keyStart, keyEnd, start, end) => {
    if (isAt(text, keyStart, keyEnd, 'spans')) spans = text.slice(start, end);
  });
  return spans;
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function positionOf({ partition, offset }: AuditMessage): string {
  return `${partition}/${offset}`;
}

function digestOf({ key, value }: AuditMessage): string {
  return `${key?.toString('hex')} ${value === null ? null : hash('sha1', value, 'base64')}`;
}
