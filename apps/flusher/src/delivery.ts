import { type FlushedSegment, type SpanBuffer, UnreadableSpanError } from '@spanbuf/buffer';
import type { LogProducer, OutgoingMessage } from '@spanbuf/kafka';
import { SpanbufError } from '@spanbuf/keys';
import { type Logger, type Metrics, pause, retry, type TraceLog, type Tracing } from '@spanbuf/service';
import { type ReceiptsKeeper, receiptsOf } from '@spanbuf/store';
import type { flusherMetrics } from './metrics.ts';
import { segmentOutput } from './segment-output.ts';
import { setAside } from './set-aside.ts';
import { noteEach, noteSent } from './trace-steps.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

export interface DeliveryOptions {
  readonly producer: LogProducer;
  readonly outputTopic: string;
  /** Told what has been produced. */
  readonly receipts: ReceiptsKeeper;
  readonly metrics: Metrics<typeof flusherMetrics>;
  readonly log: Logger;
  readonly tracing: Tracing;
  readonly traceLog: TraceLog;
  readonly clockMs: () => number;
}

/** How long a delivery may go on, by the clock of the options. */
export interface Patience {
  /** Nothing is sent again after this. */
  readonly sendUntilMs: number;
  /** What is not noted in Redis by then is done again by whoever takes it next. */
  readonly leaseEndMs: number;
  readonly signal: AbortSignal;
}

interface Pending {
  readonly segment: FlushedSegment;
  readonly message: OutgoingMessage;
}

/** What became of messages that were sent together. */
interface Sent {
  readonly failed: readonly Pending[];
  readonly failure: Error | undefined;
  /** Segments with a message that the broker refuses for good, and why. */
  readonly refused: ReadonlyMap<FlushedSegment, string>;
}

/** Takes flushed segments to Kafka, and tells the buffer how it ended. */
export class Delivery {
  readonly #options: DeliveryOptions;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /**
   * Produces segments. Those that the broker has acknowledged are done; those with a message that it refuses for good, or
   * that cannot be built, are set aside; those that it did not take in time come again.
   * @returns Whether the broker took, or refused, everything.
   * @throws {@link StoreUnavailableError} when Redis stays away: the leases run out, and the segments come again with the
   * same flush ids.
   */
  async deliver(buffer: SpanBuffer, segments: readonly FlushedSegment[], patience: Patience): Promise<boolean> {
    const { metrics, log, traceLog, clockMs } = this.#options;
    const startMs = clockMs();
    const unreadable = new Map<FlushedSegment, string>();
    let pending: readonly Pending[] = segments.flatMap((segment) => this.#messagesOf(segment, unreadable));
    await this.#untilNoted(patience, () => setAside(buffer, unreadable, 'unreadable', { metrics, log, traceLog }));
    for (let attempt = 0; pending.length > 0; attempt++) {
      const sent = await this.#send(pending);
      const waiting = new Set(sent.failed.map(({ segment }) => segment));
      const acked = [...new Set(pending.map(({ segment }) => segment))].filter(
        (segment) => !waiting.has(segment) && !sent.refused.has(segment),
      );
      // At once: were their end not noted, they would be produced twice.
      await this.#done(buffer, acked, patience);
      this.#count(acked);
      await this.#untilNoted(patience, () => setAside(buffer, sent.refused, 'refused', { metrics, log, traceLog }));
      // A segment is produced as a whole or parked as a whole.
      pending = sent.failed.filter(({ segment }) => !sent.refused.has(segment));
      if (pending.length === 0) break;
      metrics.sendFailures.inc(pending.length);
      log.warn({ messages: pending.length, attempt: attempt + 1, error: sent.failure?.message }, 'not produced yet');
      const isOver = patience.signal.aborted || clockMs() >= patience.sendUntilMs;
      // Where Kafka takes other messages, a partition is at fault: nobody else should wait for it.
      if (isOver || acked.length > 0) break;
      await pause(Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS), patience.signal);
    }
    metrics.sendSeconds.observe((clockMs() - startMs) / 1_000);
    const unsent = [...new Set(pending.map(({ segment }) => segment))];
    if (unsent.length > 0) await this.#giveUp(buffer, unsent, patience);
    return unsent.length === 0;
  }

  /** Also what cannot be noted has come to its end, and nobody else may be left who could say so. */
  async #done(buffer: SpanBuffer, acked: readonly FlushedSegment[], patience: Patience): Promise<void> {
    try {
      await this.#options.tracing.span('mark segments done', {}, () =>
        this.#untilNoted(patience, () => buffer.done(acked)),
      );
      if (this.#options.traceLog.isOn) noteEach(this.#options.traceLog, 'done', acked);
    } finally {
      for (const { spans, reason } of acked) this.#options.receipts.given(receiptsOf(spans, reason));
    }
  }

  async #send(pending: readonly Pending[]): Promise<Sent> {
    const { producer, outputTopic, metrics, tracing, traceLog } = this.#options;
    const attributes = {
      'messaging.system': 'kafka',
      'messaging.operation.name': 'send',
      'messaging.destination.name': outputTopic,
      'messaging.batch.message_count': pending.length,
    };
    const outcomes = await tracing.span('produce segments', { kind: 'producer', attributes }, () =>
      producer.send(
        outputTopic,
        pending.map(({ message }) => message),
      ),
    );
    const refused = new Map<FlushedSegment, string>();
    const failed: Pending[] = [];
    let failure: Error | undefined;
    let [ackedCount, ackedBytes] = [0, 0];
    for (const [i, outcome] of outcomes.entries()) {
      const each = pending[i] as Pending;
      if (traceLog.isOn) noteSent(traceLog, each.segment, each.message.headers, outcome);
      if (outcome.status === 'acked') {
        ackedCount++;
        ackedBytes += each.message.value?.length ?? 0;
      } else if (outcome.status === 'refused') {
        refused.set(each.segment, outcome.error.message);
      } else {
        failure = outcome.error;
        failed.push(each);
      }
    }
    metrics.messages.inc(ackedCount);
    metrics.messageBytes.inc(ackedBytes);
    return { failed, failure, refused };
  }

  /**
   * At the end of the process at once, so that another flusher has them; otherwise when the lease runs out: given back now,
   * they would be the first to be taken again, and keep those from their turn that can be produced.
   */
  async #giveUp(buffer: SpanBuffer, segments: readonly FlushedSegment[], patience: Patience): Promise<void> {
    const { metrics, log, traceLog } = this.#options;
    if (traceLog.isOn) noteEach(traceLog, 'given-up', segments, { isReleased: patience.signal.aborted });
    metrics.releasedSegments.inc(segments.length);
    log.warn({ segments: segments.length }, 'segments given up for now: Kafka did not take them in time');
    if (patience.signal.aborted) await this.#untilNoted(patience, () => buffer.release(segments));
  }

  #messagesOf(segment: FlushedSegment, reasons: Map<FlushedSegment, string>): Pending[] {
    try {
      return segmentOutput(segment).map((message) => ({ segment, message }));
    } catch (error) {
      if (!(error instanceof UnreadableSpanError)) throw error;
      reasons.set(segment, error.message);
      return [];
    }
  }

  /** Goes on for as long as the lease does: what is not noted in Redis is done again by the next flusher. */
  async #untilNoted({ leaseEndMs, signal }: Patience, task: () => Promise<void>): Promise<void> {
    const { log, clockMs } = this.#options;
    await retry(task, {
      signal,
      isPassing: (error) => error instanceof SpanbufError && error.retriable && clockMs() < leaseEndMs,
      onRetry: (error, attempt) =>
        log.warn({ attempt, error: (error as Error).message }, 'not noted in Redis yet, trying again'),
    });
  }

  #count(segments: readonly FlushedSegment[]): void {
    const { metrics } = this.#options;
    const reasons = new Map<string, number>();
    for (const { reason, spanCount } of segments) {
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      metrics.segmentSpans.observe(spanCount);
    }
    for (const [reason, count] of reasons) metrics.segments.inc({ reason }, count);
    metrics.spans.inc(segments.reduce((sum, { spanCount }) => sum + spanCount, 0));
  }
}
