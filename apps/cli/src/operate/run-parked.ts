import { createLossWatch, createRedisStore, type ParkedGeneration, type SegmentStore } from '@spanbuf/store';
import { LineWriter } from '../line-writer.ts';
import { UsageError } from '../settings.ts';
import { grouped } from '../summary.ts';
import type { OperateHost } from './operate-host.ts';
import { formatParkedName } from './parked-name.ts';
import {
  type ParkedAction,
  type ParkedSettings,
  parseParkedSettings,
  type RawParkedSettings,
} from './parked-settings.ts';
import { formatParked, formatParkedList, parkedContentsJson, parkedJson } from './parked-text.ts';
import { openSystemRedis } from './redis-connection.ts';

/** How long Redis may stay away while it is worked with. */
const STORE_DEADLINE_SECONDS = 10;
/** Put back or deleted between two looks at the signal. */
const PAGE = 100;

/**
 * `spanbuf parked`.
 * @throws UsageError, FileError, or what the store throws when Redis cannot be used.
 */
export async function runParked(
  action: ParkedAction,
  names: readonly string[],
  raw: RawParkedSettings,
  { env, stdout, signal }: OperateHost,
): Promise<void> {
  const settings = parseParkedSettings(action, names, raw);
  const output = new LineWriter(stdout, 'stdout');
  const { client, close, sliceId, redisTtlSeconds, dedupeWindowSeconds } = await openSystemRedis(raw, env, 'parked');
  try {
    const shared = { sliceId, redisTtlSeconds, deadlineSeconds: STORE_DEADLINE_SECONDS };
    const epoch = await createLossWatch(client, shared).readEpoch();
    const store = createRedisStore(client, { ...shared, dedupeWindowSeconds, epoch });
    await RUNS[action]({ store, output, settings, signal });
    await output.flush();
  } finally {
    close();
  }
}

interface Run {
  readonly store: SegmentStore;
  readonly output: LineWriter;
  readonly settings: ParkedSettings;
  readonly signal: AbortSignal;
}

const RUNS: Readonly<Record<ParkedAction, (run: Run) => Promise<void>>> = { list, show, retry, delete: deleteForGood };

async function list({ store, output, settings }: Run): Promise<void> {
  const { query, isJson } = settings;
  const found = await store.listParked({ ...query, limit: query.limit + 1 });
  const parked = inOrder(found.slice(0, query.limit));
  if (isJson) {
    for (const one of parked) await output.write(parkedJson(one));
    return;
  }
  const lines = parked.length === 0 ? ['nothing is parked'] : formatParkedList(parked);
  if (found.length > parked.length) lines.push(`there are more than ${grouped(query.limit)}: see --limit`);
  await say(output, lines);
}

async function show({ store, output, settings, signal }: Run): Promise<void> {
  const { isJson } = settings;
  const parked = await select(store, settings);
  if (parked.length === 0 && !isJson) await say(output, ['nothing is parked']);
  // One by one: each may have many spans.
  for (const one of parked) {
    signal.throwIfAborted();
    const [contents] = await store.readParked([one]);
    if (contents === undefined) continue;
    if (isJson) await output.write(parkedContentsJson(one, contents));
    else await say(output, formatParked(one, contents));
  }
}

async function retry({ store, output, settings, signal }: Run): Promise<void> {
  const parked = await select(store, settings);
  for (let at = 0; at < parked.length; at += PAGE) {
    signal.throwIfAborted();
    await store.retryParked(parked.slice(at, at + PAGE));
  }
  await report(output, settings, parked, 'put back');
}

async function deleteForGood({ store, output, settings, signal }: Run): Promise<void> {
  const parked = await select(store, settings);
  if (settings.names.length === 0 && !settings.isConfirmed && parked.length > 0)
    throw new UsageError(`this deletes ${summaryOf(parked)} for good: add --yes`);
  const deleted: ParkedGeneration[] = [];
  for (let at = 0; at < parked.length; at += PAGE) {
    signal.throwIfAborted();
    deleted.push(...(await store.deleteParked(parked.slice(at, at + PAGE))));
  }
  await report(output, settings, deleted, 'deleted');
}

/** @throws UsageError when nothing of a given name is parked. */
async function select(store: SegmentStore, { names, query }: ParkedSettings): Promise<ParkedGeneration[]> {
  if (names.length === 0) return inOrder(await store.listParked(query));
  const selected = new Map<string, ParkedGeneration>();
  for (const { projectId, traceId, ...name } of names) {
    const found = (await store.listParked({ projectId, traceId, limit: query.limit })).find(
      ({ segmentId, generation }) => segmentId === name.segmentId && generation === name.generation,
    );
    const text = formatParkedName({ projectId, traceId, ...name });
    if (found === undefined) throw new UsageError(`nothing of this name is parked: ${text}`);
    selected.set(text, found);
  }
  return [...selected.values()];
}

function inOrder(parked: readonly ParkedGeneration[]): ParkedGeneration[] {
  return [...parked].sort((a, b) => a.parkedSeconds - b.parkedSeconds);
}

async function report(
  output: LineWriter,
  { isJson }: ParkedSettings,
  parked: readonly ParkedGeneration[],
  what: string,
): Promise<void> {
  if (!isJson) await say(output, [parked.length === 0 ? 'nothing is parked' : `${what}: ${summaryOf(parked)}`]);
  else for (const one of parked) await output.write(parkedJson(one));
}

function summaryOf(parked: readonly ParkedGeneration[]): string {
  const spans = parked.reduce((sum, { spanCount }) => sum + spanCount, 0);
  const counted = (count: number, word: string) => `${grouped(count)} ${word}${count === 1 ? '' : 's'}`;
  return `${counted(parked.length, 'parked segment')} with ${counted(spans, 'span')}`;
}

async function say(output: LineWriter, lines: readonly string[]): Promise<void> {
  for (const line of lines) await output.write(Buffer.from(line));
}
