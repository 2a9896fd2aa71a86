import type { SegmentPart } from './segment-message.ts';

/** What a segment is, as far as it has come. */
export interface ContentDescription {
  /** Of the messages it is made of, in the order of `spans`. */
  readonly flushIds: readonly string[];
  /** Which generations have come, rising. The first is not 1 when what was flushed before is not here. */
  readonly generations: readonly number[];
  /** Of messages that are known to exist and have not come. */
  readonly missingPartCount: number;
  /** Spans that Redis lost. */
  readonly lostSpanCount: number;
  /** Whether the root span had arrived when the last of it was flushed; it may be in a message that is not here. */
  readonly rootSeen: boolean;
  /** Message time of the first and the last span, Unix seconds. */
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /**
   * JSON text of each span, as it came: `JSON.parse` gives the object, with big integers rounded. The root first, if it
   * is here; then by generation and part.
   */
  readonly spans: readonly string[];
}

/** What has come of one segment. Two messages that have a span in common, to the byte, count it once. */
export class SegmentContent {
  readonly #spans = new Set<string>();
  readonly #messages: { readonly part: SegmentPart; readonly newSpans: readonly string[] }[] = [];
  /** What one flush took out, by what all its messages say of it. */
  readonly #flushes = new Map<string, Flush>();

  /** @returns Whether anything of it is new. Of what is not, nothing is kept. */
  add(part: SegmentPart): boolean {
    const missingBefore = this.missingPartCount;
    this.#note(part);
    const newSpans = part.spans.filter((text) => {
      if (this.#spans.has(text)) return false;
      this.#spans.add(text);
      return true;
    });
    const isNew = newSpans.length > 0 || this.missingPartCount < missingBefore;
    if (isNew) this.#messages.push({ part, newSpans });
    return isNew;
  }

  /** Of messages that are known to exist and have not come. */
  get missingPartCount(): number {
    return this.#sum(({ cuts }) => missingOf(cuts));
  }

  /** Everything so far, in order: generations, their parts, and before all of them the root. */
  describe(): ContentDescription {
    const messages = this.#messages.toSorted(
      (a, b) => a.part.generation - b.part.generation || a.part.part - b.part.part,
    );
    const parts = messages.map(({ part }) => part);
    const spans = messages.flatMap(({ newSpans }) => newSpans);
    const root = parts.find(({ holdsRoot }) => holdsRoot)?.spans[0];
    if (root !== undefined && spans[0] !== root) spans.unshift(...spans.splice(spans.indexOf(root), 1));
    return {
      flushIds: parts.map(({ flushId }) => flushId),
      generations: [...new Set(parts.map(({ generation }) => generation))],
      missingPartCount: this.missingPartCount,
      lostSpanCount: this.#sum((flush) => flush.lostSpanCount),
      rootSeen: parts.some(({ rootSeen }) => rootSeen),
      firstSeconds: parts.reduce((least, part) => Math.min(least, part.firstSeconds), Number.POSITIVE_INFINITY),
      lastSeconds: parts.reduce((most, part) => Math.max(most, part.lastSeconds), Number.NEGATIVE_INFINITY),
      spans,
    };
  }

  #sum(of: (flush: Flush) => number): number {
    let total = 0;
    for (const flush of this.#flushes.values()) total += of(flush);
    return total;
  }

  #note({ generation, firstSeconds, lastSeconds, parts, part, lostSpanCount }: SegmentPart): void {
    // Once spanbuf has forgotten the trace, its generations begin at 1 again.
    const key = `${generation} ${firstSeconds} ${lastSeconds}`;
    const flush = this.#flushes.get(key) ?? { cuts: new Map(), lostSpanCount };
    this.#flushes.set(key, flush);
    flush.lostSpanCount = Math.min(flush.lostSpanCount, lostSpanCount);
    // A flusher that takes over, with another limit, cuts the same spans into another number of messages.
    flush.cuts.set(parts, (flush.cuts.get(parts) ?? new Set()).add(part));
  }
}

interface Flush {
  /** Number of messages -> which of them have come. */
  readonly cuts: Map<number, Set<number>>;
  lostSpanCount: number;
}

/** Of the cut that has most of its messages. */
function missingOf(cuts: Flush['cuts']): number {
  return Math.min(...[...cuts].map(([parts, seen]) => parts - seen.size));
}
