import type { LayoutName } from '@spanbuf/store';
import type { Mode } from './scenario.ts';
import { SimulationServers, type Topology } from './servers.ts';
import { shrink } from './shrink.ts';
import { type RunOptions, runSeed } from './world.ts';

/** One seed with where it runs. */
export interface Task {
  readonly seed: number;
  readonly layout: LayoutName;
  readonly topology: Topology;
  readonly mode: Mode;
}

/** What came of a task. */
export interface Outcome {
  readonly task: Task;
  readonly steps: number;
  readonly faults: readonly (readonly [string, number])[];
  /** Which promise was broken, and the shortest run that was found to break it, one line a round trip. */
  readonly failure:
    | { readonly invariant: string; readonly detail: string; readonly trace: readonly string[] }
    | undefined;
}

/** Each of the layouts on each of the topologies in each of the modes in turn. The same for the same seed. */
export function taskOf(
  seed: number,
  layouts: readonly LayoutName[],
  topologies: readonly Topology[],
  modes: readonly Mode[],
): Task {
  const layout = layouts[seed % layouts.length] as LayoutName;
  const topology = topologies[Math.floor(seed / layouts.length) % topologies.length] as Topology;
  const mode = modes[Math.floor(seed / layouts.length / topologies.length) % modes.length] as Mode;
  return { seed, layout, topology, mode };
}

/** Runs tasks one after the other, on servers that are started when they are needed first. */
export class SeedRunner {
  readonly #servers = new Map<Topology, Promise<SimulationServers>>();

  async run(task: Task, more: Pick<RunOptions, 'plant'> = {}): Promise<Outcome> {
    const servers = await this.#serversOf(task.topology);
    const options: RunOptions = { seed: task.seed, layout: task.layout, mode: task.mode, ...more };
    const result = await runSeed(servers, options);
    const { steps, violation } = result;
    const faults = [...result.faults];
    if (violation === undefined) return { task, steps, faults, failure: undefined };
    const smallest = await shrink(servers, options, result);
    const { invariant, message: detail } = smallest.violation ?? violation;
    return { task, steps, faults, failure: { invariant, detail, trace: smallest.trace } };
  }

  #serversOf(topology: Topology): Promise<SimulationServers> {
    let servers = this.#servers.get(topology);
    if (servers === undefined) {
      servers = SimulationServers.start(topology);
      this.#servers.set(topology, servers);
    }
    return servers;
  }

  async stop(): Promise<void> {
    for (const servers of this.#servers.values()) await (await servers).stop();
  }
}
