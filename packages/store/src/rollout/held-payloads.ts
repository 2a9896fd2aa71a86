import { formatTraceKey, MalformedKeyError, type TraceRef } from '@spanbuf/keys';
import type { Mark } from '../layout.ts';
import { pagesOf } from '../redis/grouping.ts';
import { parseMember } from '../redis/members.ts';
import { NEVER_SECONDS } from '../redis/parking.ts';
import { parseEntry } from '../redis/queue-scripts.ts';
import type { RedisRunner } from '../redis/redis-runner.ts';
import { parseLink, sealEntries } from '../redis/sealed-lists.ts';
import { type EntryRef, PAGE_ENTRIES, readEntriesCommand, type SealReply } from '../redis/trace-scripts.ts';

/** What one queue entry stands for, as far as it was looked at. */
export interface HeldSegment {
  readonly entry: string;
  /** Of its payloads. */
  readonly marks: ReadonlySet<Mark>;
  /** Whether all of its payloads were looked at. */
  readonly isWhole: boolean;
}

/** Payloads of one segment that are looked at, at most. */
const MOST_MEMBERS = 2_048;
const SEGMENTS_AT_ONCE = 128;
/** Whichever epoch a trace is of. */
const ANY_EPOCH = { sliceId: undefined, epoch: 'any' } as const;

/** What is still to be read of a list: entries `from` up to, not including, `entries`. */
interface ListPart extends EntryRef {
  readonly from: number;
  readonly entries: number;
}

interface Look {
  readonly entry: string;
  readonly trace: TraceRef;
  readonly marks: Set<Mark>;
  readonly open: ListPart[];
  memberCount: number;
  isWhole: boolean;
}

/** Looks at what queue entries stand for. Those that stand for nothing any more are left out. Changes nothing. */
export async function lookAt(runner: RedisRunner, entries: readonly string[]): Promise<HeldSegment[]> {
  const found: HeldSegment[] = [];
  for (const page of pagesOf(entries, SEGMENTS_AT_ONCE)) found.push(...(await lookAtPage(runner, page)));
  return found;
}

async function lookAtPage(runner: RedisRunner, entries: readonly string[]): Promise<Look[]> {
  const refs = entries.flatMap((entry) => {
    const ref = findRef(entry);
    return ref === undefined ? [] : [{ entry, ...ref }];
  });
  // Of what is not sealed it says that it is not due, and leaves it as it is.
  const replies = await sealEntries(runner, refs, { now: NEVER_SECONDS, epoch: ANY_EPOCH });
  const looks = refs.flatMap((ref, i) => {
    const list = listOf(ref, replies[i] as SealReply);
    if (list === undefined) return [];
    return [
      { entry: ref.entry, trace: ref.trace, marks: new Set<Mark>(), open: [list], memberCount: 0, isWhole: true },
    ];
  });
  for (let open: Look[] = looks; open.length > 0; open = open.filter(goesOn)) await readPages(runner, open);
  // Those without any have been completed meanwhile.
  return looks.filter(({ marks }) => marks.size > 0);
}

/** The next page of each. */
async function readPages(runner: RedisRunner, looks: readonly Look[]): Promise<void> {
  const pages = looks.map((look) => {
    const list = look.open.shift() as ListPart;
    return { look, list, end: Math.min(list.entries, list.from + PAGE_ENTRIES) };
  });
  const replies = await runner.run(
    pages.map(({ look, list, end }) => readEntriesCommand(look.trace, list, list.from, end)),
  );
  for (const [i, { look, list, end }] of pages.entries()) {
    if (end < list.entries) look.open.push({ ...list, from: end });
    for (const entry of (replies[i] as (Buffer | null)[]).flatMap((each) =>
      each === null ? [] : each.toString('latin1'),
    )) {
      if (entry.startsWith('>')) look.open.push({ ...parseLink(entry), from: 0 });
      else look.marks.add(parseMember(look.trace, entry).mark);
    }
    look.memberCount += end - list.from;
  }
}

function goesOn(look: Look): boolean {
  if (look.open.length === 0) return false;
  if (look.memberCount < MOST_MEMBERS) return true;
  look.isWhole = false;
  return false;
}

/** The list that an entry stands for: of a sealed generation, or of the segment that has its spans by now. */
function listOf({ handle, list }: EntryRef, reply: SealReply): ListPart | undefined {
  if (reply.kind === 'sealed') return { handle, list, from: 0, entries: reply.record.entries };
  if (reply.kind !== 'live') return undefined;
  return { handle: reply.handle, list: reply.list, from: 0, entries: reply.entries };
}

/** `undefined` for what is no entry: an audit finds it. */
function findRef(entry: string): (EntryRef & { readonly trace: TraceRef }) | undefined {
  try {
    const ref = parseEntry(entry);
    formatTraceKey(ref.trace);
    return ref;
  } catch (error) {
    if (error instanceof MalformedKeyError) return undefined;
    throw error;
  }
}
