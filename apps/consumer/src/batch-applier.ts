import type { RejectedSpan, Span, SpanBuffer } from '@spanbuf/buffer';
import type { LogMessage, LogProducer } from '@spanbuf/kafka';
import { SpanbufError } from '@spanbuf/keys';
import { type Logger, type Metrics, retry, type TraceLog, type Tracing } from '@spanbuf/service';
import type { Fate, Ledger, Receipt } from '@spanbuf/store';
import { DeadLetters } from './dead-letters.ts';
import { decodeBatch, type InvalidMessage } from './decode-batch.ts';
import type { DropRule } from './drop-rules.ts';
import type { InvalidShare } from './invalid-share.ts';
import type { consumerMetrics } from './metrics.ts';
import type { PartitionClock } from './partition-clock.ts';
import type { Stretch } from './partition-worker.ts';
import { noteDeadLetters, noteMessages, noteSpans } from './trace-steps.ts';

export interface BatchApplierOptions {
  readonly buffer: SpanBuffer;
  readonly ledger: Ledger;
  /** Told which receipts were given. */
  readonly onSettled: (receipts: readonly Receipt[]) => void;
  readonly producer: LogProducer;
  readonly inputTopic: string;
  readonly deadLetterTopic: string;
  readonly maxSpanBytes: number;
  readonly invalidShare: InvalidShare;
  readonly rules: () => readonly DropRule[];
  readonly metrics: Metrics<typeof consumerMetrics>;
  readonly log: Logger;
  readonly tracing: Tracing;
  readonly traceLog: TraceLog;
  readonly clockMs: () => number;
}

/** What a batch needs of the assignment it came with. */
export interface BatchOrigin {
  readonly partition: number;
  readonly topicId: string;
  /** What lies below it was read before: it may have come to its end since. */
  readonly replayUntil: bigint;
  readonly clock: PartitionClock;
  /** Tells the flushers of a time before they see spans that are stored by it. */
  readonly announce: (messageSeconds: number) => Promise<void>;
  /** Ends the attempts. */
  readonly signal: AbortSignal;
}

/** Takes over batches of messages: each is stored and scheduled, or dead-lettered, or dropped by a rule. */
export class BatchApplier {
  readonly #options: BatchApplierOptions;

  constructor(options: BatchApplierOptions) {
    this.#options = options;
  }

  /**
   * Resolves once every message is taken over for good. While Redis or Kafka is away it tries again until the signal says stop.
   * @throws {@link TooManyInvalidError}; what the last attempt ended with; anything unexpected.
   */
  async apply(stretch: Stretch, origin: BatchOrigin): Promise<void> {
    const { tracing, inputTopic } = this.#options;
    const attributes = {
      'messaging.system': 'kafka',
      'messaging.operation.name': 'process',
      'messaging.destination.name': inputTopic,
      'messaging.destination.partition.id': String(origin.partition),
      'messaging.batch.message_count': stretch.messages.length,
    };
    await tracing.span('apply batch', { kind: 'consumer', attributes }, () => this.#apply(stretch, origin));
  }

  async #apply(stretch: Stretch, origin: BatchOrigin): Promise<void> {
    const { buffer, invalidShare, maxSpanBytes, metrics, rules, tracing, traceLog, clockMs } = this.#options;
    const startMs = clockMs();
    const messages = await this.#withoutSettled(stretch.messages, origin);
    if (messages.length === 0) {
      await this.#settle(absentIn(stretch), origin);
      return;
    }
    const { spans, invalid, dropped } = decodeBatch(messages, {
      topicId: origin.topicId,
      maxSpanBytes,
      rules: rules(),
    });
    if (traceLog.isOn) this.#noteDecoded(messages, spans, dropped, origin);
    invalidShare.add(messages.length, invalid.length, invalid.at(-1)?.reason);
    await this.#deadLetter(invalid, origin.signal);

    const timestampsMs = messages.map(({ timestampMs }) => timestampMs);
    const before = origin.clock.messageSeconds;
    const now = origin.clock.read(timestampsMs, startMs / 1000);
    if (before === undefined || now < before) {
      await this.#retry('store', origin.signal, () => origin.announce(now));
    }
    const { accepted, replayed, rejected } = await tracing.span('store spans', {}, () =>
      this.#retry('store', origin.signal, () => buffer.process(spans, { now })),
    );
    if (traceLog.isOn) noteSpans(traceLog, 'stored', without(spans, rejected), origin.partition);
    // The decoder lets nothing through that the buffer refuses, unless one of them is wrong.
    await this.#deadLetter(
      rejected.map(({ span, error }) => ({
        message: messages.find(({ offset }) => offset === span.offset) as LogMessage,
        reason: error.message,
      })),
      origin.signal,
    );
    origin.clock.applied(clockMs() / 1000);
    const ends: End[] = absentIn(stretch);
    for (const { message } of invalid) ends.push(endOf(message.offset, 'invalid'));
    for (const { span } of rejected) ends.push(endOf(span.offset as bigint, 'invalid'));
    for (const [rule, offsets] of dropped) for (const offset of offsets) ends.push(endOf(offset, `dropped:${rule}`));
    await this.#settle(ends, origin);

    metrics.messages.inc(messages.length);
    metrics.spans.inc({ outcome: 'accepted' }, accepted);
    metrics.spans.inc({ outcome: 'replayed' }, replayed);
    metrics.spans.inc({ outcome: 'invalid' }, invalid.length + rejected.length);
    for (const [rule, { length }] of dropped) {
      metrics.droppedSpans.inc({ rule }, length);
      metrics.spans.inc({ outcome: 'dropped' }, length);
    }
    metrics.payloadBytes.inc(spans.reduce((sum, { payload }) => sum + payload.length, 0));
    metrics.batchSpans.observe(messages.length);
    metrics.batchSeconds.observe((clockMs() - startMs) / 1000);
  }

  /** What was read before, and has its receipt, is not applied again: its trace may be forgotten by now. */
  async #withoutSettled(messages: readonly LogMessage[], origin: BatchOrigin): Promise<readonly LogMessage[]> {
    const { partition, topicId, replayUntil, signal } = origin;
    const [first] = messages;
    if (first === undefined || first.offset >= replayUntil) return messages;
    const replays = messages.flatMap(({ offset }) => (offset < replayUntil ? [offset] : []));
    const { ledger, metrics } = this.#options;
    const settled = await this.#retry('store', signal, () => ledger.settledAmong(partition, topicId, replays));
    if (settled.size === 0) return messages;
    const { traceLog, maxSpanBytes } = this.#options;
    if (traceLog.isOn) {
      const again = messages.filter(({ offset }) => settled.has(offset));
      noteMessages(traceLog, 'settled-before', again, {}, { topicId, maxSpanBytes });
    }
    metrics.messages.inc(settled.size);
    metrics.spans.inc({ outcome: 'replayed' }, settled.size);
    return messages.filter(({ offset }) => !settled.has(offset));
  }

  #noteDecoded(
    messages: readonly LogMessage[],
    spans: readonly Span[],
    dropped: ReadonlyMap<string, readonly bigint[]>,
    { partition, topicId }: BatchOrigin,
  ): void {
    const { traceLog, maxSpanBytes } = this.#options;
    noteSpans(traceLog, 'received', spans, partition);
    for (const [rule, offsets] of dropped) {
      const ofRule = messages.filter(({ offset }) => offsets.includes(offset));
      noteMessages(traceLog, 'dropped', ofRule, { rule }, { topicId, maxSpanBytes });
    }
  }

  async #settle(ends: readonly End[], { partition, topicId, signal }: BatchOrigin): Promise<void> {
    if (ends.length === 0) return;
    const { ledger, onSettled } = this.#options;
    const receipts = ends.map((end): Receipt => ({ partition, source: topicId, ...end }));
    await this.#retry('store', signal, () => ledger.settle(receipts));
    onSettled(receipts);
  }

  async #deadLetter(invalid: readonly InvalidMessage[], signal: AbortSignal): Promise<void> {
    if (invalid.length === 0) return;
    const { producer, log, metrics, tracing, traceLog, deadLetterTopic } = this.#options;
    const letters = new DeadLetters(this.#options, invalid);
    const attributes = {
      'messaging.system': 'kafka',
      'messaging.destination.name': deadLetterTopic,
      'messaging.batch.message_count': invalid.length,
    };
    await tracing.span('dead-letter messages', { kind: 'producer', attributes }, () =>
      this.#retry('dead-letter', signal, () => letters.send(producer)),
    );
    if (traceLog.isOn) noteDeadLetters(traceLog, invalid);
    const { whole, withoutValue } = letters.counts;
    metrics.deadLetters.inc({ form: 'whole' }, whole);
    metrics.deadLetters.inc({ form: 'without-value' }, withoutValue);
    const { message, reason } = invalid[0] as InvalidMessage;
    log.warn(
      { count: invalid.length, partition: message.partition, offset: String(message.offset), reason },
      'messages that are not spans went to the dead-letter topic',
    );
  }

  #retry<T>(step: 'store' | 'dead-letter', signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    const { log, metrics } = this.#options;
    return retry(task, {
      signal,
      // Also what waiting alone does not mend, such as a missing permission: an operator can, and nothing is lost until then.
      isPassing: (error) => error instanceof SpanbufError,
      onRetry: (error, attempt) => {
        metrics.retries.inc({ step });
        log.warn({ step, attempt, error: (error as Error).message }, 'not applied yet, trying again');
      },
    });
  }
}

/** What a stretch of one partition has come to. */
type End = Omit<Receipt, 'partition' | 'source'>;

function endOf(offset: bigint, fate: Fate): End {
  return { fromOffset: offset, toOffset: offset + 1n, fate };
}

/** Offsets that no message has: ends of transactions, what was compacted or deleted. */
function absentIn({ messages, fromOffset, toOffset }: Stretch): End[] {
  const absent: End[] = [];
  // What stands for a batch that cannot be decoded may have an offset before.
  const isOwn = messages[0] !== undefined && messages[0].offset >= fromOffset;
  if (isOwn && BigInt(messages.length) === toOffset - fromOffset) return absent;
  let next = fromOffset;
  for (const { offset } of messages) {
    if (offset > next) absent.push({ fromOffset: next, toOffset: offset, fate: 'absent' });
    next = offset + 1n;
  }
  if (toOffset > next) absent.push({ fromOffset: next, toOffset, fate: 'absent' });
  return absent;
}

function without(spans: readonly Span[], rejected: readonly RejectedSpan[]): readonly Span[] {
  if (rejected.length === 0) return spans;
  const indexes = new Set(rejected.map(({ index }) => index));
  return spans.filter((_, index) => !indexes.has(index));
}
