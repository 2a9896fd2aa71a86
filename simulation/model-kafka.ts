import type { Span } from '@spanbuf/buffer';

/** One offset of an input partition. */
export interface Entry {
  readonly offset: number;
  /** Absent where there is no message. */
  readonly span: Span | undefined;
  /** Message time, Unix seconds. */
  readonly seconds: number;
}

/** Who reads a partition. A later tenure ends the earlier one, whether its owner knows or not. */
export interface Tenure {
  readonly partition: number;
  readonly owner: string;
}

/** What spanbuf may rely on of Kafka: logs that stay, committed offsets, one owner of a partition at a time. */
export class ModelKafka {
  readonly #logs: Entry[][];
  readonly #committed: number[];
  /** What was said with the commit. */
  readonly #notes: number[];
  readonly #tenures: (Tenure | undefined)[];

  constructor(partitions: number) {
    this.#logs = Array.from({ length: partitions }, () => []);
    this.#committed = this.#logs.map(() => 0);
    this.#notes = this.#logs.map(() => 0);
    this.#tenures = this.#logs.map(() => undefined);
  }

  get partitions(): readonly number[] {
    return [...this.#logs.keys()];
  }

  /** Offsets up to that of the span that nothing was sent to have no message. */
  append(span: Span, seconds: number): void {
    const log = this.#log(span.partition);
    while (log.length < Number(span.offset)) log.push({ offset: log.length, span: undefined, seconds });
    log.push({ offset: log.length, span, seconds });
  }

  endOf(partition: number): number {
    return this.#log(partition).length;
  }

  read(partition: number, from: number, count: number): readonly Entry[] {
    return this.#log(partition).slice(from, from + count);
  }

  committed(partition: number): number {
    return this.#committed[partition] as number;
  }

  noteOf(partition: number): number {
    return this.#notes[partition] as number;
  }

  tenureOf(partition: number): Tenure | undefined {
    return this.#tenures[partition];
  }

  assign(partition: number, owner: string): Tenure {
    const tenure = { partition, owner };
    this.#tenures[partition] = tenure;
    return tenure;
  }

  isCurrent(tenure: Tenure): boolean {
    return this.#tenures[tenure.partition] === tenure;
  }

  /** Answers whether it was accepted: not from an owner that is not the owner any more. */
  commit(tenure: Tenure, offset: number, note: number): boolean {
    if (!this.isCurrent(tenure)) return false;
    this.#committed[tenure.partition] = offset;
    this.#notes[tenure.partition] = note;
    return true;
  }

  #log(partition: number): Entry[] {
    return this.#logs[partition] as Entry[];
  }
}
