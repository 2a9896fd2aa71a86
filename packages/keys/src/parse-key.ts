import { MalformedKeyError, SpanbufError } from './errors.ts';

/** Throws the {@link MalformedKeyError} of the key that is being parsed. */
export type Fail = (problem: string) => never;

/**
 * What `parse` makes of the rest of a key behind `prefix`.
 * @throws {@link MalformedKeyError} for a key without that prefix, and where `parse` fails or meets a wrong id.
 */
export function parseKey<T>(
  kind: string,
  key: string | Uint8Array,
  prefix: string,
  parse: (rest: string, fail: Fail) => T,
): T {
  // Latin-1 maps every byte to one character, so bytes that are not ASCII stay visible as a wrong id.
  const text = typeof key === 'string' ? key : latin1(key);
  const fail: Fail = (problem) => {
    throw new MalformedKeyError(kind, text, problem);
  };
  if (typeof text !== 'string') return fail('a key is a string or bytes');
  if (!text.startsWith(prefix)) return fail(`it does not start with ${prefix}`);
  try {
    return parse(text.slice(prefix.length), fail);
  } catch (error) {
    if (error instanceof MalformedKeyError || !(error instanceof SpanbufError)) throw error;
    throw new MalformedKeyError(kind, text, error.message, { cause: error });
  }
}

function latin1(bytes: Uint8Array): string {
  return bytes instanceof Uint8Array
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
    : bytes;
}
