import { SpanbufError } from '@spanbuf/keys';

/** Redis cannot be used; the message says which and why, on one line, without credentials. */
export class RedisNotOpenError extends SpanbufError {
  readonly code = 'SPANBUF_REDIS_NOT_OPEN';
  /** False where waiting does not help: wrong password, wrong kind of server, wrong version, untrusted certificate. */
  readonly retriable: boolean;

  constructor(message: string, retriable: boolean, options?: ErrorOptions) {
    super(message, options);
    this.retriable = retriable;
  }
}
