import { type FlushedSegment, SpanBuffer, type SpanLoss } from '@spanbuf/buffer';
import type { SegmentStore } from '@spanbuf/store';
import type { LineWriter } from './line-writer.ts';
import type { MessageClock } from './message-clock.ts';
import { cutBatches, type ReadSpan, readBatches } from './read-spans.ts';
import type { Reporter } from './reporter.ts';
import { shuffle } from './shuffle.ts';
import { Summary } from './summary.ts';

const MIB = 1024 * 1024;
const BATCH_BYTES = 16 * MIB;
/** What one flush takes out of the store. Its payloads are in memory at once. */
const FLUSH_BYTES = 32 * MIB;
const FLUSH_SEGMENTS = 10_000;
/** Message time between two flushes. A flush looks at all live segments of a memory store, so not after every batch. */
const FLUSH_INTERVAL_SECONDS = 1;

/** When segments become due and how large they and their messages get: as in `SpanBufferOptions`. */
export interface AssembleLimits {
  readonly rootTimeoutSeconds: number;
  readonly timeoutSeconds: number;
  readonly maxAgeSeconds: number;
  readonly maxSegmentBytes: number;
  readonly maxMessageBytes: number;
}

export interface AssembleOptions {
  readonly input: AsyncIterable<Uint8Array>;
  readonly output: LineWriter;
  /** Used by nobody else while it runs. */
  readonly store: SegmentStore;
  readonly clock: MessageClock;
  readonly limits: AssembleLimits;
  /** Most spans of a batch, from 1. */
  readonly batchSize: number;
  /**
   * Reads the whole input before it begins, and takes the spans in an order that this alone decides. Message time stands
   * still then, so that everything comes out at the end.
   */
  readonly shuffleSeed?: number | undefined;
  readonly reporter: Reporter;
  /** Stops between two lines of the output. */
  readonly signal: AbortSignal;
}

/**
 * Assembles spans, one JSON object a line, into segments, and writes their messages, one a line. Memory depends on how
 * much is under way at once, not on the length of the input.
 * @throws What `input`, `output` or `store` throw, or the reason of `signal`. What was written is whole lines.
 */
export async function assemble(options: AssembleOptions): Promise<Summary> {
  const run = new Assembly(options);
  for await (const batch of options.shuffleSeed === undefined
    ? run.batches()
    : run.shuffledBatches(options.shuffleSeed)) {
    await run.take(batch);
  }
  await run.flush({ drain: true });
  await options.output.flush();
  return run.summary;
}

class Assembly {
  readonly summary = new Summary();
  readonly #options: AssembleOptions;
  readonly #buffer: SpanBuffer;
  #lastFlushSeconds = 0;
  #bytesSinceFlush = 0;
  #losses = 0;

  constructor(options: AssembleOptions) {
    this.#options = options;
    this.#buffer = new SpanBuffer(options.store, { ...options.limits, onLoss: (loss) => this.#onLoss(loss) });
  }

  batches(): AsyncGenerator<ReadSpan[]> {
    const { input, batchSize } = this.#options;
    return readBatches(input, { batchSize, batchBytes: BATCH_BYTES }, (line, reason) => this.#refuse(line, reason));
  }

  async *shuffledBatches(seed: number): AsyncGenerator<ReadSpan[]> {
    const spans: ReadSpan[] = [];
    for await (const batch of this.batches()) for (const read of batch) spans.push(read);
    shuffle(spans, seed);
    yield* cutBatches(spans, { batchSize: this.#options.batchSize, batchBytes: BATCH_BYTES });
  }

  async take(batch: readonly ReadSpan[]): Promise<void> {
    const { clock, reporter, signal, shuffleSeed } = this.#options;
    signal.throwIfAborted();
    const spans = batch.map(({ span }) => span);
    if (shuffleSeed === undefined) clock.advance(spans.map(({ payload }) => payload));
    this.summary.spansIn += spans.length;
    const { rejected } = await this.#buffer.process(spans, { now: clock.nowSeconds });
    for (const { index, error } of rejected) this.#refuse(batch[index]?.line as number, error.message, true);
    this.#bytesSinceFlush += spans.reduce((sum, { payload }) => sum + payload.length, 0);
    if (this.#isFlushDue()) await this.flush({ drain: false });
    reporter.progress(this.summary);
  }

  #isFlushDue(): boolean {
    const elapsedSeconds = this.#options.clock.nowSeconds - this.#lastFlushSeconds;
    return elapsedSeconds >= FLUSH_INTERVAL_SECONDS || this.#bytesSinceFlush >= FLUSH_BYTES;
  }

  /**
   * Writes what is due, or everything, a bounded part at a time. Everything is out only once a flush returns nothing, and
   * has not come upon segments that are lost as a whole either.
   */
  async flush({ drain }: { drain: boolean }): Promise<void> {
    const { clock, reporter, signal } = this.#options;
    const now = clock.nowSeconds;
    for (let isMore = true; isMore; ) {
      signal.throwIfAborted();
      const losses = this.#losses;
      const segments = await this.#buffer.flush({ now, drain, maxBytes: FLUSH_BYTES, limit: FLUSH_SEGMENTS });
      await this.#write(segments);
      reporter.progress(this.summary);
      isMore = drain ? segments.length > 0 || this.#losses > losses : isCutShort(segments);
    }
    this.#lastFlushSeconds = now;
    this.#bytesSinceFlush = 0;
  }

  async #write(segments: readonly FlushedSegment[]): Promise<void> {
    if (segments.length === 0) return;
    const { output, signal } = this.#options;
    try {
      for (const segment of segments) {
        signal.throwIfAborted();
        for (const { value, spanCount } of segment.messages()) {
          await output.write(value);
          this.summary.messages += 1;
          this.summary.spansOut += spanCount;
        }
        this.summary.addSegment(segment);
      }
      await output.flush();
    } catch (error) {
      // Should this fail as well, the first error says more.
      await this.#buffer.release(segments).catch(() => undefined);
      throw error;
    }
    await this.#buffer.done(segments);
  }

  /** @param isCounted - Whether the line is in `spansIn` already. */
  #refuse(line: number, reason: string, isCounted = false): void {
    if (!isCounted) this.summary.spansIn += 1;
    this.summary.refused += 1;
    this.#options.reporter.refused(line, reason);
  }

  #onLoss({ traceId, segmentId, spanCount, lostSpanCount }: SpanLoss): void {
    this.#losses += 1;
    this.#options.reporter.say(
      `segment ${segmentId} of trace ${traceId}: the store no longer has ${lostSpanCount} of its ${spanCount} spans`,
    );
  }
}

/** Whether a flush may have left something that is due. If it looks as if it had not, the next flush takes it. */
function isCutShort(segments: readonly FlushedSegment[]): boolean {
  const bytes = segments.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
  return segments.length === FLUSH_SEGMENTS || bytes > FLUSH_BYTES / 2;
}
