/** Readings that decide together: fewer than half of them cannot move the clock where it should not go. */
const WINDOW_READINGS = 15;
const READINGS_PER_BATCH = 5;
/** Year 2242. A later time is not one. */
const LATEST_SECONDS = 2 ** 33;

export interface MessageClockLimits {
  /** Most seconds that one batch moves the clock. */
  readonly maxStepSeconds: number;
  /** How far the spans' times may fall behind before the input counts as begun anew. */
  readonly maxBackSeconds: number;
}

/**
 * Message time of an input: seconds since its beginning. It follows the median of what the last few batches say, reading
 * a handful of spans of each, only forward and only in small steps. So single spans from 1970 or 2099 do not move it; a
 * gap in the input, or a file put together out of several, makes nothing due too early and does not stop it. That it
 * may lag behind does no harm: segments then stay a little longer.
 */
export class MessageClock {
  readonly #limits: MessageClockLimits;
  readonly #readings: number[] = [];
  #reference: number | undefined;
  #nowSeconds = 0;

  constructor(limits: MessageClockLimits) {
    this.#limits = limits;
  }

  get nowSeconds(): number {
    return this.#nowSeconds;
  }

  /** Moves the clock to the time of a batch, given its payloads. */
  advance(payloads: readonly Uint8Array[]): void {
    const count = Math.min(payloads.length, READINGS_PER_BATCH);
    const readings: number[] = [];
    for (let i = 0; i < count; i++) {
      const payload = payloads[Math.floor((i * payloads.length) / count)];
      const seconds = payload && findMessageTime(payload);
      if (seconds !== undefined) readings.push(seconds);
    }
    this.observe(readings);
  }

  /** The same, given times of a few of its spans, Unix seconds. */
  observe(readings: readonly number[]): void {
    this.#readings.push(...readings);
    this.#readings.splice(0, this.#readings.length - WINDOW_READINGS);
    const median = lowerMedian(this.#readings);
    if (median !== undefined) this.#follow(median);
  }

  #follow(median: number): void {
    const { maxStepSeconds, maxBackSeconds } = this.#limits;
    this.#reference ??= median;
    const aheadSeconds = median - this.#reference;
    if (aheadSeconds > 0) this.#nowSeconds += Math.min(aheadSeconds, maxStepSeconds);
    if (aheadSeconds > 0 || aheadSeconds < -maxBackSeconds) this.#reference = median;
  }
}

/**
 * When a span was received, else when it ended or started: Unix seconds, or undefined where it says nothing credible.
 * @param payload - A JSON object. Parsed for it, hence only for a few spans of a batch.
 */
export function findMessageTime(payload: Uint8Array): number | undefined {
  const span: Record<string, unknown> = JSON.parse(Buffer.from(payload).toString());
  return [span['received'], span['end_timestamp'], span['start_timestamp']].find(isCredible);
}

function isCredible(seconds: unknown): seconds is number {
  return typeof seconds === 'number' && seconds > 0 && seconds < LATEST_SECONDS;
}

function lowerMedian(numbers: readonly number[]): number | undefined {
  return numbers.toSorted((a, b) => a - b)[Math.floor((numbers.length - 1) / 2)];
}
