import { EventQueue } from './event-queue.ts';
import { breakMessage, INVALID_KINDS, type InvalidKind, KINDS_WITHOUT_TEXT } from './invalid-messages.ts';
import { Random } from './random.ts';
import { type PlannedSpan, spanText } from './span-text.ts';
import { planSingleSpan, planTrace } from './trace-shapes.ts';

export interface LoadOptions {
  /** An integer from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Unix time at which the first trace begins. */
  readonly startSeconds: number;
  /** Messages per second of message time, on average; above 0. */
  readonly messagesPerSecond: number;
  /** Messages in all, broken ones included; Infinity for a load without end. */
  readonly messageCount: number;
  /** Of messages that are broken, 0 to 1. */
  readonly invalidShare: number;
  /** Of segments with a root, those that get another span when they seemed complete, 0 to 1. */
  readonly lateShare: number;
  /** From 1. */
  readonly projectCount: number;
  /** Whether every message has at least one byte, as a line of a file must have to be seen. */
  readonly isForLines: boolean;
}

/** One message of the input topic. */
export interface LoadMessage {
  /** When it is sent: Unix milliseconds, a whole number, never less than that of the message before. */
  readonly timeMs: number;
  /** 32 hex digits. Of a broken message those of some trace. */
  readonly traceId: string;
  readonly value: Buffer | null;
  /** Undefined: it is a span. */
  readonly invalidKind: InvalidKind | undefined;
}

interface Event {
  readonly span: PlannedSpan;
  readonly invalidKind: InvalidKind | undefined;
}

const SECOND_US = 1_000_000;

/**
 * Messages in the order in which they are sent; the options alone decide which. Traces begin at a steady pace and
 * overlap. Holds the spans that are under way, about two seconds' worth.
 */
export class Load {
  readonly #options: LoadOptions;
  readonly #random: Random;
  readonly #events = new EventQueue<Event>();
  readonly #kinds: readonly InvalidKind[];
  /** When the next trace begins, Unix microseconds. */
  #arrivalUs: number;
  #planned = 0;
  #plannedInvalid = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#arrivalUs = Math.round(options.startSeconds * SECOND_US);
    const kinds = Object.keys(INVALID_KINDS) as InvalidKind[];
    this.#kinds = options.isForLines ? kinds.filter((kind) => !KINDS_WITHOUT_TEXT.includes(kind)) : kinds;
  }

  /** `timeMs` of the next message; Infinity after the last. */
  get nextTimeMs(): number {
    this.#planAhead();
    return Math.floor(this.#events.nextTime / 1_000);
  }

  /** Undefined after the last. */
  next(): LoadMessage | undefined {
    this.#planAhead();
    const timeMs = Math.floor(this.#events.nextTime / 1_000);
    const event = this.#events.take();
    if (event === undefined) return undefined;
    const { span, invalidKind } = event;
    const text = spanText(span, this.#random);
    const value = invalidKind === undefined ? Buffer.from(text) : breakMessage(invalidKind, text, span);
    return { timeMs, traceId: span.trace.traceId, value, invalidKind };
  }

  /** Plans until nothing that is still to be planned can come before what is next. */
  #planAhead(): void {
    while (this.#planned < this.#options.messageCount && this.#events.nextTime >= this.#arrivalUs) this.#planMore();
  }

  #planMore(): void {
    const { messageCount, messagesPerSecond, projectCount, invalidShare, lateShare } = this.#options;
    const at = { startUs: Math.floor(this.#arrivalUs), projectCount };
    const before = this.#planned;
    if (this.#plannedInvalid < invalidShare * (this.#planned + 1)) {
      const invalidKind = this.#kinds[this.#plannedInvalid++ % this.#kinds.length];
      this.#add(planSingleSpan(this.#random, at), invalidKind);
    } else {
      const spans = planTrace(this.#random, { ...at, lateShare });
      // At the end single spans, so that there are as many as asked for and no trace is cut.
      if (spans.length > messageCount - this.#planned) this.#add(planSingleSpan(this.#random, at));
      else for (const span of spans) this.#add(span);
    }
    this.#arrivalUs += ((this.#planned - before) / messagesPerSecond) * SECOND_US;
  }

  #add(span: PlannedSpan, invalidKind?: InvalidKind): void {
    this.#events.add(span.receivedUs, { span, invalidKind });
    this.#planned += 1;
  }
}
