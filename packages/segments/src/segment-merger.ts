import { InvalidMergerOptionsError } from './errors.ts';
import { RecentIds } from './recent-ids.ts';
import { type ContentDescription, SegmentContent } from './segment-content.ts';
import { parseSegmentMessage, type SegmentHeaders } from './segment-message.ts';

/** Options of {@link SegmentMerger}; every one has a default. Seconds are of the clock that `now` is taken from. */
export interface SegmentMergerOptions {
  /**
   * Quiet time after a segment's last message before it is handed out, so that late spans come with the others; 0 to a
   * day, default 0: at once. Never longer than `maxWaitSeconds` after the first message that waits.
   */
  readonly settleSeconds?: number | undefined;
  /** Longest time that a message waits for quiet, or for the other parts of its generation; default 60, up to a day. */
  readonly maxWaitSeconds?: number | undefined;
  /**
   * How long the spans of a segment are kept once it is done, so that a later generation is handed out together with them;
   * default 120, up to a day. 0 keeps nothing.
   */
  readonly mergeWindowSeconds?: number | undefined;
  /**
   * Bytes of messages at which the spans of done segments are let go early, and then waiting segments handed out early; default 64 MiB.
   * Each message counts 1 KiB more than its value has. What is handed out and not done is kept in any case.
   */
  readonly maxHeldBytes?: number | undefined;
  /** How long a flush id is remembered; default 3,600, up to 30 days. */
  readonly dedupeWindowSeconds?: number | undefined;
  /** Most flush ids that are remembered, about 100 bytes each; default 100,000. The oldest are forgotten first. */
  readonly maxFlushIds?: number | undefined;
}

/** A message of the output topic, as Kafka clients deliver it. */
export interface IncomingMessage {
  readonly offset: bigint;
  readonly value: Uint8Array | null;
  readonly headers: SegmentHeaders;
}

/** A segment, with all of it that the merger has. */
export interface MergedSegment extends ContentDescription {
  readonly projectId: string;
  readonly traceId: string;
  /** Id of the root span, which may be missing. */
  readonly segmentId: string;
  /**
   * 1 for what is handed out first; a later one takes the place of all before it. It begins at 1 again when the merger no
   * longer has what came before.
   */
  readonly revision: number;
}

/**
 * Makes segments of the messages of one partition: drops copies by their flush id, puts parts together, and adds later
 * generations to what came before. Make one for each partition that is assigned, and drop it when the assignment ends:
 * whoever reads the partition next begins at the committed offset.
 *
 * The offset to commit is {@link lowestHeldOffset}, or the next one to read when that is undefined. Then no message is
 * lost; after a crash or a rebalance those that were not committed come again, as segments of revision 1.
 *
 * A copy whose flush id is no longer remembered (see `dedupeWindowSeconds`, `maxFlushIds`, and new mergers) is a message
 * like any other. It adds nothing where its segment is still there; otherwise it comes as a segment of revision 1, with
 * the flush ids that it had before. Where that must not count twice, store the flush ids with the result.
 *
 * Memory: `maxHeldBytes` (up to twice that for text beyond Latin-1), what is handed out, and the flush ids.
 */
export class SegmentMerger {
  readonly #options: Readonly<Record<keyof SegmentMergerOptions, number>>;
  readonly #flushIds: RecentIds;
  /** All of them by `project:trace:segment`. */
  readonly #segments = new Map<string, HeldSegment>();
  /** Those with something to hand out, in the order of their first message that waits. */
  readonly #waiting = new Set<HeldSegment>();
  /** Those kept only to be added to, in the order in which they are let go. */
  readonly #kept = new Set<HeldSegment>();
  readonly #given = new Map<MergedSegment, HeldSegment>();
  #heldBytes = 0;
  #now = Number.NEGATIVE_INFINITY;

  /** @throws {@link InvalidMergerOptionsError} that names every option that is wrong. */
  constructor(options: SegmentMergerOptions = {}) {
    this.#options = readOptions(options);
    this.#flushIds = new RecentIds(this.#options.dedupeWindowSeconds, this.#options.maxFlushIds);
  }

  /**
   * Takes a message. Add them in the order of their offsets.
   * @param at - `now` in Unix seconds, of the wall clock or of the messages; going back counts as standing still.
   * @returns Segments to handle, as {@link poll}; with the defaults the message's own as soon as no part of it is missing.
   * @throws {@link InvalidSegmentMessageError} when it is not a segment message; nothing has changed then.
   * @remarks Cost: that of `parseSegmentMessage`, and one hash of each span. Handing out: one pass over the segment's spans.
   */
  add(message: IncomingMessage, at: { readonly now: number }): MergedSegment[] {
    const part = parseSegmentMessage(message);
    this.#advance(at.now);
    if (!this.#flushIds.add(part.flushId, this.#now)) return [];
    const key = `${part.projectId}:${part.traceId}:${part.segmentId}`;
    const segment = this.#segments.get(key) ?? newSegment(key, part);
    if (!segment.content.add(part)) return [];
    this.#segments.set(key, segment);
    this.#kept.delete(segment);
    if (segment.waiting.length === 0) segment.waitsSince = this.#now;
    segment.lastMessageAt = this.#now;
    segment.waiting.push(message.offset);
    const bytes = (message.value?.length ?? 0) + MESSAGE_OVERHEAD_BYTES;
    segment.bytes += bytes;
    this.#heldBytes += bytes;
    this.#waiting.add(segment);
    const ready = this.#isReady(segment) ? [this.#give(segment)] : [];
    return [...ready, ...this.#makeRoom()];
  }

  /**
   * What has waited long enough. Call it about once a second, also when no messages come.
   * @param at - `drain` hands out all that waits.
   * @returns Segments to handle: call {@link done} with each, or {@link release}. Until then no later revision of it comes.
   */
  poll(at: { readonly now: number; readonly drain?: boolean }): MergedSegment[] {
    this.#advance(at.now);
    return [...this.#waiting]
      .filter((segment) => segment.given.length === 0 && (at.drain === true || this.#isReady(segment)))
      .map((segment) => this.#give(segment));
  }

  /** Says that segments were handled: their offsets are no longer held. Safe to repeat. */
  done(segments: readonly MergedSegment[]): void {
    for (const segment of this.#takeBack(segments)) {
      segment.given = [];
      if (segment.waiting.length > 0) this.#waiting.add(segment);
      else this.#keep(segment);
    }
    this.#forget();
  }

  /** Gives segments back that could not be handled: the next {@link poll} hands them out. Safe to repeat. */
  release(segments: readonly MergedSegment[]): void {
    for (const segment of this.#takeBack(segments)) {
      segment.waiting.unshift(...segment.given);
      segment.given = [];
      segment.revision -= 1;
      segment.waitsSince = Number.NEGATIVE_INFINITY;
      this.#waiting.add(segment);
    }
  }

  /** The lowest offset of a message that is not done with; undefined when there is none. O(messages held). */
  lowestHeldOffset(): bigint | undefined {
    let lowest: bigint | undefined;
    for (const { waiting, given } of this.#segments.values()) {
      for (const offset of [...waiting, ...given]) if (lowest === undefined || offset < lowest) lowest = offset;
    }
    return lowest;
  }

  #advance(now: number): void {
    if (!Number.isFinite(now)) throw new RangeError(`now must be a number of seconds, got ${now}`);
    this.#now = Math.max(this.#now, now);
    this.#forget();
  }

  #isReady({ given, waitsSince, lastMessageAt, content }: HeldSegment): boolean {
    if (given.length > 0) return false;
    const { settleSeconds, maxWaitSeconds } = this.#options;
    if (waitsSince + maxWaitSeconds <= this.#now) return true;
    return content.missingPartCount === 0 && lastMessageAt + settleSeconds <= this.#now;
  }

  #give(segment: HeldSegment): MergedSegment {
    this.#waiting.delete(segment);
    segment.given = segment.waiting;
    segment.waiting = [];
    segment.revision += 1;
    const { projectId, traceId, segmentId, revision } = segment;
    const merged = { projectId, traceId, segmentId, revision, ...segment.content.describe() };
    this.#given.set(merged, segment);
    return merged;
  }

  #takeBack(segments: readonly MergedSegment[]): HeldSegment[] {
    return segments.flatMap((merged) => {
      const segment = this.#given.get(merged);
      this.#given.delete(merged);
      return segment ?? [];
    });
  }

  #keep(segment: HeldSegment): void {
    segment.keptUntil = this.#now + this.#options.mergeWindowSeconds;
    this.#kept.add(segment);
  }

  /** Lets go of done segments whose window has ended, and of more while there is no room. */
  #forget(): void {
    for (const segment of this.#kept) {
      if (segment.keptUntil > this.#now && this.#heldBytes <= this.#options.maxHeldBytes) return;
      this.#kept.delete(segment);
      this.#segments.delete(segment.key);
      this.#heldBytes -= segment.bytes;
    }
  }

  #makeRoom(): MergedSegment[] {
    this.#forget();
    const given: MergedSegment[] = [];
    let bytes = this.#heldBytes;
    for (const { bytes: ofGiven } of this.#given.values()) bytes -= ofGiven;
    for (const segment of this.#waiting) {
      if (bytes <= this.#options.maxHeldBytes) break;
      if (segment.given.length > 0) continue;
      bytes -= segment.bytes;
      given.push(this.#give(segment));
    }
    return given;
  }
}

/** For what belongs to a message beside its text. */
const MESSAGE_OVERHEAD_BYTES = 1024;

interface HeldSegment {
  readonly key: string;
  readonly projectId: string;
  readonly traceId: string;
  readonly segmentId: string;
  readonly content: SegmentContent;
  /** Offsets of messages that are to be handed out, and of those that are, and not done. */
  waiting: bigint[];
  given: bigint[];
  revision: number;
  waitsSince: number;
  lastMessageAt: number;
  keptUntil: number;
  bytes: number;
}

function newSegment(
  key: string,
  { projectId, traceId, segmentId }: Pick<HeldSegment, 'projectId' | 'traceId' | 'segmentId'>,
): HeldSegment {
  const times = { waitsSince: 0, lastMessageAt: 0, keptUntil: 0 };
  const content = new SegmentContent();
  return { key, projectId, traceId, segmentId, content, waiting: [], given: [], revision: 0, bytes: 0, ...times };
}

const DAY_SECONDS = 86_400;
const MIB = 1024 * 1024;
const RANGES: Readonly<Record<keyof SegmentMergerOptions, { least: number; most: number; byDefault: number }>> = {
  settleSeconds: { least: 0, most: DAY_SECONDS, byDefault: 0 },
  maxWaitSeconds: { least: 0, most: DAY_SECONDS, byDefault: 60 },
  mergeWindowSeconds: { least: 0, most: DAY_SECONDS, byDefault: 120 },
  maxHeldBytes: { least: 0, most: Number.MAX_SAFE_INTEGER, byDefault: 64 * MIB },
  dedupeWindowSeconds: { least: 0, most: 30 * DAY_SECONDS, byDefault: 3_600 },
  maxFlushIds: { least: 0, most: 10_000_000, byDefault: 100_000 },
};

function readOptions(options: SegmentMergerOptions): Record<keyof SegmentMergerOptions, number> {
  const problems = Object.keys(options)
    .filter((name) => !Object.hasOwn(RANGES, name))
    .map((name) => `there is no option ${name}`);
  const values = Object.entries(RANGES).map(([name, { least, most, byDefault }]) => {
    const value = options[name as keyof SegmentMergerOptions] ?? byDefault;
    if (!(value >= least && value <= most)) problems.push(`${name} must be from ${least} to ${most}, got ${value}`);
    return [name, value];
  });
  if (problems.length > 0) throw new InvalidMergerOptionsError(`options of SegmentMerger: ${problems.join('; ')}`);
  return Object.fromEntries(values);
}
