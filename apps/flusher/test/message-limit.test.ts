import { MessageLimitError, messageLimit } from '@spanbuf/service';
import { describe, expect, it } from 'vitest';

const MIB = 1_048_576;
const outputTopic = 'segments';

describe('messageLimit', () => {
  it('is what the topic takes, less what key and headers need', () => {
    expect(messageLimit({ maxMessageBytes: undefined, outputTopic }, MIB)).toBe(MIB - 2_048);
  });

  it('is 10 MiB at most, also where the topic does not say', () => {
    expect(messageLimit({ maxMessageBytes: undefined, outputTopic }, 100 * MIB)).toBe(10 * MIB);
    expect(messageLimit({ maxMessageBytes: undefined, outputTopic }, undefined)).toBe(10 * MIB);
  });

  it('is what was asked for where that fits, or where the topic does not say', () => {
    expect(messageLimit({ maxMessageBytes: 1_000, outputTopic }, MIB)).toBe(1_000);
    expect(messageLimit({ maxMessageBytes: 20 * MIB, outputTopic }, 100 * MIB)).toBe(20 * MIB);
    expect(messageLimit({ maxMessageBytes: 20 * MIB, outputTopic }, undefined)).toBe(20 * MIB);
  });

  it('refuses what the topic would refuse, and says what would do', () => {
    const limit = () => messageLimit({ maxMessageBytes: MIB, outputTopic }, MIB);
    expect(limit).toThrow(MessageLimitError);
    expect(limit).toThrow(`SPANBUF_MAX_MESSAGE_BYTES must be at most ${MIB - 2_048}: topic segments`);
    expect(() => messageLimit({ maxMessageBytes: undefined, outputTopic }, 1_000)).toThrow(
      'raise its max.message.bytes',
    );
  });
});
