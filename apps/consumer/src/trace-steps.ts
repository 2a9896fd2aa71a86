/** What a consumer logs of watched traces. Called only while there are any. */
import type { Span } from '@spanbuf/buffer';
import type { LogMessage } from '@spanbuf/kafka';
import type { TraceLog, WatchedRef } from '@spanbuf/service';
import type { LinkStep, TraceObserver } from '@spanbuf/store';
import { type DecodeOptions, decodeBatch, type InvalidMessage } from './decode-batch.ts';

/** Spans that one line names. */
const NAMED_SPANS = 50;

/** What the store does with them. */
export function storeObserver(log: TraceLog): TraceObserver {
  return {
    get isOn() {
      return log.isOn;
    },
    isWatched: (trace) => log.isWatched(trace),
    note: (trace: WatchedRef, step: LinkStep) => log.note(trace, step),
  };
}

/** A line for each trace: `received`, `stored`. */
export function noteSpans(log: TraceLog, step: 'received' | 'stored', spans: readonly Span[], partition: number): void {
  for (const [trace, all] of watchedIn(log, spans)) {
    const offsets = { firstOffset: String(all[0]?.offset), lastOffset: String(all.at(-1)?.offset) };
    const facts = { step, partition, ...offsets, spanCount: all.length };
    log.note(trace, step === 'received' ? { ...facts, spans: all.slice(0, NAMED_SPANS).map(named) } : facts);
  }
}

/** Messages that are not decoded otherwise: what a rule dropped, what came to its end when it was read before. */
export function noteMessages(
  log: TraceLog,
  step: 'dropped' | 'settled-before',
  messages: readonly LogMessage[],
  facts: { readonly rule?: string },
  options: Omit<DecodeOptions, 'rules'>,
): void {
  const { spans } = decodeBatch(messages, { ...options, rules: [] });
  for (const [trace, all] of watchedIn(log, spans))
    for (const { partition, offset, spanId } of all)
      log.note(trace, { step, partition, offset: String(offset), spanId, ...facts });
}

/** What is no span may still name a trace: it is looked for as text. Of which project it is nobody can say. */
export function noteDeadLetters(log: TraceLog, invalid: readonly InvalidMessage[]): void {
  for (const { message, reason } of invalid) {
    const text = message.value?.toString('latin1').toLowerCase().replaceAll('-', '') ?? '';
    const { partition, offset } = message;
    for (const trace of log.traces)
      if (text.includes(trace.traceId))
        log.note(trace, { step: 'dead-lettered', partition, offset: String(offset), reason });
  }
}

function watchedIn(log: TraceLog, spans: readonly Span[]): [WatchedRef, Span[]][] {
  const byTrace = new Map<string, Span[]>();
  for (const span of spans) {
    if (!log.isWatched(span)) continue;
    const key = `${span.projectId}:${span.traceId}`;
    const all = byTrace.get(key);
    if (all === undefined) byTrace.set(key, [span]);
    else all.push(span);
  }
  return [...byTrace.values()].map((all) => [all[0] as Span, all]);
}

function named({ spanId, parentSpanId, segmentId, isSegmentSpan, offset, payload }: Span) {
  return { spanId, parentSpanId, segmentId, isSegmentSpan, offset: String(offset), payloadBytes: payload.length };
}
