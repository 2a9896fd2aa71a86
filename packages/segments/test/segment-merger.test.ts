import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type IncomingMessage,
  InvalidMergerOptionsError,
  InvalidSegmentMessageError,
  type MergedSegment,
  SegmentMerger,
  type SegmentMergerOptions,
} from '../src/index.ts';
import { id, message, span } from './messages.ts';

const T = 1_700_000_000;

/** A merger whose offsets count up by themselves. */
function begin(options?: SegmentMergerOptions) {
  const merger = new SegmentMerger(options);
  let offset = 0n;
  return {
    merger,
    add: (message: Omit<IncomingMessage, 'offset'>, now = T) => merger.add({ ...message, offset: offset++ }, { now }),
    poll: (now: number, drain = false) => merger.poll({ now, drain }),
  };
}

/** Spans `from` to `to`, the first of them the root if it is 1. */
const spans = (from: number, to = from) => Array.from({ length: to - from + 1 }, (_, i) => span(id(from + i)));
const inBrief = ({ revision, generations, spans, missingPartCount }: MergedSegment) => ({
  revision,
  generations,
  spans: spans.map((text) => Number(JSON.parse(text).span_id)),
  missingPartCount,
});

describe('SegmentMerger', () => {
  it('hands out a segment that came whole, at once', () => {
    const { add } = begin();
    const [segment, ...others] = add(message(spans(1, 3)));
    expect(others).toEqual([]);
    expect(segment).toMatchObject({ projectId: '7', segmentId: id(1), revision: 1, rootSeen: true, lostSpanCount: 0 });
    expect(segment?.spans).toEqual(spans(1, 3));
  });

  it('drops a copy, also one that comes while the first is being handled, and after', () => {
    const { merger, add, poll } = begin();
    const segments = add(message(spans(1, 3)));
    expect(add(message(spans(1, 3)))).toEqual([]);
    merger.done(segments);
    expect(add(message(spans(1, 3)))).toEqual([]);
    expect(poll(T + 1, true)).toEqual([]);
    expect(merger.lowestHeldOffset()).toBeUndefined();
  });

  it('waits for all parts of a generation, whatever order they come in', () => {
    const { add } = begin();
    expect(add(message(spans(5), { part: 3, parts: 3 }))).toEqual([]);
    expect(add(message(spans(1, 2), { part: 1, parts: 3 }))).toEqual([]);
    expect(add(message(spans(3, 4), { part: 2, parts: 3 })).map(inBrief)).toEqual([
      { revision: 1, generations: [1], spans: [1, 2, 3, 4, 5], missingPartCount: 0 },
    ]);
  });

  it('does not wait for a part for ever, and says that it is missing', () => {
    const { add, poll } = begin({ maxWaitSeconds: 60 });
    add(message(spans(1, 2), { part: 1, parts: 2 }));
    expect(poll(T + 59)).toEqual([]);
    expect(poll(T + 60).map(inBrief)).toEqual([{ revision: 1, generations: [1], spans: [1, 2], missingPartCount: 1 }]);
  });

  it('adds a later generation to what came before, with the root first', () => {
    const { merger, add } = begin();
    merger.done(add(message(spans(2, 3), { rootSeen: false })));
    const [segment] = add(message([...spans(1), ...spans(4)], { generation: 2 }), T + 119);
    expect(segment && inBrief(segment)).toEqual({
      revision: 2,
      generations: [1, 2],
      spans: [1, 2, 3, 4],
      missingPartCount: 0,
    });
    expect(segment?.rootSeen).toBe(true);
  });

  it('hands out a later generation by itself once what came before has been let go', () => {
    const { merger, add } = begin({ mergeWindowSeconds: 120 });
    merger.done(add(message(spans(1, 2))));
    expect(add(message(spans(3), { generation: 2 }), T + 120).map(inBrief)).toEqual([
      { revision: 1, generations: [2], spans: [3], missingPartCount: 0 },
    ]);
  });

  it('waits for quiet where it is asked to, but no longer than the longest wait', () => {
    const { add, poll } = begin({ settleSeconds: 10, maxWaitSeconds: 25 });
    for (const [i, seconds] of [0, 9, 18].entries()) {
      expect(add(message(spans(i + 1), { generation: i + 1 }), T + seconds)).toEqual([]);
    }
    expect(poll(T + 24)).toEqual([]);
    expect(poll(T + 25).map(inBrief)).toEqual([
      { revision: 1, generations: [1, 2, 3], spans: [1, 2, 3], missingPartCount: 0 },
    ]);
    add(message(spans(9), { segmentId: id(9) }), T + 30);
    expect(poll(T + 39)).toEqual([]);
    expect(poll(T + 40)).toHaveLength(1);
  });

  it('counts a span once where a flusher with another limit cut the same generation anew', () => {
    const { add } = begin();
    expect(add(message(spans(1, 3), { part: 1, parts: 3 }))).toEqual([]);
    expect(add(message(spans(1, 4), { part: 1, parts: 2 }))).toEqual([]);
    expect(add(message(spans(5, 9), { part: 2, parts: 2 })).map(inBrief)).toEqual([
      { revision: 1, generations: [1], spans: [1, 2, 3, 4, 5, 6, 7, 8, 9], missingPartCount: 0 },
    ]);
  });

  it('keeps two different spans with the same id', () => {
    const { add } = begin();
    const [segment] = add(message([span(id(1)), span(id(2), id(1), 'a'), span(id(2), id(1), 'b')]));
    expect(segment?.spans).toHaveLength(3);
  });

  it('tells a first generation from another one that is called the same', () => {
    const { merger, add } = begin();
    merger.done(add(message(spans(1, 2), { part: 1, parts: 1 })));
    expect(add(message(spans(3), { part: 1, parts: 2, firstSeconds: T + 200 }))).toEqual([]);
    expect(add(message(spans(4), { part: 2, parts: 2, firstSeconds: T + 200 })).map(inBrief)).toEqual([
      { revision: 2, generations: [1], spans: [1, 2, 3, 4], missingPartCount: 0 },
    ]);
  });

  it('holds offsets until their segment is done, and hands a released one out again', () => {
    const { merger, add, poll } = begin();
    const first = add(message(spans(1)));
    add(message(spans(5), { segmentId: id(5), part: 1, parts: 2 }));
    expect(merger.lowestHeldOffset()).toBe(0n);
    merger.release(first);
    merger.done(first); // no longer the caller's
    expect(merger.lowestHeldOffset()).toBe(0n);
    const again = poll(T);
    expect(again).toEqual(first);
    merger.done(again);
    expect(merger.lowestHeldOffset()).toBe(1n);
  });

  it('does not hand out a revision while the one before is being handled', () => {
    const { merger, add, poll } = begin();
    const first = add(message(spans(1)));
    expect(add(message(spans(2), { generation: 2 }))).toEqual([]);
    expect(poll(T + 1_000, true)).toEqual([]);
    merger.done(first);
    expect(merger.lowestHeldOffset()).toBe(1n);
    expect(poll(T).map(inBrief)).toEqual([{ revision: 2, generations: [1, 2], spans: [1, 2], missingPartCount: 0 }]);
  });

  it('is as good as a new one to a copy that comes when both its id and its segment are forgotten', () => {
    const { merger, add } = begin({ dedupeWindowSeconds: 100, mergeWindowSeconds: 50 });
    const [first] = add(message(spans(1, 2)));
    merger.done(first ? [first] : []);
    expect(add(message(spans(1, 2)), T + 99)).toEqual([]);
    expect(add(message(spans(1, 2)), T + 100)).toEqual([first]);
  });

  it('adds nothing of a copy whose id is forgotten while its segment is kept', () => {
    const { merger, add } = begin({ dedupeWindowSeconds: 0, mergeWindowSeconds: 120 });
    merger.done(add(message(spans(1, 2))));
    expect(add(message(spans(1, 2)), T + 119)).toEqual([]);
  });

  it('remembers no more flush ids than it may', () => {
    const { merger, add } = begin({ maxFlushIds: 2, mergeWindowSeconds: 0 });
    for (const root of [1, 2, 3]) merger.done(add(message(spans(root), { segmentId: id(root) })));
    expect(add(message(spans(2), { segmentId: id(2) }))).toEqual([]);
    expect(add(message(spans(1), { segmentId: id(1) }))).toHaveLength(1);
  });

  it('lets done segments go early when there is no room', () => {
    const { merger, add } = begin({ maxHeldBytes: 3_000 });
    merger.done(add(message(spans(1))));
    const part = (root: number) => message(spans(root), { segmentId: id(root), part: 1, parts: 2 });
    expect([...add(part(2)), ...add(part(3))]).toEqual([]);
    // What comes later comes alone.
    expect(add(message(spans(9), { generation: 2 })).map(inBrief)).toMatchObject([{ revision: 1, generations: [2] }]);
  });

  it('hands out early what has waited longest when there is still no room', () => {
    const { add } = begin({ maxHeldBytes: 3_000 });
    const part = (root: number) => message(spans(root), { segmentId: id(root), part: 1, parts: 2 });
    const early = [2, 3, 4, 5].map((root) => add(part(root)));
    const ids = early.map((segments) => segments.map(({ segmentId }) => segmentId));
    expect(ids).toEqual([[], [], [id(2)], [id(3)]]);
    expect(early[2]?.map(inBrief)).toMatchObject([{ missingPartCount: 1 }]);
  });

  it('takes a clock that goes back for one that stands still', () => {
    const { add, poll } = begin({ settleSeconds: 10 });
    add(message(spans(1)), T);
    expect(poll(T - 1_000_000)).toEqual([]);
    expect(poll(T + 10)).toHaveLength(1);
  });

  it('changes nothing when a message is none', () => {
    const { merger, add } = begin();
    expect(() => add({ value: null, headers: {} })).toThrow(InvalidSegmentMessageError);
    expect(merger.lowestHeldOffset()).toBeUndefined();
  });

  it('names every option that is wrong', () => {
    const wrong = { settleSeconds: -1, maxFlushIds: Number.NaN, window: 5 };
    const construct = () => new SegmentMerger(wrong);
    expect(construct).toThrow(InvalidMergerOptionsError);
    expect(construct).toThrow(/no option window.*settleSeconds.*maxFlushIds/);
  });
});

interface Flush {
  readonly root: number;
  readonly generation: number;
  readonly spans: readonly string[];
}

/** Flushes of some segments, each with spans of its own. */
const flushes = fc
  .array(fc.record({ root: fc.integer({ min: 1, max: 4 }), count: fc.integer({ min: 1, max: 6 }) }), {
    minLength: 1,
    maxLength: 8,
  })
  .map((drawn): Flush[] =>
    drawn.map(({ root, count }, i) => ({
      root,
      generation: drawn.slice(0, i + 1).filter((other) => other.root === root).length,
      spans: Array.from({ length: count }, (_, n) => span(id(1_000 + 10 * i + n), id(root))),
    })),
  );

/** A flush in messages of at most `limit` spans. */
function cut({ root, generation, spans }: Flush, limit: number) {
  const parts = Math.ceil(spans.length / limit);
  return Array.from({ length: parts }, (_, i) =>
    message(spans.slice(i * limit, (i + 1) * limit), {
      segmentId: id(root),
      generation,
      part: i + 1,
      parts,
      firstSeconds: T + generation,
    }),
  );
}

/**
 * What a log may hold of them: each flush produced whole at last, before that perhaps in part, cut as then or otherwise, by
 * flushers whose messages come in between those of others.
 */
const logs = flushes.chain((drawn) =>
  fc
    .tuple(
      ...drawn.map((flush) =>
        fc
          .array(fc.record({ limit: fc.integer({ min: 1, max: 6 }), produced: fc.nat(6) }), { maxLength: 2 })
          .chain((attempts) =>
            fc
              .integer({ min: 1, max: 6 })
              .map((limit) => [
                ...attempts.flatMap((attempt) => cut(flush, attempt.limit).slice(0, attempt.produced)),
                ...cut(flush, limit),
              ]),
          ),
      ),
    )
    .chain((produced) => {
      const all = produced.flat();
      return fc
        .array(fc.nat(1_000_000), { minLength: all.length, maxLength: all.length })
        .map((order) => all.map((each, i) => ({ each, at: order[i] ?? 0 })).sort((a, b) => a.at - b.at))
        .map((sorted) => ({ flushes: drawn, log: sorted.map(({ each }, i) => ({ ...each, offset: BigInt(i) })) }));
    }),
);

const settings = fc.record({
  settleSeconds: fc.constantFrom(0, 5),
  maxWaitSeconds: fc.constantFrom(0, 20),
  mergeWindowSeconds: fc.constantFrom(0, 10, 1_000),
  maxHeldBytes: fc.constantFrom(0, 3_000, 1_000_000),
  dedupeWindowSeconds: fc.constantFrom(0, 10, 1_000_000),
  maxFlushIds: fc.constantFrom(0, 2, 100_000),
});

type Step = 'done' | 'release' | 'keep' | 'wait' | 'crash';
const steps = fc.infiniteStream(
  fc.constantFrom<Step>('done', 'done', 'done', 'release', 'keep', 'keep', 'wait', 'crash'),
);

/** Reads a log as a consumer does that handles segments late, fails to, and dies. @returns What it has handled, in order. */
function consume(
  log: readonly IncomingMessage[],
  options: SegmentMergerOptions,
  stepsOf: Iterator<Step>,
  mayCrash: boolean,
): MergedSegment[] {
  const handled: MergedSegment[] = [];
  let now = T;
  let crashes = mayCrash ? 3 : 0;
  let merger = new SegmentMerger(options);
  let inHand: MergedSegment[] = [];
  let next = 0;
  const finish = (segments: readonly MergedSegment[]) => {
    handled.push(...segments);
    merger.done(segments);
  };
  while (next < log.length) {
    inHand.push(...merger.add(log[next++] as IncomingMessage, { now }));
    const step = stepsOf.next().value;
    if (step === 'done') finish(inHand.splice(0));
    if (step === 'release') merger.release(inHand.splice(0));
    if (step === 'wait') now += 7;
    if (step === 'crash' && crashes-- > 0) {
      next = Number(merger.lowestHeldOffset() ?? BigInt(next));
      merger = new SegmentMerger(options);
      inHand = [];
    }
    inHand.push(...merger.poll({ now }));
  }
  finish(inHand);
  finish(merger.poll({ now, drain: true }));
  expect(merger.lowestHeldOffset()).toBeUndefined();
  return handled;
}

describe('SegmentMerger, whatever a log holds and whenever segments are handled', () => {
  const spansOf = (flushes: readonly Flush[], root: number) =>
    flushes.filter((flush) => flush.root === root).flatMap((flush) => flush.spans);

  it('loses no span, with any windows and bounds, released segments and crashes', () => {
    const run = fc.property(logs, settings, steps, ({ flushes, log }, options, drawn) => {
      const handled = consume(log, options, drawn, true);
      for (const { root } of flushes) {
        const found = new Set(handled.filter(({ segmentId }) => segmentId === id(root)).flatMap(({ spans }) => spans));
        expect([...found].sort()).toEqual(spansOf(flushes, root).sort());
      }
    });
    fc.assert(run, { numRuns: 500 });
  });

  it('ends, within its windows, with a revision that has every span of its segment once, and all parts', () => {
    const within = settings.map(({ settleSeconds }) => ({
      settleSeconds,
      maxWaitSeconds: 1_000,
      mergeWindowSeconds: 10_000,
    }));
    const run = fc.property(logs, within, steps, ({ flushes, log }, options, drawn) => {
      const handled = consume(log, options, drawn, false);
      for (const { root } of flushes) {
        const revisions = handled.filter(({ segmentId }) => segmentId === id(root));
        expect(revisions.map(({ revision }) => revision)).toEqual(revisions.map((_, i) => i + 1));
        const last = revisions.at(-1);
        expect(last?.missingPartCount).toBe(0);
        expect([...(last?.spans ?? [])].sort()).toEqual(spansOf(flushes, root).sort());
        for (const [i, { spans }] of revisions.entries()) {
          const now = new Set(spans);
          expect(revisions[i - 1]?.spans.filter((text) => !now.has(text)) ?? []).toEqual([]);
        }
      }
    });
    fc.assert(run, { numRuns: 500 });
  });

  it('says the same of a log in which each message comes twice', () => {
    const run = fc.property(logs, fc.constantFrom<Step>('done', 'keep'), ({ log }, step) => {
      const twice = log.flatMap((each) => [each, each]).map((each, i) => ({ ...each, offset: BigInt(i) }));
      expect(consume(twice, {}, always(step), false)).toEqual(consume(log, {}, always(step), false));
    });
    fc.assert(run, { numRuns: 500 });
  });
});

function* always(step: Step): Generator<Step, never> {
  for (;;) yield step;
}
