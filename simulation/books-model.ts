import { formatLedgerKey, formatReceiptsKey, RECEIPTS_CHUNK } from '@spanbuf/keys';
import { SOURCE } from './scenario.ts';
import type { Command, Result } from './servers.ts';
import { Violation } from './violation.ts';

/** The books of one partition as they must be. */
export interface ModelBooks {
  readonly base: number;
  readonly taken: number;
  /** Offsets that have a receipt. */
  readonly ended: ReadonlySet<number>;
}

interface Books extends ModelBooks {
  base: number;
  taken: number;
  again: number;
  readonly ended: Set<number>;
  readonly counts: Map<string, number>;
}

/** What Redis has of the books of one partition. */
interface FoundBooks {
  readonly fields: Readonly<Record<string, Buffer>>;
  readonly bitmap: Buffer;
}

/** A call of one of the scripts that write in books. */
interface Entry {
  readonly script: 'open-books' | 'take-offsets' | 'settle-offsets';
  readonly partition: number;
  readonly args: readonly unknown[];
}

const SCRIPTS: ReadonlySet<string> = new Set(['open-books', 'take-offsets', 'settle-offsets']);

/** Offsets as numbers of one chunk: no simulated log is longer. */
const MOST_OFFSETS = RECEIPTS_CHUNK;

/**
 * The books by the letter: sets and counters that are moved by the same calls as those in Redis. What Redis has must be the same
 * after each of them.
 */
export class BooksModel {
  readonly #scriptOf: (command: Command) => string | undefined;
  readonly #books = new Map<number, Books>();

  constructor(scriptOf: (command: Command) => string | undefined) {
    this.#scriptOf = scriptOf;
  }

  of(partition: number): ModelBooks | undefined {
    return this.#books.get(partition);
  }

  /** Their node has lost its data. */
  lost(partition: number): void {
    this.#books.delete(partition);
  }

  /** What is to be read after commands, in the same pipeline: two commands for each partition whose books they write in. */
  reads(commands: readonly Command[]): Command[] {
    return this.#partitionsOf(commands).flatMap((partition) => [
      { name: 'hgetall', args: [formatLedgerKey({ shard: partition })] },
      {
        name: 'getrange',
        args: [formatReceiptsKey({ shard: partition, source: SOURCE, chunk: 0n }), 0, -1],
      },
    ]);
  }

  /**
   * @param results - Of the commands.
   * @param found - Of what {@link reads} asked for.
   * @throws {@link Violation} where Redis has something else.
   */
  executed(commands: readonly Command[], results: readonly Result[], found: readonly Result[]): void {
    for (const [i, command] of commands.entries()) {
      const entry = this.#entryOf(command);
      const [error, reply] = results[i] ?? [new Error('not sent'), undefined];
      if (entry === undefined || error !== null) continue;
      const expected = this.#apply(entry);
      if (reply !== expected)
        throw new Violation(
          'the books say what they do',
          `${entry.script} in ${entry.partition} answered ${reply}, not ${expected}`,
        );
    }
    for (const [i, partition] of this.#partitionsOf(commands).entries()) {
      const [fields, bitmap] = [found[2 * i]?.[1], found[2 * i + 1]?.[1]];
      this.#compare(partition, { fields: fields as FoundBooks['fields'], bitmap: bitmap as Buffer });
    }
  }

  #partitionsOf(commands: readonly Command[]): number[] {
    return [...new Set(commands.flatMap((command) => this.#entryOf(command)?.partition ?? []))];
  }

  #entryOf(command: Command): Entry | undefined {
    const script = this.#scriptOf(command);
    if (script === undefined || !SCRIPTS.has(script)) return undefined;
    const partition = Number(/\{(\d+)\}$/.exec(String(command.args[2]))?.[1]);
    return { script: script as Entry['script'], partition, args: command.args };
  }

  /** Answers what the script must. */
  #apply({ script, partition, args }: Entry): number {
    const books = this.#books.get(partition);
    if (script === 'open-books') {
      const offset = Number(args[6]);
      if (books === undefined) {
        this.#books.set(partition, { base: offset, taken: offset, again: 0, ended: new Set(), counts: new Map() });
        return 1;
      }
      books.base = Math.min(books.base, offset);
      return 0;
    }
    if (books === undefined) return -1;
    if (script === 'take-offsets') {
      books.taken = Math.max(books.taken, Number(args[5]));
      return 1;
    }
    return settle(books, String(args[7]), args[8] as Buffer);
  }

  #compare(partition: number, { fields, bitmap }: FoundBooks): void {
    const books = this.#books.get(partition);
    const number = (name: string): number => Number(fields[name] ?? 0);
    const counts = Object.entries(fields).flatMap(([name, value]) =>
      name.startsWith(`n ${SOURCE} `) ? [`${name.slice(`n ${SOURCE} `.length)} ${value}`] : [],
    );
    const found =
      Object.keys(fields).length === 0
        ? 'none'
        : describe(number(`base ${SOURCE}`), number(`taken ${SOURCE}`), number(`again ${SOURCE}`), counts, (offset) =>
            hasBit(bitmap, offset),
          );
    const expected =
      books === undefined
        ? 'none'
        : describe(
            books.base,
            books.taken,
            books.again,
            [...books.counts].map(([fate, count]) => `${fate} ${count}`),
            (offset) => books.ended.has(offset),
          );
    if (found !== expected)
      throw new Violation('the books balance at any moment', `partition ${partition}: ${found}, not ${expected}`);
  }
}

/** Answers how many receipts are new. */
function settle(books: Books, fate: string, ranges: Buffer): number {
  let [asked, fresh] = [0, 0];
  for (let at = 0; at < ranges.length; at += 4) {
    for (let offset = ranges.readUInt16LE(at); offset <= ranges.readUInt16LE(at + 2); offset++) {
      if (offset < books.base) continue;
      asked++;
      books.taken = Math.max(books.taken, offset + 1);
      if (books.ended.has(offset)) continue;
      books.ended.add(offset);
      fresh++;
    }
  }
  if (fresh > 0) books.counts.set(fate, (books.counts.get(fate) ?? 0) + fresh);
  if (fate !== 'restored') books.again += asked - fresh;
  return fresh;
}

function describe(
  base: number,
  taken: number,
  again: number,
  counts: readonly string[],
  hasEnded: (offset: number) => boolean,
): string {
  const ended: number[] = [];
  for (let offset = base; offset < Math.min(MOST_OFFSETS, taken + 64); offset++)
    if (hasEnded(offset)) ended.push(offset);
  return `${base} to ${taken} = ${counts.toSorted().join(' + ')}, again ${again}, with receipts ${ended.join(' ')}`;
}

function hasBit(bitmap: Buffer, offset: number): boolean {
  return ((bitmap[offset >> 3] ?? 0) & (0x80 >> (offset & 7))) !== 0;
}
