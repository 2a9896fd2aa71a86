import { SpanbufError } from '@spanbuf/keys';

/** Messages that are judged together. */
const WINDOW_MESSAGES = 10_000;
/** With fewer messages nothing is judged: a handful of broken ones must not stop an app that has just started. */
const LEAST_MESSAGES = 1_000;

/** So many messages are invalid that the input, or this version, must be wrong. Nothing of it is taken. */
export class TooManyInvalidError extends SpanbufError {
  readonly code = 'SPANBUF_TOO_MANY_INVALID';
  readonly retriable = false;
}

/** The share of invalid messages among the last 10,000 or so. */
export class InvalidShare {
  readonly #maxShare: number;
  #messages = 0;
  #invalid = 0;

  constructor(maxShare: number) {
    this.#maxShare = maxShare;
  }

  /**
   * Counts a batch.
   * @throws {@link TooManyInvalidError} when the share is above the limit.
   */
  add(messages: number, invalid: number, example: string | undefined): void {
    // Older messages count for less and less, so that no list of them has to be kept.
    const keep = Math.min(1, Math.max(0, WINDOW_MESSAGES - messages) / Math.max(1, this.#messages));
    this.#messages = this.#messages * keep + messages;
    this.#invalid = this.#invalid * keep + invalid;
    if (this.#messages < LEAST_MESSAGES || this.#invalid <= this.#messages * this.#maxShare) return;
    const percent = (share: number) => `${Math.round(share * 100)} %`;
    throw new TooManyInvalidError(
      `${percent(this.#invalid / this.#messages)} of the last ${Math.round(this.#messages)} messages are invalid, more than ` +
        `SPANBUF_MAX_INVALID_SHARE allows (${percent(this.#maxShare)}). They stay in the input topic. Last one: ${example ?? 'unknown'}`,
    );
  }
}
