import { SpanbufError } from '@spanbuf/keys';

/** Key, headers and framing of a message, which count against the limit of the topic as well. */
export const MESSAGE_OVERHEAD_BYTES = 2_048;
const MOST_MESSAGE_BYTES = 10 * 1_024 * 1_024;

/** The output topic takes only messages that are shorter than those that were asked for. */
export class MessageLimitError extends SpanbufError {
  readonly code = 'SPANBUF_MESSAGE_LIMIT';
  readonly retriable = false;
}

/**
 * @param topicBytes - `max.message.bytes` of the output topic; undefined where it may not be read.
 * @throws {@link MessageLimitError}
 */
export function messageLimit(
  { maxMessageBytes, outputTopic }: { readonly maxMessageBytes: number | undefined; readonly outputTopic: string },
  topicBytes: number | undefined,
): number {
  const fitting = topicBytes === undefined ? MOST_MESSAGE_BYTES : topicBytes - MESSAGE_OVERHEAD_BYTES;
  if (fitting <= 0) {
    throw new MessageLimitError(
      `topic ${outputTopic} takes messages of ${topicBytes} bytes only: raise its max.message.bytes`,
    );
  }
  if (maxMessageBytes !== undefined && maxMessageBytes > fitting && topicBytes !== undefined) {
    throw new MessageLimitError(
      `SPANBUF_MAX_MESSAGE_BYTES must be at most ${fitting}: topic ${outputTopic} has max.message.bytes=${topicBytes}, ` +
        `and key and headers take up to ${MESSAGE_OVERHEAD_BYTES}. Got ${maxMessageBytes}`,
    );
  }
  return maxMessageBytes ?? Math.min(fitting, MOST_MESSAGE_BYTES);
}
