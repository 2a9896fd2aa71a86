import { SpanbufError } from '@spanbuf/keys';

/** No broker answered, or not in time, or one answered that it cannot do it now. The same call may succeed later. */
export class KafkaUnavailableError extends SpanbufError {
  readonly code = 'SPANBUF_KAFKA_UNAVAILABLE';
  readonly retriable = true;
}

/** A broker answered no: wrong password, not authorised, a certificate that is not trusted. Waiting does not help. */
export class KafkaRefusedError extends SpanbufError {
  readonly code = 'SPANBUF_KAFKA_REFUSED';
  readonly retriable = false;
}

/** The topic does not exist. Nothing here creates topics by using them. */
export class KafkaTopicMissingError extends SpanbufError {
  readonly code = 'SPANBUF_KAFKA_TOPIC_MISSING';
  readonly retriable = false;
  readonly topic: string;

  constructor(topic: string, options?: ErrorOptions) {
    super(`Kafka has no topic ${topic}`, options);
    this.topic = topic;
  }
}

/** The broker refuses this message for good: too large, an invalid record. Sending it again does not help. */
export class MessageRefusedError extends SpanbufError {
  readonly code = 'SPANBUF_MESSAGE_REFUSED';
  readonly retriable = false;
  /** As Kafka names it: `MESSAGE_TOO_LARGE`, `INVALID_RECORD`, … */
  readonly reason: string;

  constructor(reason: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/**
 * What the log holds at this offset cannot be decoded: damaged, of a format older than Kafka 0.11, or larger than the
 * reader's bound. Nothing after it is delivered until somebody moves the group's offset past it.
 */
export class KafkaUnreadableBatchError extends SpanbufError {
  readonly code = 'SPANBUF_KAFKA_UNREADABLE_BATCH';
  readonly retriable = false;
  readonly topic: string;
  readonly partition: number;
  /** First offset of the batch. */
  readonly offset: bigint;

  constructor(topic: string, partition: number, offset: bigint, problem: string, options?: ErrorOptions) {
    super(`cannot read ${topic} partition ${partition} at offset ${offset}: ${problem}`, options);
    this.topic = topic;
    this.partition = partition;
    this.offset = offset;
  }
}
