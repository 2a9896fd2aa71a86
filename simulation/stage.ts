import type { SpanBuffer, SpanBufferOptions } from '@spanbuf/buffer';
import { SpanbufError } from '@spanbuf/keys';
import { type Ledger, type LossWatch, type SegmentStore, StaleEpochError } from '@spanbuf/store';
import type { ModelKafka } from './model-kafka.ts';
import type { SimulatedProcess } from './process.ts';
import type { Witness } from './witness.ts';

/** The world as the program of a process sees it. */
export interface Stage {
  readonly kafka: ModelKafka;
  readonly witness: Witness;
  /** Message time, Unix seconds. */
  readonly messageSeconds: number;
  /** Whether offsets are committed only once their spans are produced. */
  readonly isCommitOnFlush: boolean;
  /** Programs end at their next turn. */
  readonly isStopping: boolean;
  /** The same, and all consumers have ended. */
  readonly isReadingOver: boolean;
  /** It has healed, and somebody reads each partition again, and has begun its books. */
  readonly haveBegun: boolean;
  /** Nothing fails any more, and what is done now is the end. */
  readonly isHealed: boolean;
  /** Whether a flusher is to put back what is parked. */
  readonly isPutBackWanted: boolean;
  /** The same, and says no from then on. */
  takePutBack(): boolean;
  /** Waits until the scheduler lets the process go on: anything may happen before. */
  turn(process: SimulatedProcess, what: string, isReady?: () => boolean): Promise<void>;
  note(who: string, what: string): void;
}

/** What a process has of Redis. */
export interface Connections {
  openStore(epoch: number | undefined): SegmentStore;
  openBuffer(store: SegmentStore, own?: Pick<SpanBufferOptions, 'holdIncomplete' | 'onLoss'>): SpanBuffer;
  /** Absent where nobody keeps books, or counts epochs. */
  readonly ledger: Ledger | undefined;
  readonly losses: LossWatch | undefined;
}

/** Whether trying again, perhaps in another epoch, may help. */
export function isPassing(error: unknown): boolean {
  return error instanceof SpanbufError && (error.retriable || error instanceof StaleEpochError);
}
