import type { SpanContent } from './span-content.ts';

/** Where a span is in the input, and when it was sent. */
export interface InputPosition {
  readonly partition: number;
  readonly offset: bigint;
  /** Unix milliseconds. */
  readonly timestampMs: number;
}

/** Spans of the input that cannot be told apart: the same id, the same content. Several only where one was sent twice. */
interface Origin {
  readonly spanId: string;
  readonly digest: string;
  readonly segmentEntry: string | undefined;
  /** Of the first of them. */
  readonly position: InputPosition;
  count: number;
  takenCount: number;
  /** Another span with the same id. */
  next: Origin | undefined;
}

/** What the input has of one trace in one project, and how much of it has come out. */
export class TraceInput {
  readonly #origins = new Map<string, Origin>();
  readonly #parents = new Map<string, string>();
  readonly #roots = new Map<string, string>();
  #partition: number | undefined;
  #isSpread = false;

  /** Whether its spans are in more than one partition. */
  get isSpread(): boolean {
    return this.#isSpread;
  }

  /** Of two spans with the same id the first says what its parent is. */
  add(
    spanId: string,
    effectiveParentId: string,
    { content, position }: { readonly content: SpanContent; readonly position: InputPosition },
  ): void {
    const { digest, segmentEntry } = content;
    this.#partition ??= position.partition;
    this.#isSpread ||= position.partition !== this.#partition;
    if (!this.#parents.has(spanId)) this.#parents.set(spanId, effectiveParentId);
    const first = this.#origins.get(spanId);
    for (let origin = first; origin !== undefined; origin = origin.next) {
      if (origin.digest !== digest) continue;
      origin.count += 1;
      return;
    }
    // A part of a long string would keep the whole of it.
    const entry = segmentEntry && Buffer.from(segmentEntry).toString();
    const { partition, offset, timestampMs } = position;
    this.#origins.set(spanId, {
      ...{ spanId, digest, segmentEntry: entry, next: first, count: 1, takenCount: 0 },
      position: { partition, offset, timestampMs },
    });
  }

  has(spanId: string): boolean {
    return this.#origins.has(spanId);
  }

  /**
   * Notes that a span has come out.
   * @returns undefined when no span with this id has this content; `isFirst`: it has not come out as often as it went in.
   */
  take(spanId: string, digest: string): { isFirst: boolean; segmentEntry: string | undefined } | undefined {
    let origin = this.#origins.get(spanId);
    while (origin !== undefined && origin.digest !== digest) origin = origin.next;
    if (origin === undefined) return undefined;
    origin.takenCount += 1;
    return { isFirst: origin.takenCount <= origin.count, segmentEntry: origin.segmentEntry };
  }

  /** Where the chain of effective parents ends; in a circle at its smallest id. Once all spans are there. */
  rootOf(spanId: string): string {
    const path: string[] = [];
    const seen = new Set<string>();
    let at = spanId;
    let root = this.#roots.get(at);
    while (root === undefined) {
      path.push(at);
      seen.add(at);
      const parent = this.#parents.get(at);
      if (parent === undefined || parent === at) root = at;
      else if (seen.has(parent)) root = path.slice(path.indexOf(parent)).sort()[0] as string;
      else {
        at = parent;
        root = this.#roots.get(at);
      }
    }
    for (const id of path) this.#roots.set(id, root);
    return root;
  }

  /** How many different spans each segment has, by its root. Once all spans are there. */
  segmentSizes(): Map<string, number> {
    const sizes = new Map<string, number>();
    for (const spanId of this.#origins.keys()) {
      const root = this.rootOf(spanId);
      sizes.set(root, (sizes.get(root) ?? 0) + 1);
    }
    return sizes;
  }

  /** Spans that have not come out as often as they went in. */
  *missing(): Generator<{ spanId: string; count: number; position: InputPosition }> {
    for (const origin of this.#origins.values()) {
      for (let each: Origin | undefined = origin; each !== undefined; each = each.next) {
        const count = each.count - each.takenCount;
        if (count > 0) yield { spanId: each.spanId, count, position: each.position };
      }
    }
  }
}
