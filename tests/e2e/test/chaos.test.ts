/** A short `npm run chaos`: real processes, and faults at fixed moments. */
import { runChaos } from '@spanbuf/chaos/run-chaos';
import type { FaultGroup } from '@spanbuf/chaos/schedule';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, it } from 'vitest';

const LOGS = `${import.meta.dirname}/../../../build/e2e-logs/chaos`;

const SCHEDULE: readonly FaultGroup[] = [
  {
    atSeconds: 4,
    faults: [
      { fault: 'consumer-kill', target: 'consumer-1', delaySeconds: 0, seconds: 1 },
      { fault: 'script-flush', target: 'redis', delaySeconds: 1, seconds: 0 },
      { fault: 'link-cut', target: 'flusher-1~kafka', delaySeconds: 0, seconds: 5 },
    ],
  },
  {
    atSeconds: 14,
    faults: [
      { fault: 'flusher-freeze-past-lease', target: 'flusher-2', delaySeconds: 0, seconds: 11 },
      { fault: 'link-cut', target: 'consumer-2~redis-2', delaySeconds: 1, seconds: 4 },
      { fault: 'flusher-kill', target: 'flusher-1', delaySeconds: 6, seconds: 1 },
    ],
  },
];

describeWithKafka('apps that are killed, frozen and cut off under load', () => {
  it('lose nothing, produce no partial segment, and nothing under two flush ids', async () => {
    const report = await runChaos({
      mode: 'buffered',
      seed: 41,
      groups: SCHEDULE,
      minutes: 0.5,
      spansPerSecond: 500,
      lateShare: 0.01,
      folder: `${LOGS}/faults`,
      say: () => undefined,
    });
    expect(report.failures, report.verification).toEqual([]);
    expect(report.problems, report.verification).toEqual({});
    expect(report.counts).toMatchObject({ spansLost: 0, spansDuplicated: 0, partialGenerations: 0 });
    expect(report.counts.spansSent).toBeGreaterThan(10_000);
    expect(report.events.map(({ fault }) => fault).toSorted()).toEqual(
      SCHEDULE.flatMap(({ faults }) => faults.map(({ fault }) => fault)).toSorted(),
    );
    // It had something to lose.
    const frozen = report.events.find(({ fault }) => fault === 'flusher-freeze-past-lease');
    expect(frozen?.detail).toMatch(/^with [1-9]\d* segments in hand$/);
  });

  it('have books that say just which spans are lost when Redis is emptied', async () => {
    const report = await runChaos({
      mode: 'buffered',
      seed: 43,
      groups: [
        { atSeconds: 10, faults: [{ fault: 'redis-flushall-all', target: 'redis', delaySeconds: 0, seconds: 0 }] },
        { atSeconds: 20, faults: [{ fault: 'redis-flushall-one', target: 'redis-2', delaySeconds: 0, seconds: 0 }] },
        { atSeconds: 26, faults: [{ fault: 'redis-lost-writes', target: 'redis-1', delaySeconds: 0, seconds: 3 }] },
      ],
      minutes: 0.6,
      spansPerSecond: 500,
      lateShare: 0,
      folder: `${LOGS}/books`,
      say: () => undefined,
    });
    expect(report.failures, report.verification).toEqual([]);
    const { ledger, counts } = report;
    expect(counts.spansLost).toBeGreaterThan(500);
    expect(ledger).toMatchObject({ isBalanced: true, agrees: true, openCount: counts.spansLost, forgotten: [] });
    // The receipts of what had come out by then came from the memory of apps.
    expect(ledger.counts['restored']).toBeGreaterThan(1_000);
    expect(ledger.partitions.map(({ baseOffset }) => baseOffset)).toEqual(ledger.partitions.map(() => 0));
  });

  it('lose nothing when offsets wait for the flush, though Redis is emptied in the middle of it', async () => {
    const report = await runChaos({
      mode: 'flushed',
      seed: 42,
      groups: [
        { atSeconds: 12, faults: [{ fault: 'redis-flushall-all', target: 'redis', delaySeconds: 0, seconds: 0 }] },
      ],
      minutes: 0.4,
      spansPerSecond: 500,
      lateShare: 0,
      folder: `${LOGS}/emptied`,
      say: () => undefined,
    });
    expect(report.failures, report.verification).toEqual([]);
    // Segments whose receipts were lost with the rest come again, and just as complete.
    const again = ['twice under different flush ids', 'generation with several flush ids'];
    const others = Object.keys(report.problems).filter((kind) => !again.includes(kind));
    expect(others, report.verification).toEqual([]);
    expect(report.counts).toMatchObject({ spansLost: 0, partialGenerations: 0 });
    expect(report.counts.spansSent).toBeGreaterThan(8_000);
  });
});
