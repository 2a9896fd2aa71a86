import type { LogBatch, LogMessage } from '@spanbuf/kafka';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { ByteBudget } from '../src/byte-budget.ts';
import { Intake } from '../src/intake.ts';
import { PartitionClock } from '../src/partition-clock.ts';
import { PartitionWorker, type WorkerOptions } from '../src/partition-worker.ts';

const VALUE_BYTES = 900;

function aMessage(offset: number): LogMessage {
  return {
    partition: 0,
    offset: BigInt(offset),
    timestampMs: 0,
    key: null,
    value: Buffer.alloc(VALUE_BYTES),
    headers: {},
  };
}

function aBatch(from: number, to: number, nextOffset = to): LogBatch {
  const messages = Array.from({ length: to - from }, (_, i) => aMessage(from + i));
  const assignment = {
    partitions: [0],
    topicId: 'topic',
    positions: new Map(),
    notes: new Map(),
    signal: new AbortController().signal,
  };
  return { partition: 0, messages, highWatermark: BigInt(nextOffset), nextOffset: BigInt(nextOffset), assignment };
}

/** With room for so much. */
function anIntake(bytes = Number.POSITIVE_INFINITY): Intake {
  const intake = new Intake();
  intake.allow(bytes);
  return intake;
}

/** A worker whose batches wait until the test lets them through. */
function aWorker(options: Partial<WorkerOptions> = {}) {
  const batches: { offsets: number[]; range: [bigint, bigint]; pass: () => void; fail: (error: Error) => void }[] = [];
  const errors: unknown[] = [];
  let wake: () => void = () => undefined;
  const worker = new PartitionWorker({
    partition: 0,
    startOffset: 0n,
    batchSpans: 100,
    batchBytes: 1_000_000,
    batchMs: 0,
    budget: new ByteBudget(1_000_000),
    intake: anIntake(),
    clock: new PartitionClock({ maxBackSeconds: 600 }),
    apply: ({ messages, fromOffset, toOffset }) =>
      new Promise((resolve, reject) => {
        const offsets = messages.map(({ offset }) => Number(offset));
        batches.push({ offsets, range: [fromOffset, toOffset], pass: resolve, fail: reject });
        wake();
      }),
    onError: (error) => errors.push(error),
    ...options,
  });
  /** The n-th batch that was given to `apply`, from 0. */
  const batch = async (n: number) => {
    while (batches.length <= n) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return batches[n] as (typeof batches)[number];
  };
  return { worker, batch, batches, errors };
}

describe('PartitionWorker', () => {
  it('applies everything once, in order, one batch at a time', async () => {
    const { worker, batch, batches } = aWorker({ batchSpans: 3 });
    await worker.take(aBatch(0, 7));
    const seen: number[] = [];
    for (let n = 0; n < 3; n++) {
      const { offsets, pass } = await batch(n);
      expect(batches).toHaveLength(n + 1);
      seen.push(...offsets);
      pass();
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6]);
    await worker.stop();
    expect(worker.appliedOffset).toBe(7n);
  });

  it('answers an offset only once everything before it is applied', async () => {
    const { worker, batch } = aWorker({ batchSpans: 2 });
    await worker.take(aBatch(0, 4));
    const first = await batch(0);
    expect(worker.appliedOffset).toBe(0n);
    first.pass();
    const second = await batch(1);
    expect(worker.appliedOffset).toBe(2n);
    second.pass();
    await worker.stop();
    expect(worker.appliedOffset).toBe(4n);
  });

  it('moves past records that no consumer is shown', async () => {
    const { worker, batch } = aWorker();
    await worker.take(aBatch(0, 2, 5));
    const first = await batch(0);
    expect(first.range).toEqual([0n, 5n]);
    first.pass();
    await worker.take(aBatch(5, 5, 9));
    const second = await batch(1);
    expect(second).toMatchObject({ offsets: [], range: [5n, 9n] });
    second.pass();
    await expect.poll(() => worker.appliedOffset).toBe(9n);
    await worker.stop();
  });

  it('waits for more messages until the first of a batch is old enough', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const { worker, batch, batches } = aWorker({ batchMs: 50 });
    await worker.take(aBatch(0, 2));
    await vi.advanceTimersByTimeAsync(49);
    await worker.take(aBatch(2, 3));
    expect(batches).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1);
    const first = await batch(0);
    expect(first.offsets).toEqual([0, 1, 2]);
    first.pass();
    await worker.stop();
  });

  it('does not wait for more when a batch is full, by messages or by bytes, nor when it is stopped', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    for (const full of [{ batchSpans: 3 }, { batchBytes: 2_500 }]) {
      const { worker, batch } = aWorker({ batchMs: 60_000, ...full });
      await worker.take(aBatch(0, 3));
      const first = await batch(0);
      expect(first.offsets).toEqual([0, 1, 2]);
      first.pass();
      await worker.take(aBatch(3, 3, 9));
      await worker.stop();
      expect(worker.appliedOffset).toBe(3n);
    }
  });

  it('cuts batches by bytes', async () => {
    const { worker, batch } = aWorker({ batchBytes: 1_500 });
    await worker.take(aBatch(0, 3));
    const first = await batch(0);
    expect(first.offsets).toEqual([0, 1]);
    first.pass();
    (await batch(1)).pass();
    await worker.stop();
  });

  it('takes no more than the budget holds, and goes on when there is room', async () => {
    const { worker, batch } = aWorker({ batchSpans: 2, budget: new ByteBudget(3_000) });
    let isTaken = false;
    const taken = worker.take(aBatch(0, 4)).then(() => {
      isTaken = true;
    });
    const first = await batch(0);
    expect(isTaken).toBe(false);
    first.pass();
    await taken;
    (await batch(1)).pass();
    await worker.stop();
  });

  it('takes the first messages of a partition though others have used up the budget', async () => {
    const budget = new ByteBudget(1_000);
    budget.take(5_000);
    const { worker, batch } = aWorker({ budget });
    const taken = worker.take(aBatch(0, 1));
    (await batch(0)).pass();
    await taken;
    await worker.stop();
    expect(budget.usedBytes).toBe(5_000);
  });

  it('takes nothing of what it has while nothing may be taken, and stops all the same', async () => {
    const intake = anIntake(1);
    const { worker, batch, batches } = aWorker({ batchSpans: 2, intake });
    await worker.take(aBatch(0, 6));
    (await batch(0)).pass();
    await expect.poll(() => worker.appliedOffset).toBe(2n);
    expect(batches).toHaveLength(1);
    intake.allow(1);
    (await batch(1)).pass();
    await expect.poll(() => worker.appliedOffset).toBe(4n);
    await worker.stop();
    expect(batches).toHaveLength(2);
  });

  it('finishes the batch in hand when it is stopped, and nothing more', async () => {
    const budget = new ByteBudget(1_000_000);
    const { worker, batch, batches } = aWorker({ batchSpans: 2, budget });
    await worker.take(aBatch(0, 6));
    const first = await batch(0);
    const stopped = worker.stop();
    first.pass();
    await stopped;
    expect(worker.appliedOffset).toBe(2n);
    expect(batches).toHaveLength(1);
    expect(budget.usedBytes).toBe(0);
  });

  it('stops for good at a batch that cannot be applied, and leaves its offset', async () => {
    const { worker, batch, errors } = aWorker({ batchSpans: 2 });
    await worker.take(aBatch(0, 4));
    (await batch(0)).pass();
    (await batch(1)).fail(new Error('broken'));
    await expect.poll(() => errors).toHaveLength(1);
    expect(worker.appliedOffset).toBe(2n);
    await worker.take(aBatch(4, 6));
    await worker.stop();
    expect(worker.appliedOffset).toBe(2n);
  });

  it('says nothing of a batch that was given up because of a stop', async () => {
    const { worker, batch, errors } = aWorker();
    await worker.take(aBatch(0, 2));
    const first = await batch(0);
    const stopped = worker.stop();
    first.fail(new Error('given up'));
    await stopped;
    expect(errors).toEqual([]);
    expect(worker.appliedOffset).toBe(0n);
  });
});
