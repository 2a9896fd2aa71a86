import { InvalidSpanError, parseIngestSpan, type Span } from '@spanbuf/buffer';
import type { LogMessage } from '@spanbuf/kafka';
import { printable } from '@spanbuf/service';
import { type DropRule, findPartitionRule, findRule } from './drop-rules.ts';

export interface InvalidMessage {
  readonly message: LogMessage;
  /** One printable line. */
  readonly reason: string;
}

/** What the messages of a batch are: every one is in exactly one of the three. */
export interface DecodedBatch {
  readonly spans: readonly Span[];
  readonly invalid: readonly InvalidMessage[];
  /** Name of a rule -> offsets of the messages it dropped. */
  readonly dropped: ReadonlyMap<string, readonly bigint[]>;
}

export interface DecodeOptions {
  /** Tells the offsets of a topic from those of one of the same name before it. */
  readonly topicId: string;
  readonly maxSpanBytes: number;
  readonly rules: readonly DropRule[];
}

/** Reads messages of one partition as spans. */
export function decodeBatch(messages: readonly LogMessage[], options: DecodeOptions): DecodedBatch {
  const { topicId, maxSpanBytes, rules } = options;
  const spans: Span[] = [];
  const invalid: InvalidMessage[] = [];
  const dropped = new Map<string, bigint[]>();
  const drop = (rule: string, offset: bigint): void => {
    const offsets = dropped.get(rule);
    if (offsets === undefined) dropped.set(rule, [offset]);
    else offsets.push(offset);
  };
  for (const message of messages) {
    const { partition, offset, value } = message;
    const partitionRule = rules.length > 0 ? findPartitionRule(rules, partition) : undefined;
    if (partitionRule !== undefined) {
      drop(partitionRule, offset);
      continue;
    }
    if (message.unreadable !== undefined) {
      const reason = `not readable: ${printable(message.unreadable)}; the value is the whole batch as it lies in the log`;
      invalid.push({ message, reason });
      continue;
    }
    if (value === null) {
      invalid.push({ message, reason: 'not a span: the message has no value' });
      continue;
    }
    try {
      const span = parseIngestSpan(value, { partition, offset, source: topicId }, { maxSpanBytes });
      const rule = rules.length > 0 ? findRule(rules, span) : undefined;
      if (rule === undefined) spans.push(span);
      else drop(rule, offset);
    } catch (error) {
      if (!(error instanceof InvalidSpanError)) throw error;
      invalid.push({ message, reason: error.message });
    }
  }
  return { spans, invalid, dropped };
}
