/** What a run of chaos is found guilty of. */
import { type AboutRun, type FaultEvent, judge } from '@spanbuf/chaos/judge';
import type { BooksAndLog, EndTimes } from '@spanbuf/chaos/judge-ledger';
import { type LostSpan, type ProblemKind, Problems, type Verification } from '@spanbuf/stack/verify';
import { describe, expect, it } from 'vitest';

/** Unix milliseconds. */
const SENT_MS = 1_800_000_000_000;

function aboutRun(mode: AboutRun['mode']): AboutRun {
  const load = { spansPerSecond: 1, invalidShare: 0, lateShare: 0, seed: 1 };
  return { mode, startedMs: SENT_MS, endedMs: SENT_MS, versions: {}, settings: {}, load, apps: [] };
}

function aLostSpan(secondsLater = 0): LostSpan {
  return {
    ...{ projectId: '1', traceId: 'a0d7fb9549c749b86f7e870c89c53b5e', spanId: '00000000000000ab' },
    ...{ partition: 3, offset: 17n, timestampMs: SENT_MS + 1_000 * secondsLater },
  };
}

function found(lost: readonly LostSpan[] = [], kinds: readonly ProblemKind[] = []): Verification {
  const problems = new Problems();
  for (const span of lost) problems.add('lost', span.spanId);
  for (const kind of kinds) problems.add(kind, 'here');
  return {
    input: { messages: 12, spans: 10, invalid: 2 },
    output: {
      ...{ messages: 5, copies: 1, copiedSpans: 3, spans: 10 - lost.length, segments: 4, generations: 4 },
      ...{ splitSegments: 0, partialGenerations: 0, cutGenerations: 0, reasons: {} },
    },
    deadLetters: { messages: 3, copies: 1 },
    ...{ lost, incompleteSegments: [], spreadTraces: 0, problems, ok: false, text: '' },
  };
}

function anEvent(fault: FaultEvent['fault'], fromSeconds: number, group = 1): FaultEvent {
  const startedMs = SENT_MS + 1_000 * fromSeconds;
  return {
    ...{ fault, target: 'redis-1', delaySeconds: 0, seconds: 1, group, startedMs, endedMs: startedMs + 1_000 },
    ...{ recoverySeconds: 0, detail: '', error: '' },
  };
}

/** Of partition 3, which has 20 messages, of which these have no end. */
function booksWith(open: readonly number[], baseOffset = 0n): BooksAndLog {
  const counts = new Map([['root-idle', 20 - Number(baseOffset) - open.length]]);
  const about = { partition: 3, source: 'a', baseOffset, takenOffset: 20n };
  const bitmap = Buffer.alloc(3, 0xff);
  for (const offset of open) bitmap[offset >> 3] = (bitmap[offset >> 3] as number) & ~(0x80 >> (offset & 7));
  return {
    ...{ partition: 3, highOffset: 20n },
    books: [{ ...about, firstOpenOffset: 20n, counts, openCount: open.length, againCount: 0 }],
    receipts: [{ ...about, highChunk: 0n, bitmaps: new Map([[0n, bitmap]]) }],
  };
}

const LEDGER = { books: [], ends: new Map(), repeats: [], parkedSegments: 0 };

describe('a ledger', () => {
  interface Found {
    readonly lost?: LostSpan[];
    readonly events?: FaultEvent[];
    readonly ends?: EndTimes;
    readonly mode?: AboutRun['mode'];
    readonly apps?: AboutRun['apps'];
  }
  const judged = (books: BooksAndLog, { lost = [], events = [], ends = new Map(), mode, apps = [] }: Found = {}) =>
    judge({
      ...{ about: { ...aboutRun(mode ?? 'buffered'), apps }, events, ends, failures: [] },
      ...{ verification: found(lost), books: [books], repeats: [], parkedSegments: 0 },
    });
  const flushAll = anEvent('redis-flushall-one', 1);
  const DISAGREES = 'the ledger does not agree with the topics';

  it('agrees when just those offsets are open whose spans are lost', () => {
    expect(judged(booksWith([])).failures).toEqual([]);
    const { ledger, failures } = judged(booksWith([17]), { lost: [aLostSpan()], events: [flushAll] });
    expect(failures).toEqual([]);
    expect(ledger).toMatchObject({ isBalanced: true, agrees: true, openCount: 1, forgotten: [] });
    expect(ledger.partitions).toMatchObject([{ openCount: 1, lostCount: 1, forgottenCount: 0 }]);
  });

  it('does not agree when another one is open, though it is as many, and Redis has lost receipts', () => {
    for (const mode of ['buffered', 'flushed'] as const)
      expect(judged(booksWith([16]), { events: [flushAll], mode }).failures).toEqual([DISAGREES]);
    const { failures, ledger } = judged(booksWith([16]), { lost: [aLostSpan()], events: [flushAll] });
    expect(failures).toEqual(['the ledger says of 1 lost spans that they came out', DISAGREES]);
    expect(ledger.forgotten).toEqual([{ partition: 3, offset: '16', reason: '' }]);
  });

  it('may have forgotten what an app produced that died within seconds of a loss, and says so', () => {
    const forgets = (at: number, by: 'flusher' | 'consumer', events: FaultEvent[], apps?: AboutRun['apps']) =>
      judged(booksWith([16, 17]), {
        lost: [aLostSpan()],
        events,
        ends: new Map([['3/16', { atMs: SENT_MS + 1_000 * at, by }]]),
        ...(apps && { apps }),
      });
    const loss = anEvent('redis-flushall-one', 30, 2);
    const killed = (seconds: number) => ({ ...anEvent('flusher-kill', seconds, 2), target: 'flusher-1' });
    const { ledger, failures } = forgets(29, 'flusher', [loss, killed(31)]);
    expect(failures).toEqual([]);
    expect(ledger.partitions).toMatchObject([{ openCount: 2, lostCount: 1, forgottenCount: 1 }]);
    const reason = 'flusher-1 died within 10 s of 2: redis-flushall-one redis-1';
    expect(ledger.forgotten).toEqual([{ partition: 3, offset: '16', atMs: SENT_MS + 29_000, reason }]);
    // Kafka may have taken it without being able to say so.
    const frozen = { ...anEvent('kafka-freeze', 28, 2), target: 'kafka' };
    const silent = forgets(29, 'flusher', [loss, frozen]);
    expect(silent.failures).toEqual([]);
    expect(silent.ledger.forgotten).toMatchObject([
      { reason: expect.stringMatching(/never acknowledged, for 2: kafka-freeze/) },
    ]);
    expect(
      forgets(29, 'flusher', [loss, { ...frozen, startedMs: SENT_MS, endedMs: SENT_MS + 1_000 }]).failures,
    ).toEqual([DISAGREES]);
    const crash = { app: 'flusher-2', atMs: SENT_MS + 31_000, code: 1, lastWords: '' };
    const crashed = [{ name: 'flusher-2', startCount: 2, unexpectedEnds: [crash] }];
    expect(forgets(29, 'flusher', [loss], crashed).failures).toEqual([]);
    // Nobody died; somebody else; too late, too early; it came out before, or later; it could be seen in the books.
    for (const other of [
      forgets(29, 'flusher', [loss]),
      forgets(29, 'consumer', [loss, killed(31)]),
      forgets(29, 'flusher', [loss, killed(45)]),
      forgets(29, 'flusher', [loss, killed(25)]),
      forgets(15, 'flusher', [loss, killed(31)]),
      forgets(45, 'flusher', [loss, killed(31)]),
      forgets(29, 'flusher', [anEvent('redis-failover', 30, 2), killed(31)]),
    ])
      expect(other.failures).toContain(DISAGREES);
  });

  it('has to balance, by its counters and by its receipts', () => {
    const books = booksWith([]);
    const [wrong] = books.books.map((each) => ({ ...each, openCount: 2 }));
    const unbalanced = judged({ ...books, books: wrong === undefined ? [] : [wrong] }, { events: [flushAll] });
    expect(unbalanced.failures).toContain('the ledger does not balance');
    expect(judged({ ...books, receipts: booksWith([4]).receipts }).failures).toContain('the ledger does not balance');
  });

  it('must not have a receipt for a span that is lost', () => {
    const failuresOf = (offset: bigint) =>
      judged(booksWith([16]), { lost: [{ ...aLostSpan(), offset }], events: [flushAll] }).failures;
    expect(failuresOf(16n)).toEqual([]);
    expect(failuresOf(17n)).toContain('the ledger says of 1 lost spans that they came out');
  });

  it('does not agree when it does not know a partition, or not all of it', () => {
    expect(judged({ ...booksWith([]), books: [], receipts: [] }).ledger.agrees).toBe(false);
    expect(judged({ ...booksWith([]), highOffset: 21n }).ledger.agrees).toBe(false);
  });

  it('does not agree when it begins after a span that is lost', () => {
    const { failures } = judged(booksWith([], 18n), { lost: [aLostSpan()], events: [flushAll] });
    expect(failures).toContain('the ledger does not know of 1 lost spans: its books begin after them');
  });
});

describe('a span that is lost', () => {
  it.each<[string, 'buffered' | 'flushed', FaultEvent[], boolean]>([
    ['buffered, with no fault', 'buffered', [], false],
    ['buffered, with a fault that destroys nothing', 'buffered', [anEvent('redis-failover', 1)], false],
    ['buffered, when Redis was emptied after it', 'buffered', [anEvent('redis-flushall-all', 1)], true],
    ['buffered, when Redis was emptied before it', 'buffered', [anEvent('redis-flushall-all', -10)], false],
    ['buffered, when Redis was emptied long after it', 'buffered', [anEvent('redis-flushall-all', 1_000)], false],
    ['flushed, when Redis was emptied after it', 'flushed', [anEvent('redis-flushall-all', 1)], false],
  ])('%s', (_, mode, events, isPassed) => {
    const report = judge({
      about: aboutRun(mode),
      events,
      failures: [],
      verification: found([aLostSpan()]),
      ...{ ...LEDGER, books: [booksWith([17])] },
    });
    expect(report.isPassed, report.failures.join()).toBe(isPassed);
    expect(report.counts).toMatchObject({ spansSent: 10, spansReceived: 9, spansLost: 1 });
  });

  it('is counted to the first fault that can have destroyed it, and listed with all of them', () => {
    const events = [anEvent('redis-flushall-one', 5, 1), anEvent('redis-lost-writes', 20, 2)];
    const verification = found([aLostSpan(0), aLostSpan(1), aLostSpan(10), aLostSpan(30)]);
    const report = judge({ about: aboutRun('buffered'), events, failures: [], verification, ...LEDGER });
    expect(report.lostByFault).toEqual({
      '1: redis-flushall-one redis-1': 2,
      '2: redis-lost-writes redis-1': 1,
      unexplained: 1,
    });
    expect(report.isPassed).toBe(false);
    // Those that nobody expected are looked at first.
    expect(report.lostSamples).toMatchObject([{ timestampMs: SENT_MS + 30_000, faults: [] }]);
  });

  it('is listed, from all over the run, when there are many', () => {
    const many = Array.from({ length: 100 }, (_, i) => aLostSpan(i / 100));
    const events = [anEvent('redis-flushall-one', 5, 1), anEvent('redis-lost-writes', 20, 2)];
    const { lostSamples } = judge({
      about: aboutRun('buffered'),
      events,
      failures: [],
      verification: found(many),
      ...LEDGER,
    });
    expect(lostSamples).toHaveLength(20);
    expect(lostSamples[19]).toMatchObject({
      ...{ partition: 3, offset: '17', timestampMs: SENT_MS + 950 },
      faults: ['1: redis-flushall-one redis-1', '2: redis-lost-writes redis-1'],
    });
  });
});

describe('an output that is complete', () => {
  const judged = (kinds: ProblemKind[], events: FaultEvent[]) =>
    judge({ about: aboutRun('buffered'), events, failures: [], verification: found([], kinds), ...LEDGER }).isPassed;

  it('passes, and copies are counted', () => {
    const report = judge({ about: aboutRun('flushed'), events: [], failures: [], verification: found(), ...LEDGER });
    expect(report.isPassed).toBe(true);
    expect(report.counts).toMatchObject({ spansLost: 0, spansInCopies: 3, deadLettered: 2, deadLetterCopies: 1 });
  });

  it('may have spans twice only where Redis has lost what it knew', () => {
    expect(judged(['twice under different flush ids'], [anEvent('redis-failover', 1)])).toBe(false);
    expect(judged(['twice under different flush ids'], [anEvent('redis-flushall-one', 1)])).toBe(true);
  });

  it.each<[string, number, FaultEvent[], boolean]>([
    ['in the last seconds before a loss', 97, [anEvent('redis-flushall-one', 100)], true],
    ['before a failover, which counts as a loss', 97, [anEvent('redis-failover', 100)], true],
    ['as it happens', 101, [anEvent('redis-flushall-one', 100)], true],
    ['longer before it', 85, [anEvent('redis-flushall-one', 100)], false],
    ['long after it', 165, [anEvent('redis-flushall-one', 100)], false],
    ['before something else', 97, [anEvent('redis-flushall-one', 1), anEvent('redis-freeze', 100)], false],
    ['longer before, and a consumer dies', 85, [anEvent('redis-lost-writes', 100), anEvent('consumer-kill', 99)], true],
    ['longer before, and one has died', 85, [anEvent('redis-lost-writes', 100), anEvent('consumer-kill', 70)], false],
  ])('flushed, may come again when it came %s, and only then', (_, firstSeconds, events, isPassed) => {
    const repeats = [{ span: '1:a:b', firstMs: SENT_MS + 1_000 * firstSeconds }];
    const about = aboutRun('flushed');
    const report = judge({ about, events, failures: [], verification: found(), ...LEDGER, repeats });
    expect(report.isPassed, report.failures.join()).toBe(isPassed);
  });

  it('never has a span that was changed, or an invalid message without dead letter', () => {
    expect(judged(['changed'], [anEvent('redis-flushall-one', 1)])).toBe(false);
    expect(judged(['broken message without dead letter'], [anEvent('redis-flushall-one', 1)])).toBe(false);
  });

  it('does not help when something else has failed', () => {
    const report = judge({
      about: aboutRun('buffered'),
      events: [],
      failures: ['not drained'],
      verification: found(),
      ...LEDGER,
    });
    expect(report.isPassed).toBe(false);
  });
});
