/** Reads the output topic of spanbuf, and hands each segment to a function, merged, once unless a process dies. */
import type { Assignment, Kafka, LogBatch, LogConsumer } from '@spanbuf/kafka';
import {
  InvalidSegmentMessageError,
  type MergedSegment,
  SegmentMerger,
  type SegmentMergerOptions,
} from '@spanbuf/segments';

export interface SegmentReaderOptions {
  readonly kafka: Kafka;
  readonly topic: string;
  readonly groupId: string;
  /** Of each partition. */
  readonly merger: SegmentMergerOptions;
  /** Handles a segment; when it rejects, the segment comes again. A later revision takes the place of the one before. */
  readonly handle: (segment: MergedSegment) => Promise<void>;
  readonly log: (text: string) => void;
  /** Unix seconds. */
  readonly clock: () => number;
  /** The reader has stopped, and does not start again. */
  readonly onFatal: (error: Error) => void;
}

/** A partition, as long as it is assigned. */
interface PartitionState {
  readonly merger: SegmentMerger;
  readonly assignment: Assignment;
  nextOffset: bigint;
  committed: bigint;
  /** What happens to a partition happens in turn: messages, and the clock. */
  last: Promise<void>;
}

const POLL_MS = 1_000;

export class SegmentReader {
  readonly #options: SegmentReaderOptions;
  readonly #consumer: LogConsumer;
  readonly #partitions: Map<number, PartitionState>;
  readonly #timer: NodeJS.Timeout;

  private constructor(options: SegmentReaderOptions, consumer: LogConsumer, partitions: Map<number, PartitionState>) {
    this.#options = options;
    this.#consumer = consumer;
    this.#partitions = partitions;
    this.#timer = setInterval(() => this.#poll(), POLL_MS);
  }

  static async open(options: SegmentReaderOptions): Promise<SegmentReader> {
    const { kafka, topic, groupId, onFatal } = options;
    const partitions = new Map<number, PartitionState>();
    let opened: (reader: SegmentReader) => void = () => undefined;
    const reader = new Promise<SegmentReader>((resolve) => {
      opened = resolve;
    });
    const consumer = await kafka.consume({
      topic,
      groupId,
      // What was held is read again by whoever has the partition now, from the committed offset.
      onAssigned: () => partitions.clear(),
      onBatch: async (batch) => (await reader).#take(batch),
      onFatal,
    });
    opened(new SegmentReader(options, consumer, partitions));
    return reader;
  }

  /** Finishes what is being handled and commits. What is held and not handled comes again at the next start. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([...this.#partitions.values()].map(({ last }) => last));
    await this.#consumer.stop();
  }

  #take({ partition, assignment, messages, nextOffset }: LogBatch): Promise<void> {
    const state = this.#stateOf(partition, assignment);
    return inTurn(state, async () => {
      const { clock, log } = this.#options;
      for (const message of messages) {
        try {
          await this.#handle(state, state.merger.add(message, { now: clock() }));
        } catch (error) {
          if (!(error instanceof InvalidSegmentMessageError)) throw error;
          log(`partition ${partition} offset ${message.offset}: ${error.message}`);
        }
      }
      state.nextOffset = nextOffset;
      await this.#commit(partition, state);
    });
  }

  #stateOf(partition: number, assignment: Assignment): PartitionState {
    const known = this.#partitions.get(partition);
    if (known?.assignment === assignment) return known;
    const merger = new SegmentMerger(this.#options.merger);
    const state = { merger, assignment, nextOffset: 0n, committed: -1n, last: Promise.resolve() };
    this.#partitions.set(partition, state);
    return state;
  }

  #poll(): void {
    for (const [partition, state] of this.#partitions) {
      inTurn(state, async () => {
        if (state.assignment.signal.aborted) return;
        await this.#handle(state, state.merger.poll({ now: this.#options.clock() }));
        await this.#commit(partition, state);
      }).catch((error) => this.#options.log(`partition ${partition}: ${error}`));
    }
  }

  async #handle({ merger }: PartitionState, segments: readonly MergedSegment[]): Promise<void> {
    for (const segment of segments) {
      try {
        await this.#options.handle(segment);
        merger.done([segment]);
      } catch (error) {
        this.#options.log(`segment ${segment.segmentId}: ${error}`);
        merger.release([segment]); // and it comes with the next poll
      }
    }
  }

  async #commit(partition: number, state: PartitionState): Promise<void> {
    const offset = state.merger.lowestHeldOffset() ?? state.nextOffset;
    if (offset <= state.committed) return;
    // False when others have the partition by now: then they have read the messages again.
    if (await this.#consumer.commit(state.assignment, new Map([[partition, offset]]))) state.committed = offset;
  }
}

function inTurn(state: PartitionState, action: () => Promise<void>): Promise<void> {
  const result = state.last.then(action);
  state.last = result.catch(() => undefined);
  return result;
}
