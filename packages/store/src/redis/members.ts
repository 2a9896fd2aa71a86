import type { PayloadRef, TraceRef } from '@spanbuf/keys';
import { StoreRefusedError, UnreadablePayloadError } from '../errors.ts';
import { type Mark, storagesOf } from '../layout.ts';
import { decodeBlob, encodeBlob } from '../payload-blob.ts';
import type { StoredSpan } from '../segment-store.ts';
import type { PayloadStorage } from './payload-storage.ts';
import type { RedisCommand, RedisRunner } from './redis-runner.ts';
import type { RedisStoreSettings } from './settings.ts';

/** One payload of a segment: its key in every layout, and in which of them it was written. */
export interface Member {
  readonly mark: Mark;
  readonly ref: Required<PayloadRef>;
}

/** As it stands in a list of a trace: mark, span id, a dot, write id. */
export function formatMember({ mark, ref }: Member): string {
  return `${mark}${ref.spanId}.${ref.writeId}`;
}

const SPAN_ID_END = 17;

export function parseMember(trace: TraceRef, entry: string): Member {
  const ref = { ...trace, spanId: entry.slice(1, SPAN_ID_END), writeId: entry.slice(SPAN_ID_END + 1) };
  return { mark: entry[0] as Mark, ref };
}

/** Payloads as the layout of the store writes them, and as the mark of each member finds them again. */
export class MemberPayloads {
  readonly #runner: RedisRunner;
  readonly #settings: RedisStoreSettings;

  constructor(runner: RedisRunner, settings: RedisStoreSettings) {
    this.#runner = runner;
    this.#settings = settings;
  }

  /** A member for these spans, under a key that nobody has written. */
  memberOf(trace: TraceRef, spans: readonly StoredSpan[]): Member {
    const { spanId } = spans[0] as StoredSpan;
    return { mark: this.#settings.layout.mark, ref: { ...trace, spanId, writeId: this.#settings.nextWriteId() } };
  }

  /** Either all are written, or Redis refuses some: then all are taken out again where Redis lets them. */
  async put(parts: readonly { member: Member; spans: readonly StoredSpan[] }[], ttlSeconds: number): Promise<void> {
    const { layout, compression } = this.#settings;
    const puts = parts.flatMap(({ member, spans }) => {
      const blob = encodeBlob(spans, compression);
      return layout.writesTo.map((storage) => storage.put(member.ref, blob, ttlSeconds));
    });
    try {
      await this.#runner.run(puts);
    } catch (error) {
      // One full node refuses the batch; what the others took of it would fill them too, once more at each attempt. A node
      // that did not answer is left alone: asking it costs a deadline, and what it has expires.
      const written = this.removals(parts.map(({ member }) => member));
      if (error instanceof StoreRefusedError) await this.#runner.run(written).catch(() => undefined);
      throw error;
    }
  }

  /** The spans of each member; none where its payload is gone from every place it was written to. */
  async get(members: readonly Member[]): Promise<(StoredSpan[] | UnreadablePayloadError)[]> {
    const spans: (StoredSpan[] | UnreadablePayloadError)[] = members.map(() => []);
    let open = [...members.entries()].map(([at, { mark, ref }]) => ({
      at,
      ref,
      places: storagesOf(mark, this.#settings.layout),
    }));
    for (let place = 0; open.length > 0; place++) {
      const replies = await this.#runner.run(open.map(({ ref, places }) => (places[place] as PayloadStorage).get(ref)));
      open = open.filter(({ at, places }, i) => {
        const blob = replies[i] as Buffer | null;
        if (blob !== null) spans[at] = spansOf(blob);
        return blob === null && place + 1 < places.length;
      });
    }
    return spans;
  }

  removals(members: readonly Member[]): RedisCommand[] {
    return members.flatMap(({ mark, ref }) =>
      storagesOf(mark, this.#settings.layout).map((storage) => storage.remove(ref)),
    );
  }

  /** Commands that let payloads live for `ttlSeconds` from now, or longer. */
  keeps(members: readonly Member[], ttlSeconds: number): RedisCommand[] {
    return members.flatMap(({ mark, ref }) =>
      storagesOf(mark, this.#settings.layout).map((storage) => storage.keep(ref, ttlSeconds)),
    );
  }
}

/** An error is a value here: it must not keep other segments from going out. */
function spansOf(blob: Buffer): StoredSpan[] | UnreadablePayloadError {
  try {
    return decodeBlob(blob);
  } catch (error) {
    if (error instanceof UnreadablePayloadError) return error;
    throw error;
  }
}
