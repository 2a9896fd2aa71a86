import { effectiveParent, type FlushedSegment, type Span } from '@spanbuf/buffer';
import { formatTraceKey, RECEIPTS_CHUNK } from '@spanbuf/keys';
import { BooksModel, type ModelBooks } from './books-model.ts';
import type { ModelKafka } from './model-kafka.ts';
import type { Trip } from './process.ts';
import type { Scenario } from './scenario.ts';
import type { Command, Result } from './servers.ts';
import { Violation } from './violation.ts';

/** Where the arguments of `link` say of which epoch it is, where its terms are, and what it says of subsegments; how much of each. */
const [LINK_EPOCH, LINK_TERMS, LINK_SUBSEGMENTS, LINK_STRIDE] = [7, 8, 9, 3];
/** In its terms. */
const SUBSEGMENTS_AT = 40;
/** Where the arguments of `seal` and of `complete` name lists, a handle and a number every so many; where those of `complete` have the incarnation. */
const [SEALED, COMPLETED, LIST_STRIDE, INCARNATION] = [7, 7, 3, 3];
/** What `seal` answers of a segment that is not sealed begins with its handle. */
const HANDLE_BYTES = 9;

/** What is known of one span of the input. Times are of the servers' clock, milliseconds. */
interface SpanFacts {
  readonly span: Span;
  readonly traceKey: string;
  /** Since when the store has held it, unless it does not. */
  heldSinceMs: number | undefined;
  lastLinkMs: number;
  /** When done first took effect on a generation that holds it. */
  completedMs: number | undefined;
  wasParked: boolean;
  /** Held by a life of its trace that began, or took it, when it had been done. */
  isHeldAgain: boolean;
  readonly flushIds: Set<string>;
  /** Who has produced it. */
  readonly producers: Set<string>;
  /** Sent before a loss, and not produced by then: where nothing is read again, it may be gone. */
  mayBeLost: boolean;
}

/** One life of a trace: which spans it knows. */
interface Incarnation {
  readonly edges: Map<string, { readonly parent: string; readonly step: number }>;
  readonly positions: Set<string>;
  /** By partition, the highest offset taken. */
  readonly taken: Map<number, number>;
}

interface Generation {
  readonly id: string;
  readonly facts: string;
  readonly positions: readonly string[];
  holder: { readonly process: string; readonly untilMs: number } | undefined;
  isCompleted: boolean;
}

/** What a store has handed out says which generation it is: see RedisClaim. */
interface Claim {
  readonly sealed: { readonly handle: string; readonly list: number; readonly incarnation: string };
}

/** Sees every round trip and everything that is produced, and says when a promise is broken. */
export class Witness {
  readonly #scenario: Scenario;
  readonly #kafka: ModelKafka;
  readonly #scripts: ReadonlyMap<string, string>;
  readonly #spans = new Map<string, SpanFacts>();
  readonly #incarnationOf = new Map<string, string>();
  readonly #incarnations = new Map<string, Incarnation>();
  readonly #lastCompleteMs = new Map<string, number>();
  readonly #sealedAt = new Map<string, number>();
  readonly #generations = new Map<string, Generation>();
  readonly #names = new Map<string, string>();
  readonly #messages = new Map<string, string>();
  /** Traces of which Redis may have lost something, or that are of an epoch that is over: they may begin anew at any time. */
  readonly #disturbed = new Set<string>();
  /** By partition whose books went with a node: how far it was committed then. */
  readonly #booksLostAt = new Map<number, number>();
  /** `partition/offset` of receipts that went with a node: a consumer may have read them before, and commit after. */
  readonly #receiptsLost = new Set<string>();
  readonly books: BooksModel;
  /** Processes that died: what they alone knew is lost. */
  readonly #dead = new Set<string>();
  #epoch = 0;
  #hasLostData = false;
  /** By the clock of the servers, which never goes back. */
  nowMs = 0;
  /** Counts what may let offsets be committed, or be lost. */
  changes = 0;

  /** @param scripts - names of scripts by SHA-1. */
  constructor(scenario: Scenario, kafka: ModelKafka, scripts: ReadonlyMap<string, string>) {
    this.#scenario = scenario;
    this.#kafka = kafka;
    this.#scripts = scripts;
    this.books = new BooksModel((command) => this.#scriptOf(command));
    for (const span of scenario.spans) {
      this.#spans.set(`${span.partition}/${span.offset}`, {
        span,
        traceKey: formatTraceKey(span),
        heldSinceMs: undefined,
        lastLinkMs: 0,
        completedMs: undefined,
        wasParked: false,
        isHeldAgain: false,
        flushIds: new Set(),
        producers: new Set(),
        mayBeLost: false,
      });
    }
  }

  /** Keys of the traces that a group of commands links to. Their incarnations are to be read right after it. */
  linkedTraces({ commands }: Trip): string[] {
    return commands.flatMap((command) => (this.#scriptOf(command) === 'link' ? [String(command.args[2])] : []));
  }

  /**
   * What a group of commands has done.
   * @param incarnations - of the traces it links to, after it.
   * @param books - what {@link books} wanted to read, after it.
   */
  executed(
    trip: Trip,
    results: readonly Result[],
    { incarnations, books }: { readonly incarnations: readonly string[]; readonly books: readonly Result[] },
    step: number,
  ): void {
    let linked = 0;
    for (const [i, command] of trip.commands.entries()) {
      const script = this.#scriptOf(command);
      const [error, reply] = results[i] ?? [new Error('not sent'), undefined];
      const incarnation = script === 'link' ? (incarnations[linked++] as string) : '';
      if (error !== null || script === undefined) continue;
      const traceKey = String(command.args[2]);
      // See their headers: a link that was applied answers one string.
      if (script === 'link' && Buffer.isBuffer(reply)) {
        if (Number(command.args[LINK_EPOCH]) < this.#epoch) this.#disturbed.add(traceKey);
        this.#linked(trip, traceKey, command.args, incarnation, step);
      } else if (script === 'seal' && Array.isArray(reply)) {
        for (const name of sealedIn(command.args, reply)) {
          const id = `${traceKey} ${name} ${reply[0]}`;
          if (!this.#sealedAt.has(id)) this.#sealedAt.set(id, step);
        }
      } else if (script === 'complete') {
        for (const name of listsIn(command.args, COMPLETED))
          this.#completed(traceKey, `${traceKey} ${name} ${command.args[INCARNATION]}`);
      } else if (script === 'settle-offsets') {
        this.#settled(command.args);
      } else if (script === 'begin-epoch' && (reply as number[])[1] === 1) {
        this.#epoch = (reply as number[])[0] as number;
        this.#disturbAll();
      }
    }
    this.books.executed(trip.commands, results, books);
    this.#balance();
  }

  /** Some nodes have lost their data. */
  emptied({
    isEverythingLost,
    areBooksLost,
  }: {
    readonly isEverythingLost: boolean;
    /** Whether those of a partition were among it. */
    readonly areBooksLost: (partition: number) => boolean;
  }): void {
    this.#hasLostData = true;
    for (const partition of this.#kafka.partitions.filter(areBooksLost)) {
      for (const offset of this.books.of(partition)?.ended ?? []) this.#receiptsLost.add(`${partition}/${offset}`);
      this.books.lost(partition);
      this.#booksLostAt.set(partition, this.#kafka.committed(partition));
    }
    if (this.#scenario.mode === 'buffered') {
      for (const facts of this.#spans.values()) {
        const { partition, offset } = facts.span;
        if (Number(offset) >= this.#kafka.endOf(partition)) continue;
        facts.mayBeLost ||= facts.flushIds.size === 0;
        // Also of traces that are being stored for the first time.
        this.#disturbed.add(facts.traceKey);
        if (isEverythingLost) facts.heldSinceMs = undefined;
      }
    }
    this.#disturbAll();
  }

  died(process: string): void {
    this.#dead.add(process);
  }

  /** Everything that was read, and will not be read again, is held, or has come out; and what the books call open is no less. */
  #balance(): void {
    for (const [position, { span, heldSinceMs, flushIds, mayBeLost }] of this.#spans) {
      const committed = this.#kafka.committed(span.partition);
      if (Number(span.offset) < committed && heldSinceMs === undefined && flushIds.size === 0 && !mayBeLost)
        throw new Violation('in = out + held at any moment', `${position}, of up to ${committed}, is nowhere`);
    }
    for (const partition of this.#kafka.partitions) {
      const books = this.books.of(partition);
      if (books === undefined) continue;
      const committed = this.#kafka.committed(partition);
      for (let offset = books.base; offset < Math.min(books.taken, committed); offset++) {
        if (books.ended.has(offset)) continue;
        const facts = this.#spans.get(`${partition}/${offset}`);
        if (!this.#mayBeOpen(partition, offset, facts))
          throw new Violation('what is open is held', `${partition}/${offset}, of up to ${committed}, has no receipt`);
      }
    }
  }

  /** Below the committed offset. */
  #mayBeOpen(partition: number, offset: number, facts: SpanFacts | undefined): boolean {
    // Books that were lost may have forgotten what was committed by then.
    if (offset < (this.#booksLostAt.get(partition) ?? 0) || this.#receiptsLost.has(`${partition}/${offset}`))
      return true;
    if (this.#scenario.mode === 'flushed') return false;
    // What was produced while there were no books is known to its flusher, and given back.
    return facts?.heldSinceMs !== undefined || (facts !== undefined && this.#hasLostData);
  }

  /**
   * In the end, what is open or not against the truth: where nothing is read again after a loss, just those are open that were lost.
   * And those, produced, or absent, that a process had known alone that died.
   */
  wronglySettled(partition: number, { base, taken, ended }: ModelBooks): number[] {
    const wrong: number[] = [];
    for (let offset = base; offset < taken; offset++) {
      const facts = this.#spans.get(`${partition}/${offset}`);
      const isLost = facts !== undefined && facts.flushIds.size === 0;
      const isForgotten = this.#hasLostData && this.#isKnownToTheDeadAlone(facts);
      if (ended.has(offset) ? isLost : !isLost && !isForgotten) wrong.push(offset);
    }
    return wrong;
  }

  #isKnownToTheDeadAlone(facts: SpanFacts | undefined): boolean {
    if (facts === undefined) return [...this.#dead].some((name) => name.startsWith('C'));
    return [...facts.producers].every((name) => this.#dead.has(name));
  }

  #disturbAll(): void {
    this.changes++;
    for (const traceKey of this.#incarnationOf.keys()) this.#disturbed.add(traceKey);
  }

  /** Nothing has a receipt before its end is certain. */
  #settled(args: readonly unknown[]): void {
    this.changes++;
    const partition = /\{(\d+)\}$/.exec(String(args[2]))?.[1];
    const [chunk, fate, ranges] = [Number(args[6]), String(args[7]), args[8] as Buffer];
    for (let at = 0; at < ranges.length; at += 4) {
      for (let bit = ranges.readUInt16LE(at); bit <= ranges.readUInt16LE(at + 2); bit++) {
        const position = `${partition}/${chunk * RECEIPTS_CHUNK + bit}`;
        const facts = this.#spans.get(position);
        const isRight = facts === undefined ? fate === 'absent' || fate === 'restored' : facts.flushIds.size > 0;
        if (!isRight || (facts !== undefined && fate === 'absent'))
          throw new Violation('a receipt is for what has come to its end', `${position}: ${fate}`);
      }
    }
  }

  /** A partition is committed up to an offset. */
  committed(partition: number, end: number): void {
    this.#balance();
    if (this.#scenario.mode === 'buffered') return;
    for (const [position, { span, flushIds }] of this.#spans)
      if (span.partition === partition && Number(span.offset) < end && flushIds.size === 0)
        throw new Violation('nothing is committed before it is produced', `${position} of up to ${end}`);
  }

  #scriptOf({ name, args }: Command): string | undefined {
    return name === 'evalsha' ? this.#scripts.get(String(args[0])) : undefined;
  }

  #linked(trip: Trip, traceKey: string, args: readonly unknown[], incarnation: string, step: number): void {
    const known = this.#incarnationOf.get(traceKey);
    if (known !== incarnation) {
      if (known !== undefined) this.#forgotten(traceKey, known);
      this.#incarnationOf.set(traceKey, incarnation);
      this.#incarnations.set(`${traceKey} ${incarnation}`, {
        edges: new Map(),
        positions: new Set(),
        taken: new Map(),
      });
    }
    const { edges, positions, taken } = this.#incarnations.get(`${traceKey} ${incarnation}`) as Incarnation;
    const from = LINK_SUBSEGMENTS + LINK_STRIDE * (args[LINK_TERMS] as Buffer).readUInt16LE(SUBSEGMENTS_AT);
    const partitions = new Set(args.slice(from).map((position) => Number(String(position).split('/')[1])));
    for (const partition of partitions) {
      const { offsets, sinceMs } = trip.batches.get(partition) ?? { offsets: [], sinceMs: 0 };
      for (const offset of offsets) {
        const position = `${partition}/${offset}`;
        const facts = this.#spans.get(position) as SpanFacts;
        if (facts.traceKey !== traceKey) continue;
        const { spanId } = facts.span;
        facts.lastLinkMs = this.nowMs;
        // Below what was taken, and unknown: of an earlier incarnation. It counts as a replay.
        if (!positions.has(position) && offset <= (taken.get(partition) ?? -1)) continue;
        if (!positions.has(position)) {
          positions.add(position);
          taken.set(partition, offset);
          const isDone = facts.completedMs !== undefined;
          // Its payload may have been written then. What is done, and comes late, may have none, and nobody learns of it.
          facts.heldSinceMs = isDone && trip.isLate ? undefined : sinceMs;
          facts.isHeldAgain = isDone;
          facts.wasParked = false;
        }
        if (!edges.has(spanId)) edges.set(spanId, { parent: effectiveParent(facts.span), step });
      }
    }
  }

  /** A trace has begun anew: everything of it must have been done, and its window over. */
  #forgotten(traceKey: string, incarnation: string): void {
    if (this.#disturbed.has(traceKey)) return;
    const { positions } = this.#incarnations.get(`${traceKey} ${incarnation}`) as Incarnation;
    const lost = [...positions].filter((position) => this.#spans.get(position)?.completedMs === undefined);
    if (lost.length > 0)
      throw new Violation('a trace that holds spans is kept', `${traceKey} is gone with ${lost.join(' ')}`);
    const endMs = (this.#lastCompleteMs.get(traceKey) ?? 0) + this.#scenario.dedupeWindowSeconds * 1000;
    if (this.nowMs < endMs)
      throw new Violation(
        'a trace is known for its dedupe window',
        `${traceKey} is gone ${endMs - this.nowMs} ms early`,
      );
  }

  #completed(traceKey: string, id: string): void {
    const generation = this.#generations.get(id);
    // Repeated, it changes nothing.
    if (generation === undefined || generation.isCompleted) return;
    generation.isCompleted = true;
    this.changes++;
    this.#lastCompleteMs.set(traceKey, this.nowMs);
    for (const position of generation.positions) {
      const facts = this.#spans.get(position) as SpanFacts;
      facts.completedMs ??= this.nowMs;
      facts.heldSinceMs = undefined;
      facts.isHeldAgain = false;
    }
  }

  /** What a flush has handed to a process. `sinceMs`: when it was asked for. */
  flushed(process: string, segments: readonly FlushedSegment[], sinceMs: number): void {
    for (const segment of segments) {
      const id = generationId(segment);
      const positions = segment.messages().flatMap(({ value }) => positionsIn(value));
      const { segmentId, generation: number, reason, spanCount } = segment;
      const facts = `${segmentId} ${number} ${reason} ${positions.toSorted().join(' ')}`;
      const traceKey = formatTraceKey(segment.sealed);
      const isDisturbed = this.#disturbed.has(traceKey);
      const twice = repeatedIn(positions);
      if (twice.length > 0)
        throw new Violation('a generation holds a span once', `${id} has ${twice.join(' ')} more than once`);
      // What is stored again so late has no payload any more, and was produced long before.
      const mayLack = this.#hasLostData ? Number.POSITIVE_INFINITY : this.#heldAgain(traceKey).length;
      const { lostSpanCount } = segment;
      if (lostSpanCount < 0 || lostSpanCount > mayLack || spanCount !== positions.length)
        throw new Violation('no payload is lost', `${lostSpanCount} of ${id}`);
      const known = this.#generations.get(id);
      if (known !== undefined && known.facts !== facts && !isDisturbed)
        throw new Violation('a sealed generation stays as it is', `${id} was ${known.facts}, is ${facts}`);
      const generation = known ?? { id, facts, positions, holder: undefined, isCompleted: false };
      this.#generations.set(id, generation);
      if (isDisturbed) continue;
      this.#unique(segment, id);
      this.#rightSegment(segment, id, positions);
      const { holder } = generation;
      const untilMs = sinceMs + this.#scenario.leaseSeconds * 1000;
      // This one was so slow that its lease is over: it will produce the same under the same flush id.
      if (this.nowMs >= untilMs) continue;
      if (holder !== undefined && this.nowMs < holder.untilMs)
        throw new Violation('one flusher has a segment at a time', `${process} has ${id}, which ${holder.process} has`);
      generation.holder = { process, untilMs };
    }
  }

  /** A flusher held something back, and told those who read the input. */
  heldBack(): void {
    this.changes++;
  }

  /** A process is about to give segments back, or to park them. */
  letGo(process: string, segments: readonly FlushedSegment[]): void {
    for (const segment of segments) {
      const generation = this.#generations.get(generationId(segment));
      if (generation?.holder?.process === process) generation.holder = undefined;
    }
  }

  parked(segments: readonly FlushedSegment[]): void {
    for (const segment of segments) {
      const { positions } = this.#generations.get(generationId(segment)) as Generation;
      for (const position of positions) (this.#spans.get(position) as SpanFacts).wasParked = true;
    }
  }

  #unique({ segmentId, generation, sealed }: FlushedSegment, id: string): void {
    const { incarnation } = (sealed.claim as Claim).sealed;
    const name = `${formatTraceKey(sealed)} ${incarnation} ${segmentId} ${generation}`;
    const other = this.#names.get(name);
    if (other !== undefined && other !== id)
      throw new Violation('a generation has a number of its own', `${name} is ${other} and ${id}`);
    this.#names.set(name, id);
  }

  /**
   * Whether a batch that began with replays may have known more than its trace, which was forgotten meanwhile: the chains of
   * what is left of such a batch go on through the replays in it.
   */
  #isKnownFromReplays(traceKey: string, span: Span, segmentId: string): boolean {
    const lives = [...this.#incarnations.keys()].filter((name) => name.startsWith(`${traceKey} `));
    if (lives.length < 2) return false;
    const parents = new Map<string, string>();
    for (const facts of this.#spans.values())
      if (facts.traceKey === traceKey && !parents.has(facts.span.spanId))
        parents.set(facts.span.spanId, effectiveParent(facts.span));
    const seen = new Set<string>();
    for (let at = effectiveParent(span); !seen.has(at); at = parents.get(at) ?? at) seen.add(at);
    return seen.has(segmentId);
  }

  /** Its id is where the chains of effective parents end, as far as the trace knew when it was sealed. */
  #rightSegment({ segmentId, reason, sealed }: FlushedSegment, id: string, positions: readonly string[]): void {
    const traceKey = formatTraceKey(sealed);
    const { edges } = this.#incarnations.get(
      `${traceKey} ${(sealed.claim as Claim).sealed.incarnation}`,
    ) as Incarnation;
    const sealedAt = this.#sealedAt.get(id) as number;
    for (const position of positions) {
      const { span, traceKey: own } = this.#spans.get(position) as SpanFacts;
      if (own !== traceKey)
        throw new Violation('a span is in its own trace', `${position} of ${own} is in ${traceKey}`);
      // One that was sealed in passing was sealed before anybody asked for it: any end that its chain had may be right.
      const ends = new Set<string>();
      let at = effectiveParent(span);
      for (;;) {
        const edge = edges.get(at);
        const goesOn = edge !== undefined && edge.parent !== at && edge.step <= sealedAt;
        if (!goesOn || reason === 'max-bytes') ends.add(at);
        if (!goesOn) break;
        at = edge.parent;
      }
      if (!ends.has(segmentId) && !this.#isKnownFromReplays(traceKey, span, segmentId))
        throw new Violation(
          'a span is in its segment',
          `${position} is in ${segmentId}, not in ${[...ends].join(' or ')}`,
        );
    }
  }

  produced(process: string, flushId: string, value: Buffer): void {
    // What stands beside the spans says how the segment was cut, which may differ when it is assembled anew.
    const text = JSON.stringify((JSON.parse(String(value)) as { spans: unknown }).spans);
    const known = this.#messages.get(flushId);
    if (known !== undefined && known !== text)
      throw new Violation('a flush id says what a message holds', `${flushId} was ${known}, is ${text}`);
    this.#messages.set(flushId, text);
    const positions = positionsIn(value);
    // A set of flush ids would not show it.
    const twice = repeatedIn(positions);
    if (twice.length > 0)
      throw new Violation('a message holds a span once', `${flushId} has ${twice.join(' ')} more than once`);
    for (const position of positions) {
      const facts = this.#spans.get(position) as SpanFacts;
      facts.flushIds.add(flushId);
      facts.producers.add(process);
      if (facts.flushIds.size === 1 || this.#disturbed.has(facts.traceKey)) continue;
      // Taken again when nobody could know it any more.
      const knownUntilMs = (facts.completedMs ?? Number.POSITIVE_INFINITY) + this.#scenario.dedupeWindowSeconds * 1000;
      if (facts.lastLinkMs < knownUntilMs)
        throw new Violation('a replay adds no span', `${position} is in ${[...facts.flushIds].join(' and ')}`);
    }
  }

  /** Since when spans wait that may not expire, by the clock of the servers. */
  get oldestMs(): number {
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const { heldSinceMs, wasParked } of this.#spans.values())
      if (heldSinceMs !== undefined && !wasParked) oldestMs = Math.min(oldestMs, heldSinceMs);
    return oldestMs;
  }

  /** Whether a flush may find anything. */
  get isAnythingHeld(): boolean {
    for (const { heldSinceMs } of this.#spans.values()) if (heldSinceMs !== undefined) return true;
    return false;
  }

  /**
   * Whether a trace may stay after its window: it holds only spans that were done before, stored by a process that was so slow,
   * or by a call that came so late, that the window was over. Nobody may know of them, until they expire. Or it is of an
   * epoch that is over.
   */
  mayStay(traceKey: string): boolean {
    if (this.#disturbed.has(traceKey)) return true;
    return this.#heldAgain(traceKey).length > 0;
  }

  #heldAgain(traceKey: string): SpanFacts[] {
    return [...this.#spans.values()].filter((facts) => facts.traceKey === traceKey && facts.isHeldAgain);
  }

  /**
   * In the end, from which offset on there is a receipt for everything: what had come to its end before the books were lost, nobody
   * needs to know any more once it is committed.
   */
  settledFrom(partition: number): number {
    return this.#booksLostAt.get(partition) ?? 0;
  }

  /** When everything has been read and flushed. */
  complete(): void {
    for (const partition of this.#kafka.partitions) {
      const [committed, end] = [this.#kafka.committed(partition), this.#kafka.endOf(partition)];
      if (committed !== end)
        throw new Violation('everything is read', `partition ${partition}: ${committed} of ${end}`);
    }
    const missing = [...this.#spans]
      .filter(([, { flushIds, mayBeLost }]) => flushIds.size === 0 && !mayBeLost)
      .map(([position]) => position);
    if (missing.length > 0) throw new Violation('nothing is lost', `never produced: ${missing.join(' ')}`);
  }
}

/** The lists that the arguments of a script name from `from` on. */
function listsIn(args: readonly unknown[], from: number): string[] {
  const names: string[] = [];
  for (let at = from; at < args.length; at += LIST_STRIDE)
    names.push(`${(args[at] as Buffer).toString('hex', 1)}.${args[at + 1]}`);
  return names;
}

/** Those of them that a reply of `seal` says to be sealed. */
function sealedIn(args: readonly unknown[], reply: readonly unknown[]): string[] {
  let at = 2;
  return listsIn(args, SEALED).filter(() => {
    const { length } = reply[at++] as Buffer;
    if (length > HANDLE_BYTES) at += 1 + (reply[at] as number);
    else if (length === HANDLE_BYTES) at++;
    return length > HANDLE_BYTES;
  });
}

function generationId({ sealed }: FlushedSegment): string {
  const { handle, list, incarnation } = (sealed.claim as Claim).sealed;
  return `${formatTraceKey(sealed)} ${handle}.${list} ${incarnation}`;
}

/** What is among them again. */
function repeatedIn(positions: readonly string[]): string[] {
  return positions.filter((position, i) => positions.indexOf(position) < i);
}

function positionsIn(value: Buffer): string[] {
  return (JSON.parse(String(value)) as { spans: { at: string }[] }).spans.map(({ at }) => at);
}
