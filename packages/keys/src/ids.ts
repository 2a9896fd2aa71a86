import { InvalidIdError } from './errors.ts';

/**
 * What may stand in a key. None of the alphabets has a `:`, `{` or `}`, so no id can move a separator, end the hash tag
 * early or open another one.
 */
const ID_KINDS: Readonly<Record<IdKind, { readonly pattern: RegExp; readonly expected: string }>> = {
  projectId: { pattern: /^[0-9A-Za-z_-]{1,64}$/, expected: '1 to 64 of the characters 0-9 A-Z a-z _ -' },
  traceId: { pattern: /^[0-9a-f]{32}$/, expected: '32 lower-case hex digits' },
  spanId: { pattern: /^[0-9a-f]{16}$/, expected: '16 lower-case hex digits' },
  writeId: { pattern: /^[0-9A-Za-z_-]{1,32}$/, expected: '1 to 32 of the characters 0-9 A-Z a-z _ -' },
};

export type IdKind = 'projectId' | 'traceId' | 'spanId' | 'writeId';

/** Whether `value` may be used as an id of this kind in a key. */
export function isId(kind: IdKind, value: unknown): value is string {
  return typeof value === 'string' && ID_KINDS[kind].pattern.test(value);
}

/** @throws {@link InvalidIdError} when `value` may not be used as an id of this kind in a key. */
export function checkId(kind: IdKind, value: unknown): string {
  if (isId(kind, value)) return value;
  throw new InvalidIdError(kind, ID_KINDS[kind].expected, value);
}

/** Most shards and slices that a queue key can name: the 24 bits that a trace record keeps of a shard. */
export const MAX_SHARD = 2 ** 24 - 1;

/** @throws {@link InvalidIdError} when `value` is not an integer from 0 to {@link MAX_SHARD}. */
export function checkShard(field: 'shard' | 'sliceId', value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_SHARD) return value as number;
  throw new InvalidIdError(field, `an integer from 0 to ${MAX_SHARD}`, typeof value === 'number' ? `${value}` : value);
}
