import { InvalidIdError } from './errors.ts';
import { checkShard } from './ids.ts';
import { parseKey } from './parse-key.ts';

/** One shard's queue; the slice is the optional prefix of a deployment. Both are integers from 0. */
export interface QueueRef {
  readonly shard: number;
  readonly sliceId?: number;
}

/** Lanes of a queue: what is due of one project is in one of them, so that those of the other lanes need not wait for it. */
export const QUEUE_LANES = 16;

/** The keys of a queue. They share a hash tag, so that one script may move an entry between them. */
export type QueuePart = { readonly part: 'due'; readonly lane: number } | { readonly part: UnlanedPart };

export type UnlanedPart = 'in-flight' | 'held' | 'parked' | 'tries' | 'forgotten';

const QUEUE_PREFIX = 'span-buf:q:';
const SHARDS_KEY = 'span-buf:shards';
const CLOCKS_KEY = 'span-buf:clocks';
const FLUSHERS_KEY = 'span-buf:flushers';
const PROCESSES_KEY = 'span-buf:processes';
const WATCHED_KEY = 'span-buf:watched';

/**
 * `span-buf:q:{[<slice>-]<shard>}`: one shard's queue as a whole, with `part` one of its keys: `:due:<lane>`, `:held`,
 * `:in-flight`, `:parked`, `:tries` or `:forgotten` is appended. Nothing is stored under the name without a part.
 * @throws {@link InvalidIdError} when the shard or the slice is not an integer from 0 to 16,777,215, or the lane not one
 * below {@link QUEUE_LANES}.
 */
export function formatQueueKey(ref: QueueRef & (QueuePart | { readonly part?: undefined })): string {
  const shard = checkShard('shard', ref.shard);
  const slice = ref.sliceId === undefined ? '' : `${checkShard('sliceId', ref.sliceId)}-`;
  const name = `${QUEUE_PREFIX}{${slice}${shard}}`;
  if (ref.part === undefined) return name;
  return 'lane' in ref ? `${name}:${ref.part}:${checkLane(ref.lane)}` : `${name}:${ref.part}`;
}

// Without leading zeros: {01} is another key than {1}, and would be written back as {1}.
const QUEUE_REST =
  /^\{(?:(?<sliceId>0|[1-9]\d{0,7})-)?(?<shard>0|[1-9]\d{0,7})\}(?::(?:(?<part>in-flight|held|parked|tries|forgotten)|due:(?<lane>0|[1-9]\d?)))?$/;

/** Inverse of {@link formatQueueKey}. @throws {@link MalformedKeyError} for anything else. */
export function parseQueueKey(key: string | Uint8Array): QueueRef & (QueuePart | { readonly part?: undefined }) {
  return parseKey('queue key', key, QUEUE_PREFIX, (rest, fail) => {
    const groups = QUEUE_REST.exec(rest)?.groups;
    if (groups === undefined) return fail('it does not end in {[<slice>-]<shard>} or a part of that queue');
    const { sliceId, part, lane } = groups;
    const shard = checkShard('shard', Number(groups['shard']));
    const queue = sliceId === undefined ? { shard } : { shard, sliceId: checkShard('sliceId', Number(sliceId)) };
    if (part !== undefined) return { ...queue, part: part as UnlanedPart };
    return lane === undefined ? queue : { ...queue, part: 'due', lane: checkLane(Number(lane)) };
  });
}

/** `span-buf:shards[:<slice>]`: which shards have a queue, so that flushers find them without configuration. */
export function formatShardsKey(ref: { readonly sliceId?: number } = {}): string {
  return inSlice(SHARDS_KEY, ref);
}

/** `span-buf:clocks[:<slice>]`: how far the consumer has come with each shard. */
export function formatClocksKey(ref: { readonly sliceId?: number } = {}): string {
  return inSlice(CLOCKS_KEY, ref);
}

/** `span-buf:flushers[:<slice>]`: which flushers live. */
export function formatFlushersKey(ref: { readonly sliceId?: number } = {}): string {
  return inSlice(FLUSHERS_KEY, ref);
}

/** `span-buf:processes[:<slice>]`: which processes work on the buffer, and until when which layout was written. */
export function formatProcessesKey(ref: { readonly sliceId?: number } = {}): string {
  return inSlice(PROCESSES_KEY, ref);
}

/** `span-buf:watched[:<slice>]`: traces of which every step is logged, and until when. */
export function formatWatchedKey(ref: { readonly sliceId?: number } = {}): string {
  return inSlice(WATCHED_KEY, ref);
}

function inSlice(key: string, { sliceId }: { readonly sliceId?: number }): string {
  return sliceId === undefined ? key : `${key}:${checkShard('sliceId', sliceId)}`;
}

function checkLane(lane: unknown): number {
  if (Number.isInteger(lane) && (lane as number) >= 0 && (lane as number) < QUEUE_LANES) return lane as number;
  throw new InvalidIdError(
    'lane',
    `an integer from 0 to ${QUEUE_LANES - 1}`,
    typeof lane === 'number' ? `${lane}` : lane,
  );
}
