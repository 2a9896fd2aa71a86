/**
 * `npm run simulate [-- options]`: runs seeds of the simulation in several processes. Prints how many have run, and at the
 * first failing one the run that fails. Exit code 1 when a promise was broken, 2 for wrong usage.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type Options, parseOptions, USAGE, UsageError } from './options.ts';
import { type Outcome, taskOf } from './run-seeds.ts';

const PROGRESS_MS = 10_000;

/** What has been seen so far. */
class Summary {
  readonly startedMs = performance.now();
  readonly faults = new Map<string, number>();
  seeds = 0;
  steps = 0;
  failed = 0;

  add({ steps, faults, failure }: Outcome): void {
    this.seeds += 1;
    this.steps += steps;
    if (failure !== undefined) this.failed += 1;
    for (const [fault, count] of faults) this.faults.set(fault, (this.faults.get(fault) ?? 0) + count);
  }

  get lines(): string[] {
    const faults = [...this.faults].sort(([a], [b]) => (a < b ? -1 : 1)).map(([fault, count]) => `${fault}: ${count}`);
    const seconds = ((performance.now() - this.startedMs) / 1000).toFixed(1);
    return [
      `faults       ${faults.join(', ')}`,
      `seeds        ${this.seeds}, of which ${this.failed} failed`,
      `round trips  ${this.steps}`,
      `seconds      ${seconds}`,
    ];
  }
}

/** Runs all seeds, or as many as it takes until one fails. */
async function simulate({ seeds, seed, layouts, topologies, modes, workers }: Options): Promise<Summary> {
  const summary = new Summary();
  let next = seed;
  const progress = setInterval(() => console.log(`${summary.seeds} of ${seeds} seeds`), PROGRESS_MS);
  const work = async (): Promise<void> => {
    const worker = fork(join(import.meta.dirname, 'worker.ts'));
    const ended = once(worker, 'exit').then(() => undefined);
    while (next < seed + seeds && summary.failed === 0) {
      worker.send(taskOf(next++, layouts, topologies, modes));
      const reply = await Promise.race([once(worker, 'message'), ended]);
      if (reply === undefined) throw new Error('a worker has died');
      const outcome = reply[0] as Outcome;
      summary.add(outcome);
      if (outcome.failure !== undefined) show(outcome);
    }
    worker.disconnect();
    await ended;
  };
  try {
    await Promise.all(Array.from({ length: Math.min(workers, seeds) }, work));
  } finally {
    clearInterval(progress);
  }
  return summary;
}

function show({ task, failure }: Outcome): void {
  const { seed, layout, topology, mode } = task;
  for (const line of failure?.trace ?? []) console.log(line);
  console.log(`\nbroken: ${failure?.invariant}: ${failure?.detail}`);
  console.log(
    `again:  npm run simulate -- --seed ${seed} --seeds 1 --layout ${layout} --topology ${topology} --mode ${mode}`,
  );
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    console.log(USAGE);
  } else {
    const summary = await simulate(options);
    for (const line of summary.lines) console.log(line);
    process.exitCode = summary.failed === 0 ? 0 : 1;
  }
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`${error.message}\n\n${USAGE}`);
  process.exitCode = 2;
}
