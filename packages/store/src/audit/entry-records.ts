import { formatTraceKey, SpanbufError, type TraceRef } from '@spanbuf/keys';
import { parseEntry } from '../redis/queue-scripts.ts';
import type { RedisRunner } from '../redis/redis-runner.ts';
import {
  type EntryRef,
  handleField,
  RECORD_BYTES,
  sealedField,
  unpackRecord,
  unpackSealed,
} from '../redis/trace-scripts.ts';

/** What a queue entry names: one list of one handle of a trace. */
export type EntryTarget = EntryRef & { readonly trace: TraceRef };

/** What an entry stands for, and when that is to be taken. */
export interface EntryRecord {
  readonly due: string;
  readonly held: string;
  readonly spanCount: number;
  readonly payloadBytes: number;
}

/** `undefined` for what no queue may have. */
export function findEntryTarget(entry: string): EntryTarget | undefined {
  try {
    const parsed = parseEntry(entry);
    return Number.isSafeInteger(parsed.list) ? parsed : undefined;
  } catch (error) {
    if (error instanceof SpanbufError) return undefined;
    throw error;
  }
}

/** What entries stand for; `undefined` where that is nothing, now and for ever. Cost: one read of two fields an entry. */
export async function readEntryRecords(
  runner: RedisRunner,
  targets: readonly EntryTarget[],
): Promise<(EntryRecord | undefined)[]> {
  const replies = await runner.run(
    targets.map((target) => {
      const key = formatTraceKey(target.trace);
      return { key, name: 'hmget', args: [key, sealedField(target), handleField(target.handle)] };
    }),
  );
  return targets.map(({ list }, i) => recordOf(list, replies[i] as readonly (Buffer | null)[]));
}

function recordOf(list: number, [sealed, live]: readonly (Buffer | null | undefined)[]): EntryRecord | undefined {
  if (sealed) {
    const { spanCount, payloadBytes } = unpackSealed('', sealed, []);
    return { due: '-inf', held: '0', spanCount, payloadBytes };
  }
  // A redirect: the segment went into another one.
  if (live?.length !== RECORD_BYTES) return undefined;
  const { list: liveList, due, held, spanCount, payloadBytes } = unpackRecord(live);
  return liveList === list && spanCount > 0 ? { due, held, spanCount, payloadBytes } : undefined;
}
