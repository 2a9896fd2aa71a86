import type { Subsegment } from '../segment-store.ts';
import type { LinkStep } from '../trace-watch.ts';
import type { RedisReply } from './redis-runner.ts';
import { type LinkEffect, linkedRecords } from './trace-scripts.ts';

/** For whoever watches a trace: what is about to be linked. */
export function groupedStep(subsegments: readonly Subsegment[]): LinkStep {
  return {
    step: 'grouped',
    subsegments: subsegments.map(({ topId, hasRoot, spans }) => ({ topId, hasRoot, spanCount: spans.length })),
  };
}

/**
 * For whoever watches a trace: what an applied link did.
 * @param narrowedCount - Spans that were left out as replays before it was called.
 */
export function linkedSteps(
  subsegments: readonly Subsegment[],
  reply: RedisReply,
  effects: readonly LinkEffect[],
  narrowedCount: number,
): LinkStep[] {
  const countOf = (kind: LinkEffect['kind']) => effects.filter((effect) => effect.kind === kind).length;
  const replayedIndexes = new Set(effects.flatMap((effect) => (effect.kind === 'replayed' ? [effect.index] : [])));
  const spansOf = (isReplayed: boolean) =>
    subsegments.reduce((sum, { spans }, i) => sum + (replayedIndexes.has(i) === isReplayed ? spans.length : 0), 0);
  const segments = linkedRecords(reply as Buffer, countOf('live')).map(({ segmentId, shard, spanCount, due }) => {
    return { segmentId, shard, spanCount, dueSeconds: Number(due) };
  });
  const addedCount = spansOf(false);
  const [mergedCount, sealedCount] = [countOf('absorbed'), countOf('sealed')];
  const heldCount = segments.reduce((sum, { spanCount }) => sum + spanCount, 0);
  const outcome =
    addedCount === 0
      ? 'replay'
      : mergedCount > 0
        ? 'merged'
        : heldCount <= addedCount && sealedCount === 0
          ? 'new'
          : 'grown';
  const replayedCount = spansOf(true) + narrowedCount;
  const linked: LinkStep = { step: 'linked', outcome, addedCount, replayedCount, segments, mergedCount };
  return sealedCount === 0 ? [linked] : [linked, { step: 'sealed', reason: 'max-bytes', generationCount: sealedCount }];
}
