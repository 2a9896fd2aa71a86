import { UnreadablePayloadError } from '../errors.ts';
import { decodeBlob } from '../payload-blob.ts';
import { pagesOf } from '../redis/grouping.ts';
import type { Member } from '../redis/members.ts';
import type { RedisRunner } from '../redis/redis-runner.ts';
import type { StoredSpan } from '../segment-store.ts';
import { firstFound } from './first-found.ts';

/** Payloads that are in memory at once: 16 MB of blobs of the usual size. */
const READ_AT_ONCE = 512;

/** The spans of each payload that is there; `undefined` for one that cannot be read. */
export async function* readSpans(
  runner: RedisRunner,
  members: readonly Member[],
): AsyncGenerator<readonly StoredSpan[] | undefined> {
  for (const page of pagesOf(members, READ_AT_ONCE)) {
    for (const blob of await firstFound(runner, page, (storage, ref) => storage.get(ref)))
      if (blob !== undefined) yield spansOf(blob as Buffer);
  }
}

/** `undefined` for one that cannot be read. */
export function spansOf(blob: Buffer): StoredSpan[] | undefined {
  try {
    return decodeBlob(blob);
  } catch (error) {
    if (error instanceof UnreadablePayloadError) return undefined;
    throw error;
  }
}
