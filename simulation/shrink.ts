import type { SimulationServers } from './servers.ts';
import { type RunOptions, type RunResult, runSeed } from './world.ts';

/** Runs spent on making a failure smaller. The outcome depends on this number and on nothing else besides the seed. */
const BUDGET = 300;

/** A failing run with as few spans, faults, processes and steps as could be found, that breaks the same promise. Traced. */
export async function shrink(servers: SimulationServers, failing: RunOptions, first: RunResult): Promise<RunResult> {
  const invariant = first.violation?.invariant;
  let best: RunOptions = failing;
  let known = first;
  let runs = 0;
  const keeps = async (options: RunOptions): Promise<boolean> => {
    if (runs >= BUDGET) return false;
    runs++;
    const result = await runSeed(servers, options);
    if (result.violation?.invariant !== invariant) return false;
    best = options;
    known = result;
    return true;
  };
  /** Leaves out as many of the items as possible, larger parts first. */
  const without = async <T>(
    items: readonly T[],
    options: (left: readonly T[]) => RunOptions,
  ): Promise<readonly T[]> => {
    let left = items;
    for (let size = Math.ceil(left.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = 0; at < left.length && runs < BUDGET; ) {
        const fewer = [...left.slice(0, at), ...left.slice(at + size)];
        if (await keeps(options(fewer))) left = fewer;
        else at += size;
      }
    }
    return left;
  };

  const ordinals = Array.from({ length: first.faultCount }, (_, ordinal) => ordinal);
  const withFaults = (options: RunOptions, left: readonly number[]): RunOptions => {
    const kept = new Set(left);
    return { ...options, faults: kept };
  };
  await keeps(withFaults(best, []));
  if (best.faults === undefined) await without(ordinals, (left) => withFaults(best, left));
  const spans = Array.from({ length: first.spanCount }, (_, index) => index);
  await without(spans, (left) => ({ ...best, cut: { ...best.cut, spans: left } }));
  for (const few of ['consumers', 'flushers'] as const) await keeps({ ...best, cut: { ...best.cut, [few]: 1 } });
  for (let steps = Math.min(known.chaosSteps, 400); steps >= 1; steps = Math.floor(steps / 2)) {
    if (!(await keeps({ ...best, cut: { ...best.cut, steps } }))) break;
  }
  await without([...(best.faults ?? ordinals)], (left) => withFaults(best, left));
  return runSeed(servers, { ...best, isTraced: true });
}
