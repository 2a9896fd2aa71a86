import type { SpanBuffer } from '@spanbuf/buffer';
import { ReceiptsKeeper } from '@spanbuf/store';
import type { Tenure } from './model-kafka.ts';
import type { SimulatedProcess } from './process.ts';
import { SOURCE } from './scenario.ts';
import { type Connections, isPassing, type Stage } from './stage.ts';

const MOST_OFFSETS = 12;
/** As in the consumer. */
const QUIET_LOOKS = 5;

/** With what a partition is begun to be read. */
interface Beginning {
  readonly epoch: number;
  readonly position: number;
  /** What lies below it was read before. */
  readonly replayUntil: bigint;
}

/** What a consumer does with each of its partitions: read, store, commit what is stored or, if asked, produced. */
export class Consumer {
  readonly #stage: Stage;
  readonly #process: SimulatedProcess;
  readonly #connections: Connections;
  /** 0 where nobody counts them, or none is known. */
  #epoch = 0;
  #current: { readonly epoch: number; readonly buffer: SpanBuffer } | undefined;
  /** Absent where nobody keeps books. */
  readonly #receipts: ReceiptsKeeper | undefined;

  constructor(stage: Stage, process: SimulatedProcess, connections: Connections) {
    this.#stage = stage;
    this.#process = process;
    this.#connections = connections;
    const { ledger } = connections;
    this.#receipts = ledger && new ReceiptsKeeper(ledger, { quietLooks: QUIET_LOOKS });
  }

  /** Ends when the partition is somebody else's. */
  async work(tenure: Tenure): Promise<void> {
    for (;;) {
      await this.#stage.turn(this.#process, 'begin');
      if (this.#isOver(tenure)) {
        // As a consumer does that is told to stop.
        if (this.#stage.isStopping) await this.#passing('look after receipts', async () => this.#receipts?.look());
        return;
      }
      const beginning = await this.#passing('begin', () => this.#begin(tenure));
      if (beginning !== undefined) await this.#read(tenure, beginning);
    }
  }

  #isOver(tenure: Tenure): boolean {
    return this.#stage.isStopping || !this.#stage.kafka.isCurrent(tenure);
  }

  async #begin({ partition }: Tenure): Promise<Beginning> {
    const { kafka } = this.#stage;
    const { ledger } = this.#connections;
    await this.#watchLosses(Math.max(this.#epoch, kafka.noteOf(partition)));
    const epoch = this.#epoch;
    const position = kafka.committed(partition);
    if (ledger === undefined) return { epoch, position, replayUntil: 0n };
    await this.#openBooks(partition, position);
    const [books] = await ledger.read([partition]);
    return { epoch, position, replayUntil: books?.takenOffset ?? BigInt(position) };
  }

  async #openBooks(partition: number, position: number): Promise<void> {
    const { ledger } = this.#connections;
    const entries = [{ partition, source: SOURCE, offset: BigInt(position) }];
    await this.#receipts?.look([partition]);
    await ledger?.open(entries);
    await ledger?.take(entries);
    await this.#receipts?.look([partition]);
  }

  async #watchLosses(known: number): Promise<void> {
    const { losses } = this.#connections;
    if (losses === undefined) return;
    const { epoch, sign } = await losses.check(known);
    if (epoch !== known)
      this.#stage.note(this.#process.name, `works in epoch ${epoch}${sign === undefined ? '' : `: ${sign}`}`);
    this.#epoch = Math.max(this.#epoch, epoch);
  }

  /** Until the partition, or the epoch, is over. */
  async #read(tenure: Tenure, { epoch, position: start, replayUntil }: Beginning): Promise<void> {
    const stage = this.#stage;
    const { kafka } = stage;
    const { chance } = this.#process;
    const { partition } = tenure;
    const buffer = this.#bufferOf(epoch);
    let position = start;
    let seen: number | undefined;
    for (;;) {
      const isOver = (): boolean => this.#isOver(tenure) || this.#epoch !== epoch;
      // What was produced meanwhile may be committed.
      const mayCommit = (): boolean =>
        stage.isCommitOnFlush && kafka.committed(partition) < position && seen !== stage.witness.changes;
      await stage.turn(this.#process, 'read', () => isOver() || kafka.endOf(partition) > position || mayCommit());
      if (isOver()) return;
      if (stage.isHealed || chance.is(0.2)) await this.#passing('look for losses', () => this.#watchLosses(epoch));
      if (isOver()) return;
      const to = Math.min(kafka.endOf(partition), position + chance.int(1, MOST_OFFSETS));
      const isStored = await this.#passing(`store ${partition}/${position} to ${to - 1}`, async () => {
        await this.#store(buffer, partition, position, to, replayUntil);
        return true;
      });
      if (!isStored) continue;
      position = to;
      stage.note(this.#process.name, `has stored up to ${partition}/${position - 1}`);
      if (!stage.isHealed && chance.is(0.4)) continue;
      await stage.turn(this.#process, 'commit');
      seen = stage.witness.changes;
      if (!isOver()) await this.#passing('commit', () => this.#commit(tenure, epoch, position));
    }
  }

  async #store(buffer: SpanBuffer, partition: number, from: number, to: number, replayUntil: bigint): Promise<void> {
    if (from === to) return;
    const { kafka, witness } = this.#stage;
    const { ledger } = this.#connections;
    const { batches } = this.#process;
    const sinceMs = witness.nowMs;
    const read = kafka.read(partition, from, to - from);
    // From now on nobody else in this process stores anything of the partition.
    batches.set(partition, { offsets: [], sinceMs });
    try {
      const replays = read.flatMap(({ offset }) => (BigInt(offset) < replayUntil ? [BigInt(offset)] : []));
      const settled =
        ledger === undefined || replays.length === 0
          ? new Set<bigint>()
          : await ledger.settledAmong(partition, SOURCE, replays);
      const entries = read.filter(({ offset }) => !settled.has(BigInt(offset)));
      if (entries.length === 0) return;
      const spans = entries.flatMap(({ span }) => (span === undefined ? [] : [span]));
      batches.set(partition, { offsets: spans.map(({ offset }) => Number(offset)), sinceMs });
      this.#stage.note(this.#process.name, `stores ${spans.length} of ${partition}/${from} to ${to - 1}`);
      if (spans.length > 0) await buffer.process(spans, { now: Math.min(...entries.map(({ seconds }) => seconds)) });
      const absent = entries.filter(({ span }) => span === undefined).map(({ offset }) => BigInt(offset));
      const receipts = absent.map((offset) => {
        return { partition, source: SOURCE, fromOffset: offset, toOffset: offset + 1n, fate: 'absent' as const };
      });
      if (ledger === undefined || receipts.length === 0) return;
      await ledger.settle(receipts);
      this.#receipts?.given(receipts);
    } finally {
      batches.delete(partition);
    }
  }

  async #commit(tenure: Tenure, epoch: number, position: number): Promise<void> {
    const { kafka } = this.#stage;
    const { partition } = tenure;
    const committed = kafka.committed(partition);
    const end = await this.#committable(partition, position, committed);
    if (end <= committed) return;
    const accepted = kafka.commit(tenure, end, epoch);
    this.#stage.note(this.#process.name, `commits ${partition}/${end}${accepted ? '' : ', refused'}`);
    if (accepted) this.#stage.witness.committed(partition, end);
  }

  /** How far may be committed. Enters into the books how far is read. */
  async #committable(partition: number, position: number, committed: number): Promise<number> {
    const { ledger } = this.#connections;
    if (ledger === undefined) return position;
    const lost = await ledger.take([{ partition, source: SOURCE, offset: BigInt(position) }]);
    if (!this.#stage.isCommitOnFlush) {
      if (lost.length > 0) await this.#openBooks(partition, position);
      await this.#receipts?.look([partition]);
      return position;
    }
    const [books] = await ledger.read([partition], new Map([[partition, BigInt(committed)]]));
    await this.#receipts?.look([partition]);
    if (lost.length > 0 || books === undefined) return committed;
    return Math.min(position, Number(books.firstOpenOffset));
  }

  /** One for all partitions of an epoch. */
  #bufferOf(epoch: number): SpanBuffer {
    if (this.#current?.epoch !== epoch) {
      const { openStore, openBuffer } = this.#connections;
      this.#current = { epoch, buffer: openBuffer(openStore(epoch === 0 ? undefined : epoch)) };
    }
    return this.#current.buffer;
  }

  async #passing<T>(what: string, task: () => Promise<T>): Promise<T | undefined> {
    try {
      return await task();
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#stage.note(this.#process.name, `could not ${what}: ${(error as Error).message}`);
      return undefined;
    }
  }
}
