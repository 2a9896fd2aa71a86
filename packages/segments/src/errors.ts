import { SpanbufError } from '@spanbuf/keys';

/** A message that is not one of spanbuf's output topic. The message says what is wrong with it. */
export class InvalidSegmentMessageError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_SEGMENT_MESSAGE';
  readonly retriable = false;
}

/** Options of a merger that are out of range; every problem is in the message. */
export class InvalidMergerOptionsError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_MERGER_OPTIONS';
  readonly retriable = false;
}
