import { LAYOUTS } from '@spanbuf/store';
import { afterAll, describe, expect, it } from 'vitest';
import { SeedRunner, taskOf } from '../run-seeds.ts';
import { MODES } from '../scenario.ts';
import { SimulationServers, TOPOLOGIES, type Topology } from '../servers.ts';
import { runSeed } from '../world.ts';

/** Of each layout on each topology in each mode: 240 in all, no two the same. */
const SEEDS_OF_EACH = 15;
const KINDS = LAYOUTS.flatMap((layout) => MODES.map((mode) => ({ layout, mode })));

describe.each(TOPOLOGIES)('a simulated %s', (topology: Topology) => {
  const runner = new SeedRunner();
  afterAll(() => runner.stop());

  const firstKind = TOPOLOGIES.indexOf(topology) * KINDS.length;
  it.each(KINDS.map((kind, i) => ({ ...kind, firstSeed: 1 + (firstKind + i) * SEEDS_OF_EACH })))(
    'keeps every promise, $layout, offsets committed once spans are $mode, from seed $firstSeed on',
    async ({ layout, mode, firstSeed }) => {
      for (let seed = firstSeed; seed < firstSeed + SEEDS_OF_EACH; seed++) {
        const { failure } = await runner.run({ seed, layout, topology, mode });
        expect(failure, failure?.trace.join('\n')).toBeUndefined();
      }
    },
    300_000,
  );

  it('does the same again for the same seed', async () => {
    const servers = await SimulationServers.start(topology);
    try {
      for (const seed of [3, 4, 5]) {
        const options = { seed, layout: 'distributed', mode: 'flushed', isTraced: true } as const;
        const first = await runSeed(servers, options);
        const second = await runSeed(servers, options);
        expect(first.steps).toBeGreaterThan(20);
        expect(second.trace.join('\n')).toBe(first.trace.join('\n'));
      }
    } finally {
      await servers.stop();
    }
  }, 60_000);
});

it('has each layout on each topology in each mode among any sixteen seeds', () => {
  const tasks = Array.from({ length: 16 }, (_, i) => taskOf(100 + i, LAYOUTS, TOPOLOGIES, MODES));
  expect(new Set(tasks.map(({ layout, topology, mode }) => `${layout} ${topology} ${mode}`)).size).toBe(16);
});
