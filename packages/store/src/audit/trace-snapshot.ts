import { formatTraceKey, type TraceRef } from '@spanbuf/keys';
import { entryOf, pagesOf } from '../redis/grouping.ts';
import { type Member, parseMember } from '../redis/members.ts';
import type { QueueTimes } from '../redis/queue-scripts.ts';
import type { RedisReply, RedisRunner } from '../redis/redis-runner.ts';
import {
  type EntryRef,
  HANDLE_BYTES,
  handleAt,
  RECORD_BYTES,
  readTraceCommand,
  SEALED_BYTES,
  unpackRecord,
  unpackSealed,
} from '../redis/trace-scripts.ts';
import type { SealReason } from '../segment-store.ts';

/** Spans that a trace holds: a live segment, or a sealed generation. */
export interface HeldGeneration extends EntryRef {
  readonly segmentId: string;
  readonly generation: number;
  readonly shard: number;
  readonly spanCount: number;
  readonly payloadBytes: number;
  readonly rootSeen: boolean;
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** `undefined`: it is live. */
  readonly sealReason: SealReason | undefined;
  /** The record as it is stored: another one after any change. */
  readonly packed: string;
  /** When it is to be taken. */
  readonly times: QueueTimes;
  readonly members: readonly Member[];
  /** Entries of its lists that the trace does not have. */
  readonly missingEntryCount: number;
}

/** What a trace is made of, apart from its redirects. */
export interface TraceSnapshot {
  readonly trace: TraceRef;
  /** Of its hash, redirects included; 0: it is not there. */
  readonly fieldCount: number;
  /** `undefined`: it was made by somebody who does not count epochs. */
  readonly epoch: number | undefined;
  readonly generations: readonly HeldGeneration[];
  /**
   * Whether everything that has been held since the reading began is in `generations`. A trace of many fields is read in pages,
   * and one that changes all the while may show one half before a change and the other one after it. Never where something
   * is unreadable, or where there are more fields than were to be read.
   */
  readonly isWhole: boolean;
  /** Fields that this version cannot read. */
  readonly unreadable: readonly string[];
}

/** Fields that are read by one command: some 2 ms of Redis. */
const MOST_FIELDS_AT_ONCE = 4_096;
const FIELDS_PAGE = 512;
/** How much is read of a trace. */
export interface SnapshotLimits {
  /** How often a trace of many fields is read that changes meanwhile. */
  readonly attempts: number;
  /** Fields that are read of one trace, some more or less. */
  readonly mostFields: number;
}

const ALL: SnapshotLimits = { attempts: 3, mostFields: Number.POSITIVE_INFINITY };
/** Of one list; more than any real one has. */
const MOST_ENTRIES = 2 ** 24;
/** What is sealed is taken at once, by whichever clock. */
const AT_ONCE = { due: '-inf', held: '0' };

/** Of whichever slice. */
const EPOCH = /^e\d*$/;
// One character stands for a byte: see trace.lua.
const HANDLE = /^:[\s\S]{8}$/;
const LIST_ENTRY = /^(:[\s\S]{8}\.\d+)\.(\d+)$/;
const SEALED = /^#(:[\s\S]{8})\.(\d+)$/;
const MEMBER = /^[cdb][0-9a-f]{16}\.[0-9A-Za-z_-]{1,32}$/;
const LINK = /^>(:[\s\S]{8}\.\d+)\.(\d+)$/;

/** Fields that matter: records of segments, sealed generations, entries of lists. */
interface TraceFields {
  readonly records: Map<string, Buffer>;
  readonly lists: Map<string, Map<number, string>>;
  readonly unreadable: string[];
  epoch: number | undefined;
}

/** Reads traces. One that is not there holds nothing. */
export async function readTraces(
  runner: RedisRunner,
  traces: readonly TraceRef[],
  limits: SnapshotLimits = ALL,
): Promise<TraceSnapshot[]> {
  const keys = traces.map(formatTraceKey);
  const sizes = await runner.run(keys.map((key) => ({ key, name: 'hlen', args: [key] })));
  const isSmall = (at: number): boolean => (sizes[at] as number) <= MOST_FIELDS_AT_ONCE;
  const small = [...keys.keys()].filter(isSmall);
  const replies = await runner.run(small.map((at) => readTraceCommand(keys[at] as string)));
  const bySmall = new Map(small.map((at, i) => [at, fieldsOf(pairsOf(replies[i] as readonly Buffer[]))]));
  const snapshots: TraceSnapshot[] = [];
  for (const [at, trace] of traces.entries()) {
    const fields = bySmall.get(at);
    const fieldCount = sizes[at] as number;
    if (fields) snapshots.push(snapshotOf(trace, fieldCount, fields, true));
    else snapshots.push(await readLarge(runner, trace, limits));
  }
  return snapshots;
}

/** Names of fields as text, with a character for each byte. */
function pairsOf(flat: readonly Buffer[]): (readonly [string, Buffer])[] {
  return pagesOf(flat, 2).map(([field, value]) => [(field as Buffer).toString('latin1'), value as Buffer]);
}

async function readLarge(
  runner: RedisRunner,
  trace: TraceRef,
  { attempts, mostFields }: SnapshotLimits,
): Promise<TraceSnapshot> {
  const key = formatTraceKey(trace);
  let fields: TraceFields = fieldsOf([]);
  let size = 0;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const [sizeBefore] = await runner.run([{ key, name: 'hlen', args: [key] }]);
    fields = fieldsOf([]);
    let cursor = '0';
    let readCount = 0;
    do {
      const args = [key, cursor, 'COUNT', FIELDS_PAGE];
      const [reply] = await runner.run([{ key, name: 'hscan', args }]);
      const [next, flat] = reply as readonly [Buffer, readonly Buffer[]];
      note(fields, pairsOf(flat));
      cursor = String(next);
      readCount += flat.length / 2;
    } while (cursor !== '0' && readCount < mostFields);
    // Whatever adds spans or unites segments changes a record that was there, or adds fields.
    const names = [...fields.records.keys()];
    const again = await runner.run(
      pagesOf(names, FIELDS_PAGE).map((page) => ({
        key,
        name: 'hmget',
        args: [key, ...page.map((name) => Buffer.from(name, 'latin1'))],
      })),
    );
    const values = again.flatMap((page) => page as readonly RedisReply[]) as (Buffer | null)[];
    const [sizeAfter] = await runner.run([{ key, name: 'hlen', args: [key] }]);
    size = sizeAfter as number;
    const isSame = names.every((name, i) => values[i]?.equals(fields.records.get(name) as Buffer) === true);
    if (cursor === '0' && isSame && size <= (sizeBefore as number)) return snapshotOf(trace, size, fields, true);
  }
  return snapshotOf(trace, size, fields, false);
}

function snapshotOf(trace: TraceRef, fieldCount: number, fields: TraceFields, isStable: boolean): TraceSnapshot {
  const { unreadable, epoch } = fields;
  return {
    trace,
    fieldCount,
    epoch,
    generations: generationsOf(trace, fields),
    isWhole: isStable && unreadable.length === 0,
    unreadable,
  };
}

function fieldsOf(pairs: readonly (readonly [string, Buffer])[]): TraceFields {
  const fields: TraceFields = { records: new Map(), lists: new Map(), unreadable: [], epoch: undefined };
  note(fields, pairs);
  return fields;
}

function note(fields: TraceFields, pairs: readonly (readonly [string, Buffer])[]): void {
  const { records, lists, unreadable } = fields;
  for (const [field, value] of pairs) {
    if (EPOCH.test(field)) fields.epoch = Math.max(fields.epoch ?? 0, Number(value));
    const isSealed = SEALED.test(field);
    if (isSealed || (HANDLE.test(field) && value.length !== HANDLE_BYTES)) {
      if (value.length === (isSealed ? SEALED_BYTES : RECORD_BYTES)) records.set(field, value);
      else unreadable.push(field);
      continue;
    }
    const [, list, at] = LIST_ENTRY.exec(field) ?? [];
    if (list === undefined) continue;
    const entry = value.toString('latin1');
    if (MEMBER.test(entry) || LINK.test(entry))
      entryOf(lists, list, () => new Map<number, string>()).set(Number(at), entry);
    else unreadable.push(field);
  }
}

function generationsOf(trace: TraceRef, { records, lists }: TraceFields): HeldGeneration[] {
  const generations: HeldGeneration[] = [];
  for (const [field, value] of records) {
    const [, sealedHandle, sealedList] = SEALED.exec(field) ?? [];
    const packed = value.toString('latin1');
    if (sealedHandle !== undefined) {
      const { incarnation: _, firstPage: __, reason, entries, ...facts } = unpackSealed('', value, []);
      const ref = { handle: handleAt(Buffer.from(sealedHandle, 'latin1'), 0), list: Number(sealedList) };
      const contents = membersOf(trace, lists, { name: `${sealedHandle}.${sealedList}`, entries });
      generations.push({ ...facts, ...ref, sealReason: reason, packed, times: AT_ONCE, ...contents });
      continue;
    }
    const { list, entries, due, held, ...facts } = unpackRecord(value);
    if (facts.spanCount === 0) continue;
    const ref = { handle: handleAt(Buffer.from(field, 'latin1'), 0), list };
    const contents = membersOf(trace, lists, { name: `${field}.${list}`, entries });
    generations.push({ ...facts, ...ref, sealReason: undefined, packed, times: { due, held }, ...contents });
  }
  return generations;
}

/** Follows the links of a list. */
function membersOf(
  trace: TraceRef,
  lists: TraceFields['lists'],
  own: { readonly name: string; readonly entries: number },
): { members: Member[]; missingEntryCount: number } {
  const members: Member[] = [];
  let missingEntryCount = 0;
  const followed = new Set<string>();
  const open = [own];
  for (let list = open.pop(); list !== undefined; list = open.pop()) {
    if (followed.has(list.name)) continue;
    followed.add(list.name);
    const entries = lists.get(list.name) ?? new Map<number, string>();
    for (let at = 0; at < Math.min(list.entries, MOST_ENTRIES); at++) {
      const entry = entries.get(at);
      const [, name, linked] = LINK.exec(entry ?? '') ?? [];
      if (entry === undefined) missingEntryCount++;
      else if (name !== undefined) open.push({ name, entries: Number(linked) });
      else members.push(parseMember(trace, entry));
    }
  }
  return { members, missingEntryCount };
}
