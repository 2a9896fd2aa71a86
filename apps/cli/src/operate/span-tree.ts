import type { StoredSpan } from '@spanbuf/store';
import { printable } from '../reporter.ts';

/** Deeper spans are indented no further. */
const MOST_INDENTED = 40;

/** Spans below their parents, in the order of their offsets: name and id a line, at most `mostLines` of them. */
export function formatSpanTree(spans: readonly StoredSpan[], mostLines: number): string[] {
  const ordered = [...spans].sort(byPosition);
  const known = new Set(ordered.map(({ spanId }) => spanId));
  const children = new Map<string, StoredSpan[]>();
  for (const span of ordered) {
    const siblings = children.get(span.parentId);
    if (siblings === undefined) children.set(span.parentId, [span]);
    else siblings.push(span);
  }
  const tops = ordered.filter(({ spanId, parentId }) => spanId === parentId || !known.has(parentId));
  const lines: string[] = [];
  const seen = new Set<StoredSpan>();
  // Spans whose parents go round in a circle are below none of the tops.
  for (const top of [...tops, ...ordered]) {
    const open = [{ span: top, depth: 0 }];
    for (let next = open.pop(); next !== undefined && lines.length < mostLines; next = open.pop()) {
      const { span, depth } = next;
      if (seen.has(span)) continue;
      seen.add(span);
      lines.push(`${'  '.repeat(Math.min(depth, MOST_INDENTED))}${span.spanId}  ${nameOf(span)}`);
      // Of two spans with one id, the first has the children.
      const below = children.get(span.spanId) ?? [];
      for (const child of below.toReversed()) open.push({ span: child, depth: depth + 1 });
    }
  }
  const left = spans.length - lines.length;
  return left > 0 ? [...lines, `… and ${left} more: --json shows all`] : lines;
}

function byPosition(a: StoredSpan, b: StoredSpan): number {
  if (a.partition !== b.partition) return a.partition - b.partition;
  const [first, second] = [a.offset ?? -1n, b.offset ?? -1n];
  return first === second ? 0 : first < second ? -1 : 1;
}

function nameOf({ payload }: StoredSpan): string {
  try {
    const { name } = JSON.parse(Buffer.from(payload).toString());
    return typeof name === 'string' ? printable(name) : '(no name)';
  } catch {
    return '(not JSON)';
  }
}
