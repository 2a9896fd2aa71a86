import { formatTraceKey, type TraceRef } from '@spanbuf/keys';
import { StaleEpochError } from '../errors.ts';
import type { SegmentPolicy, StoredSpan, Subsegment, TraceAddition } from '../segment-store.ts';
import type { TraceObserver } from '../trace-watch.ts';
import { entryOf, groupBy } from './grouping.ts';
import { groupedStep, linkedSteps } from './link-steps.ts';
import { formatMember, type Member, type MemberPayloads } from './members.ts';
import { formatEntry, type QueueTimes } from './queue-scripts.ts';
import type { RedisReply, RedisRunner } from './redis-runner.ts';
import type { RedisStoreSettings } from './settings.ts';
import {
  type EntryRef,
  type EpochRef,
  type LinkEffect,
  type LinkSubsegment,
  linkCommand,
  parseLinkReply,
  positionField,
} from './trace-scripts.ts';

/** What linking a batch changed, for the queues to follow. */
export interface Effects {
  /** By shard and entry: when each is due. */
  readonly due: Map<number, Map<string, QueueTimes>>;
  /** By shard: entries of segments that went into others. */
  readonly absorbed: Map<number, Set<string>>;
  /** By trace key: what was sealed in passing. */
  readonly sealed: Map<string, { trace: TraceRef; entries: (EntryRef & { shard: number })[] }>;
  /** Payloads written that nothing refers to. */
  readonly unused: Member[];
  replayed: number;
}

export interface LinkTerms {
  readonly policy: SegmentPolicy;
  /** Message time, Unix seconds. */
  readonly now: number;
  readonly ttlSeconds: number;
}

/** A subsegment with the member it becomes. */
interface Part {
  readonly subsegment: Subsegment;
  readonly member: Member;
}

/** One addition on its way into its trace. */
interface LinkStep {
  readonly trace: TraceRef;
  readonly token: string;
  readonly parts: readonly Part[];
  /** Spans that were left out as replays. */
  readonly narrowedCount?: number;
}

/** Writes the payloads of a batch, then links them into their traces. */
export class BatchLinker {
  readonly #runner: RedisRunner;
  readonly #payloads: MemberPayloads;
  readonly #nextToken: () => string;
  readonly #nextList: () => number;
  readonly #epoch: EpochRef;
  readonly #observer: TraceObserver | undefined;

  constructor(
    runner: RedisRunner,
    payloads: MemberPayloads,
    {
      nextWriteId,
      nextList,
      sliceId,
      epoch,
      observer,
    }: Pick<RedisStoreSettings, 'nextWriteId' | 'nextList' | 'sliceId' | 'epoch' | 'observer'>,
  ) {
    this.#runner = runner;
    this.#payloads = payloads;
    this.#nextToken = nextWriteId;
    this.#nextList = nextList;
    this.#epoch = { sliceId, epoch };
    this.#observer = observer;
  }

  async link(additions: readonly TraceAddition[], terms: LinkTerms): Promise<Effects> {
    const effects: Effects = { due: new Map(), absorbed: new Map(), sealed: new Map(), unused: [], replayed: 0 };
    const steps = additions.map(({ projectId, traceId, subsegments }): LinkStep => {
      const trace = { projectId, traceId };
      const parts = subsegments.map((subsegment) => this.#partOf(trace, subsegment));
      return { trace, token: this.#nextToken(), parts };
    });
    await this.#put(
      steps.flatMap(({ parts }) => parts),
      terms,
    );
    if (this.#observer?.isOn) this.#noteGroups(steps, this.#observer);
    for (const round of roundsOf(steps)) await this.#linkRound(round, terms, effects);
    return effects;
  }

  #partOf(trace: TraceRef, subsegment: Subsegment): Part {
    return { subsegment, member: this.#payloads.memberOf(trace, subsegment.spans) };
  }

  async #put(parts: readonly Part[], { ttlSeconds }: LinkTerms): Promise<void> {
    await this.#payloads.put(
      parts.map(({ member, subsegment }) => ({ member, spans: subsegment.spans })),
      ttlSeconds,
    );
  }

  /** Applies steps of different traces. Those that are partly replays are cut down to what is new, and tried again. */
  async #linkRound(round: readonly LinkStep[], terms: LinkTerms, effects: Effects): Promise<void> {
    for (let open = round; open.length > 0; ) {
      const calls = open.map(({ trace, token, parts }) =>
        linkCommand({
          trace,
          token,
          firstList: this.#nextList(),
          epoch: this.#epoch,
          ...terms,
          subsegments: parts.map(linkSubsegment),
        }),
      );
      const replies = await this.#runner.run(calls);
      const narrowed: LinkStep[] = [];
      const rewritten: Part[] = [];
      for (const [i, step] of open.entries()) {
        const reply = parseLinkReply(replies[i] as RedisReply);
        if (reply.kind === 'stale') throw new StaleEpochError(this.#epoch.epoch as number);
        if (reply.kind === 'partial') {
          const before = effects.replayed;
          const parts = this.#narrow(step, reply.taken, effects);
          narrowed.push({ ...step, parts, narrowedCount: (step.narrowedCount ?? 0) + effects.replayed - before });
          rewritten.push(...parts.filter((part, k) => part !== step.parts[k]));
        } else {
          for (const effect of reply.effects) note(effects, step, effect, terms.now);
          if (this.#observer?.isOn) this.#noteLink(step, replies[i] as RedisReply, reply.effects, this.#observer);
        }
      }
      await this.#put(rewritten, terms);
      open = narrowed;
    }
  }

  #noteGroups(steps: readonly LinkStep[], observer: TraceObserver): void {
    for (const { trace, parts } of steps)
      if (observer.isWatched(trace)) observer.note(trace, groupedStep(parts.map(({ subsegment }) => subsegment)));
  }

  #noteLink(
    { trace, parts, narrowedCount = 0 }: LinkStep,
    reply: RedisReply,
    effects: readonly LinkEffect[],
    observer: TraceObserver,
  ): void {
    if (!observer.isWatched(trace)) return;
    const subsegments = parts.map(({ subsegment }) => subsegment);
    for (const each of linkedSteps(subsegments, reply, effects, narrowedCount)) observer.note(trace, each);
  }

  /** The parts of a step, those that are partly replays replaced by what is new in them. */
  #narrow(step: LinkStep, taken: ReadonlyMap<string, bigint>, effects: Effects): Part[] {
    return step.parts.map((part) => {
      const { topId, hasRoot, spans } = part.subsegment;
      const { source, partition } = spans[0] as StoredSpan;
      const limit = taken.get(positionField(source, partition));
      if (limit === undefined) return part;
      const fresh = spans.filter(({ offset }) => offset === undefined || offset > limit);
      if (fresh.length === 0 || fresh.length === spans.length) return part;
      effects.unused.push(part.member);
      effects.replayed += spans.length - fresh.length;
      const stillHasRoot = hasRoot && fresh.some(({ spanId }) => spanId === topId);
      return this.#partOf(step.trace, { topId, hasRoot: stillHasRoot, spans: fresh });
    });
  }
}

/** Steps of the same trace in their order, one to a round; a round has no trace twice. */
function roundsOf(steps: readonly LinkStep[]): LinkStep[][] {
  const rounds: LinkStep[][] = [];
  for (const group of groupBy(steps, ({ trace }) => formatTraceKey(trace)).values()) {
    for (const [i, step] of group.entries()) {
      const round = rounds[i];
      if (round === undefined) rounds.push([step]);
      else round.push(step);
    }
  }
  return rounds;
}

function linkSubsegment({ subsegment, member }: Part): LinkSubsegment {
  const { topId, hasRoot, spans } = subsegment;
  const { source, partition, offset: minOffset } = spans[0] as StoredSpan;
  const maxOffset = (spans.at(-1) as StoredSpan).offset;
  const position = positionField(source, partition);
  return {
    topId,
    hasRoot,
    shard: partition,
    entry: formatMember(member),
    payloadBytes: spans.reduce((sum, { payload }) => sum + payload.length, 0),
    taken: minOffset === undefined || maxOffset === undefined ? undefined : { position, minOffset, maxOffset },
    spanIds: spans.map(({ spanId }) => spanId),
  };
}

function note(effects: Effects, { trace, parts }: LinkStep, effect: LinkEffect, now: number): void {
  if (effect.kind === 'replayed') {
    const { subsegment, member } = parts[effect.index] as Part;
    effects.unused.push(member);
    effects.replayed += subsegment.spans.length;
    return;
  }
  const { shard } = effect;
  const entry = formatEntry(trace, effect);
  if (effect.kind === 'absorbed') {
    effects.due.get(shard)?.delete(entry);
    entryOf(effects.absorbed, shard, () => new Set()).add(entry);
    return;
  }
  effects.absorbed.get(shard)?.delete(entry);
  // What is sealed is taken at once, by whichever clock.
  const times = effect.kind === 'live' ? { due: effect.due, held: effect.held } : { due: now, held: 0 };
  entryOf(effects.due, shard, () => new Map()).set(entry, times);
  if (effect.kind === 'sealed') {
    const { handle, list } = effect;
    const { entries } = entryOf(effects.sealed, formatTraceKey(trace), () => ({ trace, entries: [] }));
    entries.push({ handle, list, shard });
  }
}
