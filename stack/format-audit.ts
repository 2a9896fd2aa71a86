import type { AuditReport } from './segment-audit.ts';

/** A few lines for people, without a line end after the last. */
export function formatAudit({ input, output, deadLetters, problems }: AuditReport): string {
  const reasons = Object.entries(output.reasons).sort(([a], [b]) => (a < b ? -1 : 1));
  const found = problems.kinds.map((kind) => {
    const samples = problems.samplesOf(kind).map((sample) => `\n    ${sample}`);
    return `  ${kind}: ${grouped(problems.countOf(kind))}, for instance${samples.join('')}`;
  });
  return [
    `in:  ${grouped(input.messages)} messages: ${grouped(input.spans)} spans, ${grouped(input.invalid)} broken`,
    `out: ${grouped(output.messages)} messages: ${grouped(output.spans)} spans, ${grouped(output.copies)} copies of messages`,
    `     ${grouped(output.segments)} segments, ${grouped(output.splitSegments)} of them in several generations; ` +
      `${grouped(output.generations)} generations (${reasons.map(([name, count]) => `${name} ${grouped(count)}`).join(', ')}), ` +
      `${grouped(output.cutGenerations)} of them in several messages`,
    `dead letters: ${grouped(deadLetters.messages)}, ${grouped(deadLetters.copies)} copies`,
    ...(problems.total === 0 ? ['verified: every span once, in its segment'] : ['PROBLEMS:', ...found]),
  ].join('\n');
}

/** `1,234,567` */
export function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
