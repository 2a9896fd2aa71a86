import type { StoredSpan } from '@spanbuf/store';
import { printable } from '../reporter.ts';

/** Deeper spans are indented no further. */
const MOST_INDENTED = 40;
const SPAN_ID = /^[0-9a-f]{16}$/;

/** A span, or a parent that spans name and that is not among them. */
interface Branch {
  readonly spanId: string;
  readonly name: string | undefined;
  readonly below: Branch[];
}

/**
 * Spans below their parents, in the order of their offsets: id and name a line, at most `mostLines` of them. The parent of a span is the
 * one that its payload names; a parent that is not among the spans has a line that says so.
 * @param whereabouts - What is known of such a parent, by its id; the empty string for nothing.
 */
export function formatSpanTree(
  spans: readonly StoredSpan[],
  mostLines: number,
  whereabouts: (spanId: string) => string = () => '',
): string[] {
  const branches = branchesOf(spans);
  const lines: string[] = [];
  const seen = new Set<Branch>();
  let shown = 0;
  for (const top of branches) {
    const open = [{ branch: top, depth: 0 }];
    for (let next = open.pop(); next !== undefined && lines.length < mostLines; next = open.pop()) {
      const { branch, depth } = next;
      if (seen.has(branch)) continue;
      seen.add(branch);
      if (branch.name !== undefined) shown++;
      const known = branch.name === undefined ? whereabouts(branch.spanId) : '';
      const text = branch.name ?? `is missing${known === '' ? '' : `: ${known}`}`;
      lines.push(`${'  '.repeat(Math.min(depth, MOST_INDENTED))}${branch.spanId}  ${text}`);
      for (const child of branch.below.toReversed()) open.push({ branch: child, depth: depth + 1 });
    }
  }
  const left = spans.length - shown;
  return left > 0 ? [...lines, `… and ${left} more: --json shows all`] : lines;
}

/** Ids of parents, and of roots of segments, that are not among the spans. */
export function missingParentsOf(spans: readonly StoredSpan[]): string[] {
  const known = new Set(spans.map(({ spanId }) => spanId));
  const named = new Set(spans.flatMap((span) => [span.parentId, parentOf(span, factsOf(span))]));
  return [...named].filter((spanId) => !known.has(spanId)).sort();
}

/** What a span is called; `undefined` where its payload is not JSON or has no name. */
export function nameOf(span: StoredSpan): string | undefined {
  return factsOf(span)?.name;
}

/** All branches, those at the top first. Spans whose parents go round in a circle are below none of these. */
function branchesOf(spans: readonly StoredSpan[]): Branch[] {
  const ordered = [...spans].sort(byPosition);
  const known = new Map<string, Branch>();
  const all = ordered.map((span) => {
    const facts = factsOf(span);
    const name = facts === undefined ? '(not JSON)' : printable(facts.name ?? '(no name)');
    const branch: Branch = { spanId: span.spanId, name, below: [] };
    // Of two spans with one id, the first has the children.
    if (!known.has(span.spanId)) known.set(span.spanId, branch);
    return { span, branch, parentId: parentOf(span, facts) };
  });
  const tops: Branch[] = [];
  const missing = (spanId: string, place: Branch[]): Branch => {
    const branch: Branch = { spanId, name: undefined, below: [] };
    known.set(spanId, branch);
    place.push(branch);
    return branch;
  };
  for (const { span, branch, parentId } of all) {
    if (parentId === span.spanId) {
      tops.unshift(branch);
      continue;
    }
    const root = known.get(span.parentId) ?? missing(span.parentId, tops);
    // One that is missing is somewhere below the root.
    (known.get(parentId) ?? missing(parentId, root.below)).below.push(branch);
  }
  return [...tops, ...all.map(({ branch }) => branch)];
}

interface SpanFacts {
  readonly name: string | undefined;
  readonly parentSpanId: string | undefined;
}

function factsOf({ payload }: StoredSpan): SpanFacts | undefined {
  try {
    const { name, parent_span_id: parent } = JSON.parse(Buffer.from(payload).toString());
    const parentSpanId = typeof parent === 'string' ? parent.toLowerCase() : '';
    return {
      name: typeof name === 'string' ? name : undefined,
      parentSpanId: SPAN_ID.test(parentSpanId) ? parentSpanId : undefined,
    };
  } catch {
    return undefined;
  }
}

/** Its own id where it is the root of its segment. */
function parentOf({ spanId, parentId }: StoredSpan, facts: SpanFacts | undefined): string {
  return spanId === parentId ? spanId : (facts?.parentSpanId ?? parentId);
}

function byPosition(a: StoredSpan, b: StoredSpan): number {
  if (a.partition !== b.partition) return a.partition - b.partition;
  const [first, second] = [a.offset ?? -1n, b.offset ?? -1n];
  return first === second ? 0 : first < second ? -1 : 1;
}
