import type { AppProcess } from '@spanbuf/stack/processes';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, it } from 'vitest';
import { System, stop, sumOf } from '../system.ts';

const SLOW = { timeout: 60_000 };

const LAYOUTS = ['colocated', 'dual-read-colocated', 'dual-read-distributed', 'distributed'] as const;
type Layout = (typeof LAYOUTS)[number];
/** The order of a step: 0 and 1 are the consumers, 2 and 3 the flushers. */
const MOVES = [
  [0, 2, 1, 3],
  [3, 1, 2, 0],
  [2, 0, 1, 3],
];

/** How many partitions each of them has, fewest first. */
async function assignedTo(consumers: readonly AppProcess[]): Promise<number[]> {
  const counts = await Promise.all(consumers.map((app) => sumOf(app, 'spanbuf_consumer_assigned_partitions')));
  return counts.sort((a, b) => a - b);
}

async function partitionsWithMessages({ kafka, topics }: System): Promise<number> {
  const watermarks = await kafka.readWatermarks(topics.input);
  return [...watermarks.values()].filter(({ low, high }) => high > low).length;
}

describeWithKafka('scaling under load', () => {
  it('consumers 1 to 3 to 1, and partitions 4 to 8, lose and split nothing', async () => {
    // Longer than one consumer may begin after another when the group shares out anew.
    const system = await System.open({ partitionCount: 4, env: { SPANBUF_ROOT_TIMEOUT_SECONDS: '8' } });
    const first = await system.consumer();
    await system.flusher();
    const load = system.startLoad({ rate: 450, seed: 31 });
    const others = await Promise.all([system.consumer(), system.consumer()]);
    await expect.poll(() => assignedTo([first, ...others]), SLOW).toEqual([1, 1, 2]);
    await system.kafka.addPartitions(system.topics.input, 8);
    await expect.poll(() => assignedTo([first, ...others]), SLOW).toEqual([2, 3, 3]);
    await expect.poll(() => partitionsWithMessages(system), SLOW).toBe(8);
    expect(load.isRunning).toBe(true);
    for (const other of others) await stop(other);
    await expect.poll(() => assignedTo([first]), SLOW).toEqual([8]);
    const before = await sumOf(first, 'spanbuf_consumer_messages_total');
    await expect.poll(() => sumOf(first, 'spanbuf_consumer_messages_total')).toBeGreaterThan(before + 450);
    await load.stop();
    await system.drained(90_000);
    const { output, spreadTraces } = await system.verified();
    expect(spreadTraces).toBeGreaterThan(0);
    expect(output.copies).toBe(0);
    expect(output.splitSegments).toBe(0);
  });

  it('moves from the colocated layout to the distributed one, a restart at a time, without losing or repeating a span', async () => {
    const system = await System.open();
    const run = {
      consumer: (layout: Layout) => system.consumer({ SPANBUF_LAYOUT: layout }),
      flusher: (layout: Layout) => system.flusher({ SPANBUF_LAYOUT: layout }),
    };
    const apps = await Promise.all([
      run.consumer(LAYOUTS[0]),
      run.consumer(LAYOUTS[0]),
      run.flusher(LAYOUTS[0]),
      run.flusher(LAYOUTS[0]),
    ]);
    const load = system.startLoad({ rate: 300, seed: 32 });
    const move = async (i: number, layout: Layout) => {
      const app = apps[i] as AppProcess;
      const metric = `spanbuf_${app.name}_spans_total`;
      // What it has done, it has done in its phase.
      await expect.poll(() => sumOf(app, metric), SLOW).toBeGreaterThan(0);
      await stop(app);
      apps[i] = await run[app.name as 'consumer' | 'flusher'](layout);
    };
    for (const [step, layout] of LAYOUTS.slice(1).entries()) {
      for (const later of LAYOUTS.slice(step + 2)) expect(await system.whyNot(later)).not.toBe('');
      await expect.poll(() => system.whyNot(layout), SLOW).toBe('');
      for (const i of MOVES[step] as number[]) await move(i, layout);
    }
    for (const app of apps)
      await expect.poll(() => sumOf(app, `spanbuf_${app.name}_spans_total`), SLOW).toBeGreaterThan(0);
    await load.stop();
    await system.drained();
    const { output } = await system.verified();
    expect(output.copies).toBe(0);
  });
});
