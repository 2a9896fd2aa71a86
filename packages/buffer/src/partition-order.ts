import { SpanbufError } from '@spanbuf/keys';

/** A batch was not applied because one that came before it in the same partition had failed meanwhile. */
export class EarlierBatchFailedError extends SpanbufError {
  readonly code = 'SPANBUF_EARLIER_BATCH_FAILED';
  readonly retriable = true;

  constructor() {
    super('an earlier batch of the same partition failed: process that one again, then this one');
  }
}

/**
 * Applies the batches of a partition one after the other, in the order of the calls. Positions tell replays from new
 * spans only if a partition's batches are applied in order: were batch 2 stored before batch 1, batch 1 would look
 * replayed. So a batch that was waiting when one before it failed fails too. Batches without a common partition do not
 * wait for each other.
 */
export class PartitionOrder {
  /** By partition: resolves, once its last batch has ended, with the count at which a batch last failed. */
  readonly #ends = new Map<string, Promise<number>>();
  /** Counts calls and failures, to tell which came first. */
  #count = 0;

  /** @throws {@link EarlierBatchFailedError}, or what `task` throws. */
  async run<T>(partitions: readonly string[], task: () => Promise<T>): Promise<T> {
    if (partitions.length === 0) return task();
    const calledAt = ++this.#count;
    const before = partitions.map((partition) => this.#ends.get(partition));
    let failedAt = 0;
    const result = Promise.all(before).then(async (failures) => {
      failedAt = Math.max(0, ...failures.map((at) => at ?? 0));
      if (failedAt > calledAt) throw new EarlierBatchFailedError();
      try {
        return await task();
      } catch (error) {
        failedAt = ++this.#count;
        throw error;
      }
    });
    const end = result.then(
      () => failedAt,
      () => failedAt,
    );
    for (const partition of partitions) this.#ends.set(partition, end);
    await end;
    for (const partition of partitions) if (this.#ends.get(partition) === end) this.#ends.delete(partition);
    return result;
  }
}
