import { type Member, parseMember } from './members.ts';
import type { RedisCommand, RedisRunner } from './redis-runner.ts';
import {
  type EntryRef,
  handleAt,
  PAGE_ENTRIES,
  readEntriesCommand,
  type SealedRef,
  sweepCommand,
} from './trace-scripts.ts';

interface MemberList extends EntryRef {
  readonly entries: number;
}

/** What a sealed generation consists of. Immutable, so that it may be read as often as needed. */
export interface Contents {
  readonly members: readonly Member[];
  /** Its own list first, then those linked to it. */
  readonly lists: readonly MemberList[];
}

/** A sealed generation, with the entries of its list that are known already: the first ones, or none. */
export interface KnownGeneration {
  readonly sealed: SealedRef;
  readonly firstPage: readonly string[];
}

/** Of the handle that a link begins with. */
const HANDLE_END = 10;

/** Pages that are read at once. */
const PAGES_AT_ONCE = 32;

/** Reads the lists of sealed generations page by page, through links. */
export async function readContents(runner: RedisRunner, generations: readonly KnownGeneration[]): Promise<Contents[]> {
  const contents = generations.map(({ sealed }) => ({
    sealed,
    members: [] as Member[],
    lists: [sealed as MemberList],
  }));
  const pages: { content: (typeof contents)[0]; list: MemberList; from: number }[] = [];
  const take = (content: (typeof contents)[0], entries: readonly string[]): void => {
    for (const entry of entries) {
      if (!entry.startsWith('>')) {
        content.members.push(parseMember(content.sealed.trace, entry));
        continue;
      }
      const list = parseLink(entry);
      content.lists.push(list);
      for (const from of pageStarts(list, 0)) pages.push({ content, list, from });
    }
  };
  for (const [i, content] of contents.entries()) {
    const firstPage = generations[i]?.firstPage ?? [];
    take(content, firstPage);
    for (const from of pageStarts(content.sealed, firstPage.length))
      pages.push({ content, list: content.sealed, from });
  }
  while (pages.length > 0) {
    const some = pages.splice(0, PAGES_AT_ONCE);
    const replies = await runner.run(
      some.map(({ content, list, from }) => readEntriesCommand(content.sealed.trace, list, from, endOf(list, from))),
    );
    for (const [i, { content }] of some.entries()) {
      const entries = replies[i] as (Buffer | null)[];
      take(
        content,
        entries.filter((entry) => entry !== null).map((entry) => entry.toString('latin1')),
      );
    }
  }
  return contents;
}

/** Deletes what complete left: entries beyond the first page of its own list, and those of linked lists. */
export function sweepsOf(sealed: SealedRef, { lists }: Contents): RedisCommand[] {
  return lists.flatMap((list, i) =>
    pageStarts(list, i === 0 ? PAGE_ENTRIES : 0).map((from) => sweepCommand(sealed, list, from, endOf(list, from))),
  );
}

/** A link as it stands in a list: see trace.lua; one character stands for a byte. */
export function parseLink(entry: string): MemberList {
  const bytes = Buffer.from(entry, 'latin1');
  const [list, entries] = entry.slice(HANDLE_END + 1).split('.') as [string, string];
  return { handle: handleAt(bytes, 1), list: Number(list), entries: Number(entries) };
}

function pageStarts({ entries }: MemberList, from: number): number[] {
  const starts: number[] = [];
  for (let start = from; start < entries; start += PAGE_ENTRIES) starts.push(start);
  return starts;
}

function endOf({ entries }: MemberList, from: number): number {
  return Math.min(entries, from + PAGE_ENTRIES);
}
