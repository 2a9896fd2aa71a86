import { printable } from '../reporter.ts';
import type { Finding, Level } from './finding.ts';

const LEVELS: readonly Level[] = ['fault', 'unknown', 'warning', 'ok'];
const LEVEL_WIDTH = 7;

/** A line for each that says something else, with all of which it says so; of what is wrong, two more. */
export function formatFindings(findings: readonly Finding[]): string[] {
  const groups = new Map<string, Finding[]>();
  for (const finding of findings) {
    const same = JSON.stringify({ ...finding, subject: undefined });
    groups.set(same, [...(groups.get(same) ?? []), finding]);
  }
  return [...groups.values()].flatMap((group) => {
    const { check, level, detail, why, remedy } = group[0] as Finding;
    const subjects = group.flatMap(({ subject }) => (subject === undefined ? [] : printable(subject)));
    const lines = [`${level.padEnd(LEVEL_WIDTH)}  ${[check, ...subjects].join('  ')}: ${printable(detail)}`];
    if (level === 'ok') return lines;
    const indent = ' '.repeat(LEVEL_WIDTH + 2);
    if (why !== undefined) lines.push(`${indent}why: ${printable(why)}`);
    if (remedy !== undefined) lines.push(`${indent}mend: ${printable(remedy)}`);
    return lines;
  });
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
