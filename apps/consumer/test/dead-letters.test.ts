import {
  KafkaUnavailableError,
  type LogMessage,
  type LogProducer,
  MessageRefusedError,
  type OutgoingMessage,
  type SendOutcome,
} from '@spanbuf/kafka';
import { describe, expect, it } from 'vitest';
import { DeadLetters, DeadLettersFailedError } from '../src/dead-letters.ts';

const TOPICS = { inputTopic: 'spans', deadLetterTopic: 'letters' };

function invalid(offset: number, message: Partial<LogMessage> = {}) {
  const value = Buffer.from(`value ${offset}`);
  const rest = { partition: 3, timestampMs: 1_000, key: Buffer.from('key'), value, headers: {}, ...message };
  return { message: { offset: BigInt(offset), ...rest }, reason: `reason ${offset}` };
}

const acked: SendOutcome = { status: 'acked', partition: 0 };
const refused: SendOutcome = { status: 'refused', error: new MessageRefusedError('MESSAGE_TOO_LARGE', 'too large') };
const failed: SendOutcome = { status: 'failed', error: new KafkaUnavailableError('nobody there') };

/** Answers each call with the next outcomes, and keeps what it was given. */
function aProducer(...answers: readonly SendOutcome[][]) {
  const sent: (readonly OutgoingMessage[])[] = [];
  const producer: LogProducer = {
    send: async (topic, messages) => {
      expect(topic).toBe('letters');
      sent.push(messages);
      return answers[sent.length - 1] ?? [];
    },
    close: async () => undefined,
  };
  return { producer, sent };
}

const offsetsOf = (messages: readonly OutgoingMessage[] | undefined) =>
  messages?.map(({ headers }) => headers?.['spanbuf-offset']);

describe('DeadLetters', () => {
  it('have the bytes, key and headers of their messages, and say why and where from', async () => {
    const headers = { own: Buffer.from([0xff]), twice: ['a', 'b'], 'no value': undefined, 'spanbuf-reason': 'forged' };
    const message = invalid(5, { headers });
    const { producer, sent } = aProducer([acked]);
    const letters = new DeadLetters(TOPICS, [message]);
    await letters.send(producer);
    expect(letters.counts).toEqual({ whole: 1, withoutValue: 0 });
    expect(sent).toEqual([
      [
        {
          key: message.message.key,
          value: message.message.value,
          headers: {
            ...headers,
            'spanbuf-reason': 'reason 5',
            'spanbuf-topic': 'spans',
            'spanbuf-partition': '3',
            'spanbuf-offset': '5',
            'spanbuf-timestamp-ms': '1000',
          },
        },
      ],
    ]);
  });

  it('keep a tombstone and a message without a key what they are', async () => {
    const { producer, sent } = aProducer([acked]);
    await new DeadLetters(TOPICS, [invalid(1, { key: null, value: null })]).send(producer);
    expect(sent[0]).toMatchObject([{ key: null, value: null }]);
    expect(sent[0]?.[0]?.headers).not.toHaveProperty('spanbuf-value-omitted');
  });

  it('go without value, key and foreign headers where the broker refuses them, and say so', async () => {
    const { producer, sent } = aProducer([acked, refused, acked], [acked]);
    const letters = new DeadLetters(TOPICS, [invalid(1), invalid(2, { headers: { own: 'x' } }), invalid(3)]);
    await letters.send(producer);
    expect(letters.counts).toEqual({ whole: 2, withoutValue: 1 });
    expect(sent[1]).toEqual([
      {
        key: null,
        value: null,
        headers: {
          'spanbuf-reason': 'reason 2',
          'spanbuf-topic': 'spans',
          'spanbuf-partition': '3',
          'spanbuf-offset': '2',
          'spanbuf-timestamp-ms': '1000',
          'spanbuf-value-omitted': 'too large',
        },
      },
    ]);
  });

  it('are sent again where they were not acknowledged, and those alone', async () => {
    const { producer, sent } = aProducer([acked, failed, refused], [failed, acked], [acked]);
    const letters = new DeadLetters(TOPICS, [invalid(1), invalid(2), invalid(3)]);
    await expect(letters.send(producer)).rejects.toMatchObject({
      code: 'SPANBUF_DEAD_LETTERS_FAILED',
      retriable: true,
      message: 'dead letters were not taken by letters: nobody there',
    });
    await expect(letters.send(producer)).rejects.toThrow(DeadLettersFailedError);
    expect(letters.counts).toEqual({ whole: 1, withoutValue: 1 });
    await letters.send(producer);
    expect(sent.map(offsetsOf)).toEqual([['1', '2', '3'], ['2', '3'], ['2']]);
    expect(letters.counts).toEqual({ whole: 2, withoutValue: 1 });
    await letters.send(producer);
    expect(sent).toHaveLength(3);
  });

  it('are not in the topic while even what says why is refused', async () => {
    const { producer } = aProducer([refused], [refused], [acked]);
    const letters = new DeadLetters(TOPICS, [invalid(1)]);
    await expect(letters.send(producer)).rejects.toThrow('too large');
    expect(letters.counts).toEqual({ whole: 0, withoutValue: 0 });
    await letters.send(producer);
    expect(letters.counts).toEqual({ whole: 0, withoutValue: 1 });
  });
});
