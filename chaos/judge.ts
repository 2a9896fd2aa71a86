import type { LostSpan, ProblemKind, Verification } from '@spanbuf/stack/verify';
import type { CommitMode } from './chaos-system.ts';
import type { Repeat } from './find-repeats.ts';
import { type BooksAndLog, type EndTime, type EndTimes, judgeLedger, type LedgerStatement } from './judge-ledger.ts';
import { destroys, type FaultName, type PlannedFault } from './schedule.ts';
import type { UnexpectedEnd } from './supervised-app.ts';

/** A fault as it was brought about. */
export interface FaultEvent extends PlannedFault {
  /** From 1. Those of one group may have overlapped. */
  readonly group: number;
  /** Unix milliseconds. */
  readonly startedMs: number;
  readonly endedMs: number;
  /** Between the end of the last fault of its group and the moment when everything was well. */
  readonly recoverySeconds: number;
  /** What the plan does not say; '' where there is nothing. */
  readonly detail: string;
  /** Why it could not be done as planned; '' when it was. */
  readonly error: string;
}

/** What a report says beside what was found. */
export interface AboutRun {
  readonly mode: CommitMode;
  /** Unix milliseconds. */
  readonly startedMs: number;
  readonly endedMs: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string>>;
  readonly load: { spansPerSecond: number; invalidShare: number; lateShare: number; seed: number };
  readonly apps: readonly { name: string; startCount: number; unexpectedEnds: readonly UnexpectedEnd[] }[];
}

export interface ChaosCounts {
  readonly messagesSent: number;
  readonly spansSent: number;
  readonly invalidSent: number;
  /** Without copies. */
  readonly deadLettered: number;
  readonly deadLetterCopies: number;
  /** Different spans of the input that came out. */
  readonly spansReceived: number;
  /** Spans that came again in a message with a flush id that had come before: whoever reads them can tell. */
  readonly spansInCopies: number;
  /** Spans that came again under another flush id. */
  readonly spansDuplicated: number;
  readonly spansLost: number;
  /** Segments put aside, whose spans count as lost. */
  readonly parkedSegments: number;
  readonly segments: number;
  readonly generations: number;
  readonly splitSegments: number;
  /** Generations that say that Redis has lost spans of theirs. */
  readonly partialGenerations: number;
}

export interface LostSample extends Omit<LostSpan, 'offset'> {
  readonly offset: string;
  /** Faults that were under way when it was sent or later, as far as they destroy what Redis has. */
  readonly faults: readonly string[];
}

export interface ChaosReport extends AboutRun {
  readonly isPassed: boolean;
  /** Why it is not. */
  readonly failures: readonly string[];
  readonly events: readonly FaultEvent[];
  readonly counts: ChaosCounts;
  /** Lost spans by the first fault after them that destroys what Redis has, and `unexplained`. */
  readonly lostByFault: Readonly<Record<string, number>>;
  readonly lostSamples: readonly LostSample[];
  readonly ledger: LedgerStatement;
  readonly problems: Readonly<Partial<Record<ProblemKind, { count: number; samples: readonly string[] }>>>;
  /** Lines for people. */
  readonly verification: string;
}

/** Longest time from the sending of a span to its flush, with a backlog after an outage. */
const HELD_SECONDS = 150;
const LOST_SAMPLES = 20;
/** For so long a receipt may be known to its app alone: some looks of a flusher, with an outage of Redis in between. */
const ALONE_MS = 10_000;
const MOMENT_MS = 1_000;
/** After a loss: for who had segments in hand to produce them, frozen for longer than a lease meanwhile. */
const SETTLED_MS = 60_000;
const UNEXPLAINED = 'unexplained';

/** Wrong whatever happens. */
const NEVER: readonly ProblemKind[] = [
  'not from the input',
  'changed',
  'not a segment message',
  'wrong headers',
  'flush id of other spans',
  'broken message without dead letter',
  'dead letter of no broken message',
  'dead letter without reason',
  'dead letter changed',
];
/** Wrong unless Redis has lost what it had acknowledged. */
const UNLESS_DESTROYED: readonly ProblemKind[] = [
  'twice under different flush ids',
  'generation with several flush ids',
  'part missing',
  'wrong segment',
  'wrong is_segment',
  'wrong segment attribute',
];

export interface Judgeable {
  readonly about: AboutRun;
  readonly events: readonly FaultEvent[];
  /** What is known to be wrong already. */
  readonly failures: readonly string[];
  readonly verification: Verification;
  /** The ledger, once all is out. */
  readonly books: readonly BooksAndLog[];
  /** Of what is open in it and came out. */
  readonly ends: EndTimes;
  /** What came out under several flush ids. */
  readonly repeats: readonly Repeat[];
  readonly parkedSegments: number;
}

export function judge(judgeable: Judgeable): ChaosReport {
  const { about, events, failures, verification, books, ends, parkedSegments } = judgeable;
  const { input, output, deadLetters, lost, problems } = verification;
  const destroying = events.filter(({ fault }) => destroys(fault));
  const lostByFault: Record<string, number> = {};
  for (const span of lost) {
    const [first] = destroyersOf(span, destroying);
    const name = first === undefined ? UNEXPLAINED : nameOf(first);
    lostByFault[name] = (lostByFault[name] ?? 0) + 1;
  }
  const wrong = [...NEVER, ...(destroying.length === 0 ? UNLESS_DESTROYED : [])]
    .filter((kind) => problems.countOf(kind) > 0)
    .map((kind) => `${kind}: ${problems.countOf(kind)}`);
  const unexcused = about.mode === 'flushed' ? lost.length : (lostByFault[UNEXPLAINED] ?? 0);
  if (unexcused > 0) wrong.push(`lost: ${unexcused} spans that no fault explains`);
  // Where offsets wait for the flush, what a loss has made partial is held back and read again.
  if ((destroying.length === 0 || about.mode === 'flushed') && output.partialGenerations > 0)
    wrong.push(`partial generations: ${output.partialGenerations}`);
  const known = judgeable.repeats.filter((repeat) => !mayRepeat(repeat, judgeable));
  if (known.length > 0)
    wrong.push(`produced again although it was known: ${known.length} spans, for instance ${known[0]?.span}`);
  const reasonFor = (end: EndTime): string => whyForgotten(end, judgeable);
  const ledger = judgeLedger({ books, lost, ends, reasonFor });
  if (!ledger.isBalanced) wrong.push('the ledger does not balance');
  if (ledger.wronglyEndedCount > 0)
    wrong.push(`the ledger says of ${ledger.wronglyEndedCount} lost spans that they came out`);
  if (ledger.unknownLostCount > 0)
    wrong.push(`the ledger does not know of ${ledger.unknownLostCount} lost spans: its books begin after them`);
  if (!ledger.agrees) wrong.push('the ledger does not agree with the topics');
  const all = [...failures, ...wrong];
  return {
    isPassed: all.length === 0,
    failures: all,
    ...about,
    events,
    counts: {
      messagesSent: input.messages,
      spansSent: input.spans,
      invalidSent: input.invalid,
      deadLettered: deadLetters.messages - deadLetters.copies,
      deadLetterCopies: deadLetters.copies,
      spansReceived: input.spans - lost.length,
      spansInCopies: output.copiedSpans,
      spansDuplicated: problems.countOf('twice under different flush ids'),
      spansLost: lost.length,
      parkedSegments,
      segments: output.segments,
      generations: output.generations,
      splitSegments: output.splitSegments,
      partialGenerations: output.partialGenerations,
    },
    lostByFault,
    ledger,
    lostSamples: samplesOf(lost, destroying),
    problems: Object.fromEntries(
      problems.kinds.map((kind) => [kind, { count: problems.countOf(kind), samples: problems.samplesOf(kind) }]),
    ),
    verification: verification.text,
  };
}

/** Of those that no fault explains, where there are some; from all over the run. */
function samplesOf(lost: readonly LostSpan[], destroying: readonly FaultEvent[]): LostSample[] {
  const unexplained = lost.filter((span) => destroyersOf(span, destroying).length === 0);
  const candidates = (unexplained.length > 0 ? unexplained : lost).toSorted((a, b) => a.timestampMs - b.timestampMs);
  const step = Math.ceil(candidates.length / LOST_SAMPLES);
  return candidates
    .filter((_, i) => i % step === 0)
    .map((span) => ({
      ...span,
      offset: String(span.offset),
      faults: destroyersOf(span, destroying).map(nameOf),
    }));
}

/** In their order. */
function destroyersOf({ timestampMs }: LostSpan, destroying: readonly FaultEvent[]): FaultEvent[] {
  return destroying.filter(
    ({ startedMs, endedMs }) => endedMs >= timestampMs && startedMs - timestampMs <= 1_000 * HELD_SECONDS,
  );
}

/**
 * Only what was produced in the last moments before a loss may come again: the knowledge of it was lost too. And all that was not
 * committed, when a consumer that has copied the books was killed as well, or did not hear of it in time.
 */
function mayRepeat({ firstMs }: Repeat, { events, about }: Judgeable): boolean {
  return events
    .filter(({ fault }) => (about.mode === 'flushed' ? isLoss(fault) : destroys(fault)))
    .some((loss) => {
      const isCopyLost = events.some(
        ({ fault, startedMs, endedMs }) =>
          fault.startsWith('consumer-') && endedMs >= loss.startedMs - ALONE_MS && startedMs <= loss.endedMs + ALONE_MS,
      );
      const beforeMs = isCopyLost ? 1_000 * HELD_SECONDS : ALONE_MS;
      return firstMs >= loss.startedMs - beforeMs && firstMs <= loss.endedMs + SETTLED_MS;
    });
}

/** Whether it counts as one where offsets wait for the flush: there a failover does as well. */
function isLoss(fault: FaultName): boolean {
  return destroys(fault) || fault === 'redis-failover' || fault === 'redis-freeze-failover';
}

/**
 * A receipt is known to the app alone that gave it until others have looked into the books. It is forgotten when Redis loses it then, and
 * the app dies before it has given it again. And what Kafka takes without being able to say so is known to nobody: it would be
 * produced again, had Redis not lost it.
 */
function whyForgotten({ atMs, by }: EndTime, { events, about }: Judgeable): string {
  const killed = events.filter(({ fault }) => fault === `${by}-kill`);
  const deaths = [
    ...killed.map(({ target, startedMs }) => ({ app: target, diedMs: startedMs })),
    ...about.apps.flatMap(({ unexpectedEnds }) => unexpectedEnds.map((end) => ({ app: end.app, diedMs: end.atMs }))),
  ].filter(({ app }) => app.startsWith(by));
  for (const loss of events.filter(({ fault }) => destroys(fault))) {
    const fromMs = loss.startedMs - ALONE_MS;
    const untilMs = loss.endedMs + ALONE_MS;
    // What was acknowledged by the broker is known to its app a moment later.
    const death = deaths.find(({ diedMs }) => diedMs >= atMs - MOMENT_MS && diedMs >= fromMs && diedMs <= untilMs);
    if (atMs < fromMs || atMs > untilMs) continue;
    if (death !== undefined) return `${death.app} died within ${ALONE_MS / 1_000} s of ${nameOf(loss)}`;
    const silence = events.find(
      (event) => isOfKafka(event) && atMs >= event.startedMs - MOMENT_MS && atMs <= event.endedMs + MOMENT_MS,
    );
    if (silence !== undefined)
      return `perhaps never acknowledged, for ${nameOf(silence)}, and lost with ${nameOf(loss)}`;
  }
  return '';
}

function isOfKafka({ fault, target }: FaultEvent): boolean {
  return fault.startsWith('kafka-') || target.endsWith('~kafka');
}

const nameOf = ({ group, fault, target }: FaultEvent): string => `${group}: ${fault} ${target}`;
