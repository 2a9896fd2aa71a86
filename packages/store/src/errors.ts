import { SpanbufError } from '@spanbuf/keys';

/** Redis did not do what was asked before the deadline. Nothing is lost: call again. */
export class StoreUnavailableError extends SpanbufError {
  readonly code = 'SPANBUF_STORE_UNAVAILABLE';
  readonly retriable = true;
}

/** Redis refused for a reason that waiting does not mend: no memory left, no permission, a wrong type under a key. */
export class StoreRefusedError extends SpanbufError {
  readonly code = 'SPANBUF_STORE_REFUSED';
  /** True for a full Redis, which empties as segments are flushed; false otherwise. */
  readonly retriable: boolean;

  constructor(message: string, retriable: boolean, options?: ErrorOptions) {
    super(message, options);
    this.retriable = retriable;
  }
}

/**
 * Redis has lost data since this store was made, and somebody has begun anew: what this store would do counts no longer. Read the
 * epoch of `createLossWatch`, make a store of it, and read the input from its committed offset again.
 */
export class StaleEpochError extends SpanbufError {
  readonly code = 'SPANBUF_STALE_EPOCH';
  readonly retriable = false;

  constructor(epoch: number) {
    super(`epoch ${epoch} is over: Redis has lost data since`);
  }
}

/** Options of a store that contradict each other or are out of range; every problem is in the message. */
export class InvalidStoreOptionsError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_STORE_OPTIONS';
  readonly retriable = false;
}

/** What lies under a payload key was not written by a store of this version. */
export class UnreadablePayloadError extends SpanbufError {
  readonly code = 'SPANBUF_UNREADABLE_PAYLOAD';
  readonly retriable = false;
}
