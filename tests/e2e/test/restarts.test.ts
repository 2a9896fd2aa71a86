import type { AppProcess } from '@spanbuf/stack/processes';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, it } from 'vitest';
import { System, stop, sumOf } from '../system.ts';

const PARTITIONS = 6;
/** Each longer than those after it, so that what is leased for so long is leased to that flusher. */
const LEASES = [14, 11, 8];
const LEAST_LEASE = 5;
const OFTEN = { timeout: 60_000, interval: 20 };

async function produced(flusher: AppProcess): Promise<void> {
  await expect.poll(() => sumOf(flusher, 'spanbuf_flusher_segments_total'), { timeout: 60_000 }).toBeGreaterThan(0);
}

/** Freezes a flusher, and answers how many segments it has in flight: if none, it goes on. */
async function freezeInFlight(system: System, flusher: AppProcess, othersSeconds: number): Promise<number> {
  flusher.freeze();
  const count = await system.leased(othersSeconds);
  if (count === 0) flusher.thaw();
  return count;
}

describeWithKafka('under load', () => {
  it('a rolling restart of consumers and flushers by SIGTERM loses nothing and produces nothing twice', async () => {
    const system = await System.open({ partitionCount: PARTITIONS });
    const consumers = await Promise.all([system.consumer(), system.consumer(), system.consumer()]);
    const flushers = await Promise.all([system.flusher(), system.flusher(), system.flusher()]);
    const load = system.startLoad({ rate: 500, seed: 21 });
    for (const consumer of consumers) {
      await stop(consumer);
      await system.consumer();
    }
    for (const flusher of flushers) {
      await produced(flusher);
      await stop(flusher);
      await system.flusher();
    }
    await load.stop();
    await system.drained();
    const { output } = await system.verified();
    expect(output.copies).toBe(0);
  });

  it('the same by SIGKILL loses nothing; what is produced twice has the flush id of the first', async () => {
    const system = await System.open({ partitionCount: PARTITIONS });
    const consumers = await Promise.all([system.consumer(), system.consumer(), system.consumer()]);
    const flushers = await Promise.all(
      LEASES.map((seconds) => system.flusher({ SPANBUF_LEASE_SECONDS: String(seconds) })),
    );
    const load = system.startLoad({ rate: 500, seed: 22, lateShare: 0.01 });
    for (const consumer of consumers) {
      await consumer.kill();
      await system.consumer();
    }
    for (const [i, flusher] of flushers.entries()) {
      const othersSeconds = LEASES[i + 1] ?? LEAST_LEASE;
      await expect.poll(() => freezeInFlight(system, flusher, othersSeconds), OFTEN).toBeGreaterThan(0);
      await flusher.kill();
      await system.flusher({ SPANBUF_LEASE_SECONDS: String(LEAST_LEASE) });
    }
    await load.stop();
    await system.drained();
    // verified() refuses a span that came out under two flush ids.
    await system.verified();
  });

  it('a consumer that freezes and wakes up after its partitions went to another changes nothing', async () => {
    const system = await System.open();
    const frozen = await system.consumer();
    await system.flusher();
    const load = system.startLoad({ rate: 400, seed: 23 });
    await expect.poll(() => sumOf(frozen, 'spanbuf_consumer_messages_total')).toBeGreaterThan(200);
    frozen.freeze();
    const other = await system.consumer();
    await expect.poll(() => sumOf(other, 'spanbuf_consumer_assigned_partitions'), { timeout: 30_000 }).toBe(4);
    frozen.thaw();
    const before = await sumOf(other, 'spanbuf_consumer_messages_total');
    await expect.poll(() => sumOf(other, 'spanbuf_consumer_messages_total')).toBeGreaterThan(before + 400);
    await load.stop();
    await system.drained();
    await system.verified();
  });
});
