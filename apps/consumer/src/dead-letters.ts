import type { LogProducer, OutgoingMessage } from '@spanbuf/kafka';
import { SpanbufError } from '@spanbuf/keys';
import type { InvalidMessage } from './decode-batch.ts';

/** The dead-letter topic did not take everything. Nothing is lost: send again. */
export class DeadLettersFailedError extends SpanbufError {
  readonly code = 'SPANBUF_DEAD_LETTERS_FAILED';
  readonly retriable = true;
}

/** One invalid message on its way to the dead-letter topic. */
interface Letter {
  readonly invalid: InvalidMessage;
  /** Why it goes without its value: the broker refused it with it. */
  readonly omitted: string | undefined;
}

/**
 * Invalid messages on their way to the dead-letter topic: with the bytes, key and headers they came with, and headers that
 * say why and where from. One that the broker refuses goes without its value; its headers say where it can be read.
 */
export class DeadLetters {
  readonly #topics: { readonly inputTopic: string; readonly deadLetterTopic: string };
  #waiting: readonly Letter[];
  #whole = 0;
  #withoutValue = 0;

  constructor(
    topics: { readonly inputTopic: string; readonly deadLetterTopic: string },
    invalid: readonly InvalidMessage[],
  ) {
    this.#topics = topics;
    this.#waiting = invalid.map((each) => ({ invalid: each, omitted: undefined }));
  }

  /** Messages that are in the topic: whole, or without their value. */
  get counts(): { readonly whole: number; readonly withoutValue: number } {
    return { whole: this.#whole, withoutValue: this.#withoutValue };
  }

  /**
   * Sends what is not in the topic yet. After an error call it again: what was acknowledged is not sent twice.
   * @throws {@link DeadLettersFailedError} retriable.
   */
  async send(producer: LogProducer): Promise<void> {
    while (this.#waiting.length > 0) {
      const { inputTopic, deadLetterTopic } = this.#topics;
      const letters = this.#waiting;
      const outcomes = await producer.send(
        deadLetterTopic,
        letters.map((letter) => outgoing(letter, inputTopic)),
      );
      const waiting: Letter[] = [];
      let failure: Error | undefined;
      for (const [i, outcome] of outcomes.entries()) {
        const letter = letters[i] as Letter;
        if (outcome.status === 'acked') {
          if (letter.omitted === undefined) this.#whole += 1;
          else this.#withoutValue += 1;
        } else if (outcome.status === 'refused' && letter.omitted === undefined) {
          waiting.push({ invalid: letter.invalid, omitted: outcome.error.message });
        } else {
          failure = outcome.error;
          waiting.push(letter);
        }
      }
      this.#waiting = waiting;
      if (failure !== undefined) {
        const message = `dead letters were not taken by ${deadLetterTopic}: ${failure.message}`;
        throw new DeadLettersFailedError(message, { cause: failure });
      }
    }
  }
}

/** With the time of its sending: the topic may refuse the time of the message, which may be what is wrong with it. */
function outgoing({ invalid: { message, reason }, omitted }: Letter, inputTopic: string): OutgoingMessage {
  const why = {
    'spanbuf-reason': reason,
    'spanbuf-topic': inputTopic,
    'spanbuf-partition': String(message.partition),
    'spanbuf-offset': String(message.offset),
    'spanbuf-timestamp-ms': String(message.timestampMs),
  };
  if (omitted !== undefined) return { key: null, value: null, headers: { ...why, 'spanbuf-value-omitted': omitted } };
  return { key: message.key, value: message.value, headers: { ...message.headers, ...why } };
}
