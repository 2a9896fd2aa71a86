import type { Kafka, LogMessage } from '@spanbuf/kafka';
import { formatAudit } from './format-audit.ts';
import { readTopic } from './read-topic.ts';
import { type AuditMessage, type AuditReport, SegmentAudit } from './segment-audit.ts';

export { formatAudit } from './format-audit.ts';
export { PROBLEM_KINDS, type ProblemKind, Problems } from './problems.ts';
export { type AuditMessage, type AuditReport, type LostSpan, SegmentAudit } from './segment-audit.ts';

export interface VerifyOptions {
  readonly kafka: Kafka;
  readonly inputTopic: string;
  readonly outputTopic: string;
  /** When given, each broken message of the input has to be there. */
  readonly deadLetterTopic?: string | undefined;
  /** Unlike that of any other run: names the consumer groups that read the topics. */
  readonly runId: string;
}

export interface Verification extends AuditReport {
  /** Whether there is no problem. */
  readonly ok: boolean;
  /** A few lines for people. */
  readonly text: string;
}

/**
 * Reads whole topics and judges whether every span of the input came out, in the right segment, unchanged, and under one
 * flush id. What is in the topics when it begins counts: call it when all is out.
 * @throws What @spanbuf/kafka throws when a topic cannot be read.
 * @remarks Holds about 500 bytes for each span of the input.
 */
export async function verifyTopics(options: VerifyOptions): Promise<Verification> {
  const { kafka, inputTopic, outputTopic, deadLetterTopic, runId } = options;
  const audit = new SegmentAudit();
  const read = (topic: string, add: (message: AuditMessage) => void) =>
    readTopic(kafka, { topic, groupId: `spanbuf-verify-${runId}-${topic}` }, (message) => add(auditMessage(message)));
  await read(inputTopic, (message) => audit.addInput(message));
  await read(outputTopic, (message) => audit.addOutput(message));
  if (deadLetterTopic !== undefined) await read(deadLetterTopic, (message) => audit.addDeadLetter(message));
  const report = audit.report({ deadLetters: deadLetterTopic !== undefined });
  return { ...report, ok: report.problems.total === 0, text: formatAudit(report) };
}

function auditMessage({ partition, offset, key, value, headers, timestampMs }: LogMessage): AuditMessage {
  const texts = Object.entries(headers).map(([name, header]) => [name, header?.toString()]);
  return { partition, offset, key, value, timestampMs, headers: Object.fromEntries(texts) };
}
