import { formatTraceKey, type TraceRef } from '@spanbuf/keys';
import { groupBy, pagesOf } from './grouping.ts';
import { type Member, parseMember } from './members.ts';
import type { RedisCommand, RedisReply, RedisRunner } from './redis-runner.ts';
import {
  type Completed,
  completeCommand,
  type EntryRef,
  handleAt,
  MAX_GENERATIONS_PER_CALL,
  PAGE_ENTRIES,
  parseSealReply,
  readEntriesCommand,
  type SealedRef,
  type SealReply,
  type SealTarget,
  type SealTerms,
  sealCommand,
  sweepCommand,
} from './trace-scripts.ts';

interface MemberList extends EntryRef {
  readonly entries: number;
}

/** What stands in a list: a payload, or another list. */
type ListEntry = Member | MemberList;

/** What a sealed generation consists of. Immutable, so that it may be read as often as needed. */
export interface Contents {
  readonly members: readonly Member[];
  /** Its own list first, then those linked to it. */
  readonly lists: readonly MemberList[];
}

/** A sealed generation, with the entries of its list that are known already: the first ones, or none. */
export interface KnownGeneration {
  readonly sealed: SealedRef;
  readonly firstPage: readonly ListEntry[];
}

/** Of the handle that a link begins with. */
const HANDLE_END = 10;

/** Pages that are read at once. */
const PAGES_AT_ONCE = 32;

/** Seals what queue entries stand for, with one call for those of a trace. Answers what came of each. */
export async function sealEntries(
  runner: RedisRunner,
  targets: readonly (SealTarget & { readonly trace: TraceRef })[],
  terms: SealTerms,
): Promise<SealReply[]> {
  const calls = [
    ...groupBy([...targets.keys()], (i) => formatTraceKey((targets[i] as (typeof targets)[0]).trace)),
  ].flatMap(([traceKey, indexes]) => pagesOf(indexes, MAX_GENERATIONS_PER_CALL).map((page) => ({ traceKey, page })));
  const replies = await runner.run(
    calls.map(({ traceKey, page }) =>
      sealCommand(
        traceKey,
        page.map((i) => targets[i] as SealTarget),
        terms,
      ),
    ),
  );
  const results: SealReply[] = Array(targets.length);
  for (const [k, { page }] of calls.entries()) {
    const parsed = parseSealReply(replies[k] as RedisReply, page.length);
    for (const [n, i] of page.entries()) results[i] = parsed[n] as SealReply;
  }
  return results;
}

/**
 * Forgets sealed generations, with one call for those of a trace. Answers what is left of the trace of each; `LARGE` for one of a
 * call, as such a trace is to be forgotten once.
 */
export async function completeSealed(
  runner: RedisRunner,
  generations: readonly SealedRef[],
  dedupeWindowSeconds: number,
): Promise<Completed[]> {
  const calls: { traceKey: string; page: number[]; entries: number }[] = [];
  const open = new Map<string, (typeof calls)[0]>();
  for (const [i, { trace, incarnation, entries }] of generations.entries()) {
    const traceKey = formatTraceKey(trace);
    const name = `${traceKey} ${incarnation}`;
    let call = open.get(name);
    if (call === undefined || call.page.length === MAX_GENERATIONS_PER_CALL || call.entries + entries > PAGE_ENTRIES) {
      call = { traceKey, page: [], entries: 0 };
      calls.push(call);
      open.set(name, call);
    }
    call.page.push(i);
    call.entries += entries;
  }
  const replies = await runner.run(
    calls.map(({ traceKey, page }) =>
      completeCommand(
        traceKey,
        page.map((i) => generations[i] as SealedRef),
        dedupeWindowSeconds,
      ),
    ),
  );
  const results: Completed[] = Array(generations.length);
  for (const [k, { page }] of calls.entries()) {
    const left = String(replies[k]) as Completed;
    for (const [n, i] of page.entries()) results[i] = left === 'LARGE' && n > 0 ? 'KNOWN' : left;
  }
  return results;
}

/** Reads the lists of sealed generations page by page, through links. */
export async function readContents(runner: RedisRunner, generations: readonly KnownGeneration[]): Promise<Contents[]> {
  const contents = generations.map(({ sealed }) => ({
    sealed,
    members: [] as Member[],
    lists: [sealed as MemberList],
  }));
  const pages: { content: (typeof contents)[0]; list: MemberList; from: number }[] = [];
  const take = (content: (typeof contents)[0], entries: readonly ListEntry[]): void => {
    for (const entry of entries) {
      if ('ref' in entry) {
        content.members.push(entry);
        continue;
      }
      content.lists.push(entry);
      for (const from of pageStarts(entry, 0)) pages.push({ content, list: entry, from });
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
        entries
          .filter((entry) => entry !== null)
          .map((entry) => parseListEntry(content.sealed.trace, entry.toString('latin1'))),
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

export function parseListEntry(trace: TraceRef, entry: string): ListEntry {
  return entry.startsWith('>') ? parseLink(entry) : parseMember(trace, entry);
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
