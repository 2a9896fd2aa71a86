/** What `npm run chaos` does, as a seed decides it. */
import { FAULT_NAMES, type FaultName, planSchedule } from '@spanbuf/chaos/schedule';
import { describe, expect, it } from 'vitest';

const SEEDS = Array.from({ length: 200 }, (_, i) => i);
const twentyMinutes = (seed: number) => planSchedule({ seed, minutes: 20, faults: FAULT_NAMES });

describe('a schedule of faults', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(twentyMinutes(7)).toEqual(twentyMinutes(7));
    expect(new Set(SEEDS.map((seed) => JSON.stringify(twentyMinutes(seed)))).size).toBe(SEEDS.length);
  });

  it('of twenty minutes has every fault at least twice', () => {
    for (const seed of SEEDS) {
      const counts = new Map<FaultName, number>();
      for (const { fault } of twentyMinutes(seed).flatMap(({ faults }) => faults))
        counts.set(fault, (counts.get(fault) ?? 0) + 1);
      expect(
        FAULT_NAMES.filter((fault) => (counts.get(fault) ?? 0) < 2),
        `seed ${seed}`,
      ).toEqual([]);
    }
  });

  it('never has two faults of one group at the same kind of server', () => {
    for (const { faults } of SEEDS.flatMap(twentyMinutes)) {
      const servers = faults.map(({ fault }) => fault.replace(/-.*/, ''));
      expect(new Set(servers).size, JSON.stringify(faults)).toBe(servers.length);
    }
  });

  it('has no other faults than those that are asked for', () => {
    const groups = planSchedule({ seed: 1, minutes: 5, faults: ['kafka-kill', 'flusher-kill'] });
    const names = groups.flatMap(({ faults }) => faults.map(({ fault }) => fault));
    expect(new Set(names)).toEqual(new Set(['kafka-kill', 'flusher-kill']));
  });
});
