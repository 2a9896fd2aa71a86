/**
 * Base of every error that spanbuf throws on purpose. Branch on `code`, on the class, or on `retriable`; never on
 * `message`, which is for people and may change.
 */
export abstract class SpanbufError extends Error {
  /** Stable, machine-readable: `SPANBUF_…`. */
  abstract readonly code: string;
  /** True when the same call may succeed later without a change of its arguments. */
  abstract readonly retriable: boolean;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An id that may not become part of a key. */
export class InvalidIdError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_ID';
  readonly retriable = false;
  /** Which id: `projectId`, `traceId`, `spanId`, … */
  readonly field: string;
  /** What an id of that kind looks like. */
  readonly expected: string;

  constructor(field: string, expected: string, value: unknown) {
    super(`${field} must be ${expected}, got ${quote(value)}`);
    this.field = field;
    this.expected = expected;
  }
}

/** A string that is not a key of the kind it was parsed as. */
export class MalformedKeyError extends SpanbufError {
  readonly code = 'SPANBUF_MALFORMED_KEY';
  readonly retriable = false;
  /** The kind of key that was expected. */
  readonly kind: string;
  /** What is wrong with it. */
  readonly problem: string;

  constructor(kind: string, key: unknown, problem: string, options?: ErrorOptions) {
    super(`not a ${kind}: ${problem} (${quote(key)})`, options);
    this.kind = kind;
    this.problem = problem;
  }
}

const QUOTED_CHARACTERS = 120;

/** `value` as a short JSON string of printable ASCII, so that a hostile id can neither flood nor forge a log line. */
function quote(value: unknown): string {
  if (typeof value !== 'string') return value === null ? 'null' : typeof value;
  const text = printable(JSON.stringify(value.slice(0, QUOTED_CHARACTERS)));
  return value.length <= QUOTED_CHARACTERS ? text : `${text}… ${value.length} characters`;
}

/** JSON leaves some line ends, terminal controls and direction marks as they are. */
function printable(json: string): string {
  return json.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
