/** The span buffer inside a service of one's own: spans come in by calls, finished segments go out to a function. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type FlushedSegment,
  InvalidSpanError,
  parseIngestSpan,
  SpanBuffer,
  UnreadableSpanError,
} from '@spanbuf/buffer';
import type { SegmentStore } from '@spanbuf/store';

export interface SegmentServiceOptions {
  readonly store: SegmentStore;
  /** Takes over a segment; when it rejects, the segment comes again. May see one twice, when the process dies: see `flushId`. */
  readonly deliver: (segment: FlushedSegment) => Promise<void>;
  readonly log: (text: string) => void;
  /** Unix seconds. */
  readonly clock: () => number;
  /** Quiet time after which a segment whose root was seen is delivered, seconds. */
  readonly rootTimeoutSeconds: number;
}

export interface Received {
  readonly accepted: number;
  /** One line for each span that was refused. */
  readonly refused: readonly string[];
}

const POLL_MS = 200;
const PAUSE_AFTER_ERROR_MS = 1_000;
/** Segments in hand at once, and their bytes: what bounds the memory of a flush. */
const FLUSH_LIMITS = { limit: 100, maxBytes: 32 * 1024 * 1024 };

/** One of several may run on the same store: leases keep them apart. */
export class SegmentService {
  readonly #buffer: SpanBuffer;
  readonly #options: SegmentServiceOptions;
  readonly #stopping = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  constructor(options: SegmentServiceOptions) {
    const { store, rootTimeoutSeconds, log } = options;
    this.#options = options;
    this.#buffer = new SpanBuffer(store, {
      rootTimeoutSeconds,
      onLoss: ({ segmentId, lostSpanCount }) => log(`segment ${segmentId}: Redis lost ${lostSpanCount} spans`),
      onUnreadable: ({ segmentId, error }) => log(`segment ${segmentId}: ${error.message}`),
    });
  }

  /**
   * Stores spans, a JSON object each. Once it resolves they are in Redis, and will be delivered whatever dies.
   * When it rejects, the sender has to send them again. They have no offsets, so what is sent twice is there twice; who has a log to
   * read from gives `offset` with each, and replays are recognised.
   */
  async receive(lines: readonly string[]): Promise<Received> {
    const spans = [];
    const refused: string[] = [];
    for (const line of lines) {
      try {
        spans.push(parseIngestSpan(Buffer.from(line), { partition: 0 }));
      } catch (error) {
        if (!(error instanceof InvalidSpanError)) throw error;
        refused.push(error.message);
      }
    }
    // Spans come as they end, so the time of the messages is the time of the wall.
    const { accepted, rejected } = await this.#buffer.process(spans, { now: this.#options.clock() });
    return { accepted, refused: [...refused, ...rejected.map(({ error }) => error.message)] };
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Resolves when what is in hand is delivered, or given back. What is not due stays in Redis, for the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let pauseMs = POLL_MS;
      try {
        const segments = await this.#buffer.flush({ now: this.#options.clock(), ...FLUSH_LIMITS });
        for (const segment of segments) await this.#deliver(segment);
        if (segments.length > 0) continue;
      } catch (error) {
        this.#options.log(`flush: ${error}`);
        pauseMs = PAUSE_AFTER_ERROR_MS;
      }
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #deliver(segment: FlushedSegment): Promise<void> {
    const { log, deliver } = this.#options;
    try {
      await deliver(segment);
      // Only now is it gone from Redis.
      await this.#buffer.done([segment]);
    } catch (error) {
      log(`segment ${segment.segmentId}: ${error}`);
      // Delivering it again does not help: out of the way, for an operator (`spanbuf parked`).
      if (error instanceof UnreadableSpanError) await this.#buffer.park([{ segment, reason: error.message }]);
      else await this.#giveBack(segment);
    }
  }

  /** After a while: otherwise it would be tried again and again as fast as it fails. */
  async #giveBack(segment: FlushedSegment): Promise<void> {
    await sleep(PAUSE_AFTER_ERROR_MS, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    await this.#buffer.release([segment]);
  }
}
