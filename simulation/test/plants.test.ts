import { afterAll, beforeAll, expect, it } from 'vitest';
import { PLANTS, type Plant } from '../plants.ts';
import { MODES, type Mode } from '../scenario.ts';
import { SimulationServers } from '../servers.ts';
import { shrink } from '../shrink.ts';
import { type RunOptions, runSeed } from '../world.ts';

const MOST_SEEDS = 500;

/** On a cluster a part of the data may be lost. */
const TOPOLOGY_OF = { buffered: 'node', flushed: 'cluster' } as const;

const started = new Map<Mode, SimulationServers>();
beforeAll(async () => {
  for (const mode of MODES) started.set(mode, await SimulationServers.start(TOPOLOGY_OF[mode]));
});
afterAll(() => Promise.all([...started.values()].map((servers) => servers.stop())));

it.each(Object.entries(PLANTS))(
  'finds: %s',
  async (_name, plant) => {
    const failure = await firstFailure(plant);
    expect(failure).toBeDefined();
    if (plant.breaks !== undefined) expect(failure?.invariant).toBe(plant.breaks);
  },
  300_000,
);

it('shows the failure of a seed with fewer spans and faults than it had', async () => {
  const plant = PLANTS['schedule lost'] as Plant;
  const { options } = (await firstFailure(plant)) as Failure;
  const servers = started.get(options.mode) as SimulationServers;
  const whole = await runSeed(servers, options);
  const smallest = await shrink(servers, options, whole);
  expect(smallest.violation?.invariant).toBe(whole.violation?.invariant);
  expect(smallest.steps).toBeLessThan(whole.steps);
  expect(smallest.trace.some((line) => line.includes('VIOLATION'))).toBe(true);
}, 300_000);

interface Failure {
  readonly options: RunOptions;
  readonly invariant: string;
}

/** The first seed that fails. */
async function firstFailure(plant: Plant): Promise<Failure | undefined> {
  for (let seed = 1; seed <= MOST_SEEDS; seed++) {
    const { mode = 'buffered' } = plant;
    const options: RunOptions = { seed, layout: 'distributed', mode, plant };
    const { violation } = await runSeed(started.get(mode) as SimulationServers, options);
    if (violation !== undefined) return { options, invariant: violation.invariant };
  }
  return undefined;
}
