import type { Brokers } from './brokers.ts';
import { throwIfError } from './kafka-error.ts';
import { produceRequest } from './requests.ts';
import { DeadlineError } from './waiting.ts';

/** Packed batches of one request; a longer one goes alone. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

/** A record batch for one partition. */
export interface PartitionBatch {
  readonly topic: string;
  readonly partition: number;
  readonly bytes: Buffer;
  /** By `performance.now()`: after that it is not sent any more. */
  readonly endMs: number;
  /** Shares its request with no other: one of them may have been why the request before failed. */
  readonly isAlone: boolean;
}

interface Waiting extends PartitionBatch {
  resolve(baseOffset: bigint): void;
  reject(error: unknown): void;
}

/** What waits for one broker. */
interface Lane {
  readonly waiting: Waiting[];
  isBusy: boolean;
}

/**
 * Writes batches to the brokers that lead their partitions: one request to a broker at a time, and in the next one all that
 * came meanwhile. A broker answers the requests of a connection one after the other anyway, and most of what a small one costs,
 * on both sides, is the request itself.
 */
export class BatchWriter {
  readonly #brokers: Brokers;
  /** By node id. */
  readonly #lanes = new Map<number, Lane>();

  constructor(brokers: Brokers) {
    this.#brokers = brokers;
  }

  /**
   * Batches of one partition are written in the order of the calls.
   * @returns Offset of its first message, once all in-sync replicas have it.
   * @throws BrokerError, or what kept the answer away: then it may or may not be in the log.
   */
  write(leader: number, batch: PartitionBatch): Promise<bigint> {
    return new Promise((resolve, reject) => {
      const lane = this.#lanes.get(leader) ?? { waiting: [], isBusy: false };
      this.#lanes.set(leader, lane);
      lane.waiting.push({ ...batch, resolve, reject });
      if (!lane.isBusy) void this.#drain(leader, lane);
    });
  }

  async #drain(leader: number, lane: Lane): Promise<void> {
    lane.isBusy = true;
    while (lane.waiting.length > 0) {
      const batches = takeTogether(lane.waiting, performance.now());
      try {
        if (batches.length > 0) await this.#send(leader, batches);
      } catch (error) {
        for (const { reject } of batches) reject(error);
      }
    }
    lane.isBusy = false;
  }

  async #send(leader: number, batches: readonly Waiting[]): Promise<void> {
    const broker = await this.#brokers.node(leader);
    const leftMs = Math.max(...batches.map(({ endMs }) => endMs)) - performance.now();
    const timeoutMs = Math.max(1, Math.ceil(leftMs));
    const { topic } = batches[0] as Waiting;
    // The broker gives up a little sooner, so that its answer is still heard.
    const request = produceRequest(topic, batches, Math.ceil(timeoutMs * 0.8));
    const answers = await this.#brokers.send(broker, request, timeoutMs);
    for (const { partition, resolve, reject } of batches) {
      try {
        const answer = answers.find((produced) => produced.topic === topic && produced.partition === partition);
        // An answer that leaves a partition out says nothing about it.
        if (answer === undefined) throw new Error(`the answer does not cover partition ${partition}`);
        throwIfError(answer.errorCode, answer.errorMessage);
        if (answer.baseOffset < 0n) throw new Error(`the answer for partition ${partition} has no offset`);
        resolve(answer.baseOffset);
      } catch (error) {
        reject(error);
      }
    }
  }
}

/** Takes out what goes into the next request: of one topic, and the first of each partition. None where all came too late. */
function takeTogether(waiting: Waiting[], nowMs: number): Waiting[] {
  const taken: Waiting[] = [];
  const left: Waiting[] = [];
  const partitions = new Set<number>();
  let byteCount = 0;
  for (const batch of waiting) {
    const { topic, partition, bytes, endMs, isAlone, reject } = batch;
    const first = taken[0];
    if (endMs <= nowMs) {
      reject(new DeadlineError(`partition ${partition} was not written to in time`));
    } else if (
      first === undefined ||
      (!first.isAlone &&
        !isAlone &&
        topic === first.topic &&
        !partitions.has(partition) &&
        byteCount + bytes.length <= MAX_REQUEST_BYTES)
    ) {
      taken.push(batch);
      byteCount += bytes.length;
      partitions.add(partition);
    } else {
      left.push(batch);
      // Nothing of this partition may overtake it.
      partitions.add(partition);
    }
  }
  waiting.splice(0, waiting.length, ...left);
  return taken;
}
