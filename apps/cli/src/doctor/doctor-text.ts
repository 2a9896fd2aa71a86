import { printable } from '../reporter.ts';
import type { Finding, Level } from './finding.ts';

const LEVELS: readonly Level[] = ['fault', 'unknown', 'warning', 'ok'];
const LEVEL_WIDTH = 7;

/** A line each; of what is wrong, two more. */
export function formatFinding({ check, level, subject, detail, why, remedy }: Finding): string[] {
  const indent = ' '.repeat(LEVEL_WIDTH + 2);
  const name = subject === undefined ? check : `${check}  ${printable(subject)}`;
  const lines = [`${level.padEnd(LEVEL_WIDTH)}  ${name}: ${printable(detail)}`];
  if (level === 'ok') return lines;
  if (why !== undefined) lines.push(`${indent}why: ${printable(why)}`);
  if (remedy !== undefined) lines.push(`${indent}mend: ${printable(remedy)}`);
  return lines;
}

/** The worst first, each in the order in which they were found. */
export function inOrder(findings: readonly Finding[]): Finding[] {
  return LEVELS.flatMap((level) => findings.filter((finding) => finding.level === level));
}

export function formatVerdict(findings: readonly Finding[]): string {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  const faults = count('fault');
  const warnings = count('warning');
  const parts = [
    `${faults} fault${faults === 1 ? '' : 's'}`,
    `${warnings} warning${warnings === 1 ? '' : 's'}`,
    `${count('unknown')} not looked at`,
    `${count('ok')} ok`,
  ];
  return parts.join(', ');
}

export function findingJson({ check, level, subject, detail, why, remedy }: Finding): string {
  return JSON.stringify({ type: 'finding', check, level, subject, detail, why, remedy });
}

export function verdictJson(findings: readonly Finding[]): string {
  const counts = Object.fromEntries(
    LEVELS.map((level) => [level, findings.filter((finding) => finding.level === level).length]),
  );
  return JSON.stringify({ type: 'verdict', ...counts });
}
