import { colocatedPayloads } from '../colocated/colocated-payloads.ts';
import type { InspectedPayload, InspectLimits, PayloadPlace } from '../inspector.ts';
import { layoutNamed, storagesOf } from '../layout.ts';
import { pagesOf } from '../redis/grouping.ts';
import type { Member } from '../redis/members.ts';
import type { RedisCommand } from '../redis/redis-runner.ts';
import type { InspectScope } from './inspect-scope.ts';
import { spansOf } from './payload-spans.ts';
import type { HeldGeneration } from './trace-snapshot.ts';

const LAYOUT = layoutNamed('distributed');
/** Payloads whose length is asked at once. */
const ASKED_AT_ONCE = 1_024;
/** Bytes, and payloads, that one pipeline reads, unless a single payload has more. */
const READ_AT_ONCE_BYTES = 4 * 2 ** 20;
const READ_AT_ONCE = 256;

/** The first payloads of each generation: where they are, and what is in them. */
export async function readPayloads(
  scope: InspectScope,
  generations: readonly HeldGeneration[],
  { mostPayloads, mostBytes }: Pick<InspectLimits, 'mostPayloads' | 'mostBytes'>,
): Promise<InspectedPayload[][]> {
  const share = Math.max(1, Math.floor(mostPayloads / Math.max(1, generations.length)));
  const members = generations.flatMap((generation, at) =>
    generation.members.slice(0, share).map((member) => ({ member, at })),
  );
  const found = await findPayloads(
    scope,
    members.map(({ member }) => member),
  );
  let leftBytes = mostBytes;
  const toRead: FoundPayload[] = [];
  for (const payload of found) {
    if (payload.bytes === 0 || (payload.bytes > leftBytes && toRead.length > 0)) continue;
    toRead.push(payload);
    leftBytes -= payload.bytes;
  }
  const read = new Map<FoundPayload, InspectedPayload>();
  for (const page of inPages(toRead)) {
    const blobs = await scope.runner.run(page.map(({ get }) => get as RedisCommand));
    for (const [i, payload] of page.entries()) read.set(payload, readPayload(payload, blobs[i] as Buffer | null));
  }
  const payloads: InspectedPayload[][] = generations.map(() => []);
  for (const [i, { at }] of members.entries()) {
    const payload = found[i] as FoundPayload;
    const { places, bytes } = payload;
    payloads[at]?.push(read.get(payload) ?? { places, state: bytes === 0 ? 'gone' : 'passed-over', spans: [] });
  }
  return payloads;
}

interface FoundPayload {
  readonly places: readonly PayloadPlace[];
  /** Of the place that it is read from; 0: it is in none. */
  readonly bytes: number;
  readonly get: RedisCommand | undefined;
}

async function findPayloads({ runner, settings }: InspectScope, members: readonly Member[]): Promise<FoundPayload[]> {
  const found: FoundPayload[] = [];
  for (const page of pagesOf(members, ASKED_AT_ONCE)) {
    const asked = page.map(({ mark, ref }) =>
      storagesOf(mark, LAYOUT).map((storage) => {
        const { key } = storage.has(ref);
        const isColocated = storage === colocatedPayloads;
        const length: RedisCommand = isColocated
          ? { key, name: 'hstrlen', args: [key, ref.writeId] }
          : { key, name: 'strlen', args: [key] };
        return { key, field: isColocated ? ref.writeId : undefined, length, get: storage.get(ref) };
      }),
    );
    const lengths = await runner.run(asked.flatMap((places) => places.map(({ length }) => length)));
    let at = 0;
    for (const places of asked) {
      const ofOne = places.map(({ key, field, get }) => {
        const place: PayloadPlace = {
          layout: field === undefined ? 'distributed' : 'colocated',
          key,
          field,
          node: settings.nodeOf(key),
          bytes: lengths[at++] as number,
        };
        return { place, get };
      });
      const there = ofOne.find(({ place }) => place.bytes > 0);
      found.push({ places: ofOne.map(({ place }) => place), bytes: there?.place.bytes ?? 0, get: there?.get });
    }
  }
  return found;
}

function* inPages(payloads: readonly FoundPayload[]): Generator<FoundPayload[]> {
  let page: FoundPayload[] = [];
  let bytes = 0;
  for (const payload of payloads) {
    if (page.length > 0 && (page.length === READ_AT_ONCE || bytes + payload.bytes > READ_AT_ONCE_BYTES)) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(payload);
    bytes += payload.bytes;
  }
  if (page.length > 0) yield page;
}

function readPayload({ places }: FoundPayload, blob: Buffer | null): InspectedPayload {
  if (blob === null) return { places, state: 'gone', spans: [] };
  const spans = spansOf(blob);
  return spans === undefined ? { places, state: 'unreadable', spans: [] } : { places, state: 'read', spans };
}
