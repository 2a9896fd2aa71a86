import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatClocksKey,
  formatFlushersKey,
  formatMemberKeysKey,
  formatPayloadKey,
  formatProcessesKey,
  formatQueueKey,
  formatSegmentKey,
  formatShardsKey,
  formatTraceKey,
  formatWatchedKey,
  hashSlot,
  InvalidIdError,
  MAX_SHARD,
  MalformedKeyError,
  parseMemberKeysKey,
  parsePayloadKey,
  parseQueueKey,
  parseSegmentKey,
  parseTraceKey,
  QUEUE_LANES,
  type QueuePart,
  type QueueRef,
  SpanbufError,
} from '../src/index.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const REF = { projectId: '42', traceId: TRACE, spanId: SPAN };

const word = (maxLength: number) =>
  fc
    .array(fc.constantFrom(...'0123456789ABCXYZabcxyz_-'), { minLength: 1, maxLength })
    .map((characters) => characters.join(''));
const hex = (length: number) =>
  fc
    .array(fc.constantFrom(...'0123456789abcdef'), { minLength: length, maxLength: length })
    .map((digits) => digits.join(''));
const traceRef = fc.record({ projectId: word(64), traceId: hex(32) });
const spanRef = fc.record({ projectId: word(64), traceId: hex(32), spanId: hex(16) });
const payloadRef = fc.record(
  { projectId: word(64), traceId: hex(32), spanId: hex(16), writeId: word(32) },
  { requiredKeys: ['projectId', 'traceId', 'spanId'] },
);
const shard = fc.integer({ min: 0, max: MAX_SHARD });
const queueRef: fc.Arbitrary<QueueRef> = fc.record({ shard, sliceId: shard }, { requiredKeys: ['shard'] });
const queuePart: fc.Arbitrary<QueuePart> = fc.oneof(
  fc.record({ part: fc.constant('due' as const), lane: fc.nat(QUEUE_LANES - 1) }),
  fc.record({ part: fc.constantFrom(...(['in-flight', 'held', 'parked', 'tries', 'forgotten'] as const)) }),
);

describe('formatting', () => {
  it('gives each kind of key its documented form', () => {
    expect(formatSegmentKey(REF)).toBe(`span-buf:s:{42:${TRACE}}:${SPAN}`);
    expect(formatPayloadKey(REF)).toBe(`span-buf:s:{42:${TRACE}:${SPAN}}:${SPAN}`);
    expect(formatPayloadKey({ ...REF, writeId: 'w-1' })).toBe(`span-buf:s:{42:${TRACE}:${SPAN}}:${SPAN}:w-1`);
    expect(formatMemberKeysKey(REF)).toBe(`span-buf:mk:{42:${TRACE}}:${SPAN}`);
    expect(formatTraceKey(REF)).toBe(`span-buf:ssr:{42:${TRACE}}`);
    expect(formatQueueKey({ shard: 7 })).toBe('span-buf:q:{7}');
    expect(formatQueueKey({ shard: 7, sliceId: 3 })).toBe('span-buf:q:{3-7}');
    expect(formatQueueKey({ shard: 7, part: 'due', lane: 0 })).toBe('span-buf:q:{7}:due:0');
    expect(formatQueueKey({ shard: 7, sliceId: 0, part: 'in-flight' })).toBe('span-buf:q:{0-7}:in-flight');
    expect(formatQueueKey({ shard: 7, part: 'due', lane: 15 })).toBe('span-buf:q:{7}:due:15');
    expect(formatQueueKey({ shard: 0, part: 'held' })).toBe('span-buf:q:{0}:held');
    expect(formatQueueKey({ shard: 0, part: 'parked' })).toBe('span-buf:q:{0}:parked');
    expect(formatQueueKey({ shard: 0, part: 'forgotten' })).toBe('span-buf:q:{0}:forgotten');
    expect(formatShardsKey()).toBe('span-buf:shards');
    expect(formatShardsKey({ sliceId: 3 })).toBe('span-buf:shards:3');
    expect(formatClocksKey()).toBe('span-buf:clocks');
    expect(formatClocksKey({ sliceId: 0 })).toBe('span-buf:clocks:0');
    expect(formatFlushersKey()).toBe('span-buf:flushers');
    expect(formatFlushersKey({ sliceId: 3 })).toBe('span-buf:flushers:3');
    expect(formatProcessesKey()).toBe('span-buf:processes');
    expect(formatProcessesKey({ sliceId: 3 })).toBe('span-buf:processes:3');
    expect(formatWatchedKey()).toBe('span-buf:watched');
    expect(formatWatchedKey({ sliceId: 3 })).toBe('span-buf:watched:3');
  });

  it('puts all structure of a trace into one slot and all parts of a queue into another', () => {
    fc.assert(
      fc.property(spanRef, queueRef, queuePart, (ref, queue, part) => {
        const slot = hashSlot(formatTraceKey(ref));
        expect(hashSlot(formatSegmentKey(ref))).toBe(slot);
        expect(hashSlot(formatMemberKeysKey(ref))).toBe(slot);
        expect(hashSlot(formatQueueKey({ ...queue, ...part }))).toBe(hashSlot(formatQueueKey(queue)));
      }),
    );
  });

  it('spreads the payload keys of one trace over the slots', () => {
    const slots = new Set<number>();
    for (let span = 0; span < 1_000; span++) {
      slots.add(hashSlot(formatPayloadKey({ ...REF, spanId: span.toString(16).padStart(16, '0') })));
    }
    expect(slots.size).toBeGreaterThan(900);
  });
});

describe('parsing what was formatted', () => {
  const eitherWay = (key: string, check: (key: string | Uint8Array) => void) => {
    check(key);
    check(new TextEncoder().encode(key));
    check(Buffer.from(`before${key}after`).subarray(6, 6 + key.length));
  };

  it('gives back a segment key`s parts, from text and from bytes', () => {
    fc.assert(
      fc.property(spanRef, (ref) =>
        eitherWay(formatSegmentKey(ref), (key) => expect(parseSegmentKey(key)).toEqual(ref)),
      ),
    );
  });

  it('gives back a payload key`s parts, with and without a write id', () => {
    fc.assert(
      fc.property(payloadRef, (ref) =>
        eitherWay(formatPayloadKey(ref), (key) => expect(parsePayloadKey(key)).toEqual(ref)),
      ),
    );
  });

  it('gives back a member-keys key`s parts', () => {
    fc.assert(
      fc.property(spanRef, (ref) =>
        eitherWay(formatMemberKeysKey(ref), (key) => expect(parseMemberKeysKey(key)).toEqual(ref)),
      ),
    );
  });

  it('gives back a trace key`s parts', () => {
    fc.assert(
      fc.property(traceRef, (ref) => eitherWay(formatTraceKey(ref), (key) => expect(parseTraceKey(key)).toEqual(ref))),
    );
  });

  it('gives back a queue key`s parts, whichever part of the queue it names', () => {
    fc.assert(
      fc.property(queueRef, fc.option(queuePart), (queue, part) => {
        const ref = { ...queue, ...part };
        eitherWay(formatQueueKey(ref), (key) => expect(parseQueueKey(key)).toEqual(ref));
      }),
    );
  });

  it('reads the older segment key that starts with a partition', () => {
    expect(parseSegmentKey(`span-buf:s:12:42:${TRACE}:${SPAN}`)).toEqual(REF);
    expect(parseSegmentKey(Buffer.from(`span-buf:s:0:42:${TRACE}:${SPAN}`))).toEqual(REF);
  });
});

/** The error that `run` throws, which has to be a {@link MalformedKeyError}. */
function malformed(run: () => unknown): MalformedKeyError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedKeyError);
    return error as MalformedKeyError;
  }
  throw new Error('nothing was thrown');
}

describe('telling the kinds of keys apart', () => {
  it('refuses every payload key as a segment key, and the other way round', () => {
    fc.assert(
      fc.property(payloadRef, (ref) => {
        expect(malformed(() => parseSegmentKey(formatPayloadKey(ref))).problem).toContain('payload key');
        expect(malformed(() => parseSegmentKey(Buffer.from(formatPayloadKey(ref)))).kind).toBe('segment key');
        expect(malformed(() => parsePayloadKey(formatSegmentKey(ref))).problem).toContain('segment key');
        expect(malformed(() => parsePayloadKey(Buffer.from(formatSegmentKey(ref)))).kind).toBe('payload key');
      }),
    );
  });

  const parsers = {
    'segment key': parseSegmentKey,
    'payload key': parsePayloadKey,
    'member-keys key': parseMemberKeysKey,
    'trace key': parseTraceKey,
    'queue key': parseQueueKey,
  };
  const keys = {
    'segment key': formatSegmentKey(REF),
    'payload key': formatPayloadKey(REF),
    'member-keys key': formatMemberKeysKey(REF),
    'trace key': formatTraceKey(REF),
    'queue key': formatQueueKey({ shard: 1 }),
    'shards key': formatShardsKey(),
    'clocks key': formatClocksKey(),
    'flushers key': formatFlushersKey(),
    'processes key': formatProcessesKey(),
    'watched key': formatWatchedKey(),
  };

  it('refuses a key of any other kind', () => {
    for (const [kind, parse] of Object.entries(parsers)) {
      for (const [other, key] of Object.entries(keys)) {
        if (other === kind) expect(() => parse(key)).not.toThrow();
        else expect(malformed(() => parse(key)).kind).toBe(kind);
      }
    }
  });

  it('refuses any text that it would not have formatted', () => {
    const piece = fc.constantFrom(
      'span-buf:',
      's:',
      'mk:',
      'ssr:',
      'q:',
      'due:',
      'parked',
      '{',
      '}',
      ':',
      '42',
      '-',
      TRACE,
      SPAN,
      'w',
      '\n',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const key = pieces.join('');
        const same = (format: () => string) => {
          try {
            return format();
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedKeyError);
            return key;
          }
        };
        expect(same(() => formatPayloadKey(parsePayloadKey(key)))).toBe(key);
        expect(same(() => formatMemberKeysKey(parseMemberKeysKey(key)))).toBe(key);
        expect(same(() => formatTraceKey(parseTraceKey(key)))).toBe(key);
        expect(same(() => formatQueueKey(parseQueueKey(key)))).toBe(key);
        // The older form is the one that is read and not written.
        if (key.includes('{')) expect(same(() => formatSegmentKey(parseSegmentKey(key)))).toBe(key);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('malformed keys', () => {
  const long = 'a'.repeat(200);
  const upperTrace = TRACE.toUpperCase();
  const upperSpan = SPAN.toUpperCase();

  it.each([
    ['nothing', ''],
    ['another prefix', `span-buf:x:{42:${TRACE}}:${SPAN}`],
    ['something before the prefix', ` span-buf:s:{42:${TRACE}}:${SPAN}`],
    ['the prefix alone', 'span-buf:s:'],
    ['no braces', `span-buf:s:42:${TRACE}:${SPAN}`],
    ['no opening brace', `span-buf:s:42:${TRACE}}:${SPAN}`],
    ['no closing brace', `span-buf:s:{42:${TRACE}:${SPAN}`],
    ['two opening braces', `span-buf:s:{{42:${TRACE}}:${SPAN}`],
    ['two closing braces', `span-buf:s:{42:${TRACE}}}:${SPAN}`],
    ['a second tag', `span-buf:s:{42:${TRACE}}:{${SPAN}}`],
    ['an empty tag', `span-buf:s:{}:${SPAN}`],
    ['no colon after the tag', `span-buf:s:{42:${TRACE}}${SPAN}`],
    ['no span', `span-buf:s:{42:${TRACE}}`],
    ['an empty span', `span-buf:s:{42:${TRACE}}:`],
    ['a part too many', `span-buf:s:{42:${TRACE}}:${SPAN}:1`],
    ['a colon too many', `span-buf:s:{42:${TRACE}}:${SPAN}:`],
    ['a part too many in the tag', `span-buf:s:{42:${TRACE}:${SPAN}:1}:${SPAN}`],
    ['no trace', `span-buf:s:{42}:${SPAN}`],
    ['an empty project', `span-buf:s:{:${TRACE}}:${SPAN}`],
    ['a project of 200 characters', `span-buf:s:{${long}:${TRACE}}:${SPAN}`],
    ['a project with a space', `span-buf:s:{4 2:${TRACE}}:${SPAN}`],
    ['an upper-case trace', `span-buf:s:{42:${upperTrace}}:${SPAN}`],
    ['a trace with dashes', `span-buf:s:{42:0af76519-16cd-43dd-8448-eb211c80319c}:${SPAN}`],
    ['a short trace', `span-buf:s:{42:${TRACE.slice(1)}}:${SPAN}`],
    ['a long trace', `span-buf:s:{42:${TRACE}0}:${SPAN}`],
    ['a trace of 200 characters', `span-buf:s:{42:${long}}:${SPAN}`],
    ['an upper-case span', `span-buf:s:{42:${TRACE}}:${upperSpan}`],
    ['a short span', `span-buf:s:{42:${TRACE}}:${SPAN.slice(1)}`],
    ['a long span', `span-buf:s:{42:${TRACE}}:${SPAN}0`],
    ['a span of 200 characters', `span-buf:s:{42:${TRACE}}:${long}`],
    ['a span that is not hex', `span-buf:s:{42:${TRACE}}:${'g'.repeat(16)}`],
    ['a span with a digit that is not ASCII', `span-buf:s:{42:${TRACE}}:${SPAN.slice(1)}١`],
    ['a newline at the end', `span-buf:s:{42:${TRACE}}:${SPAN}\n`],
    ['a newline inside the tag', `span-buf:s:{42:${TRACE}\n}:${SPAN}`],
    ['a partition that is no number', `span-buf:s:x:42:${TRACE}:${SPAN}`],
    ['an empty partition', `span-buf:s::42:${TRACE}:${SPAN}`],
    ['the older form with a newline', `span-buf:s:1:42:${TRACE}:${SPAN}\n`],
    ['the older form with a part too many', `span-buf:s:1:42:${TRACE}:${SPAN}:x`],
  ])('refuses a segment key with %s', (_what, key) => {
    for (const input of [key, Buffer.from(key)]) {
      const error = malformed(() => parseSegmentKey(input));
      expect(error.kind).toBe('segment key');
      expect(error.problem).not.toBe('');
    }
  });

  it.each([
    ['no write id behind a colon', `span-buf:s:{42:${TRACE}:${SPAN}}:${SPAN}:`],
    ['a part too many', `span-buf:s:{42:${TRACE}:${SPAN}}:${SPAN}:w:x`],
    ['another span behind the tag', `span-buf:s:{42:${TRACE}:${SPAN}}:00000000000000aa`],
    ['no span behind the tag', `span-buf:s:{42:${TRACE}:${SPAN}}`],
    ['a long write id', `span-buf:s:{42:${TRACE}:${SPAN}}:${SPAN}:${'w'.repeat(33)}`],
    ['a brace in the write id', `span-buf:s:{42:${TRACE}:${SPAN}}:${SPAN}:w}`],
    ['an upper-case span', `span-buf:s:{42:${TRACE}:${upperSpan}}:${upperSpan}`],
    ['the older form of a segment key', `span-buf:s:1:42:${TRACE}:${SPAN}`],
    ['a newline at the end', `span-buf:s:{42:${TRACE}:${SPAN}}:${SPAN}\n`],
  ])('refuses a payload key with %s', (_what, key) => {
    expect(malformed(() => parsePayloadKey(key)).kind).toBe('payload key');
  });

  it.each([
    ['no shard', 'span-buf:q:{}'],
    ['no braces', 'span-buf:q:1'],
    ['an empty slice', 'span-buf:q:{-1}'],
    ['a negative shard', 'span-buf:q:{1--1}'],
    ['a shard that is too large', `span-buf:q:{${MAX_SHARD + 1}}`],
    ['a slice that is too large', `span-buf:q:{${MAX_SHARD + 1}-1}`],
    ['a shard of many digits', `span-buf:q:{${'9'.repeat(200)}}`],
    ['a leading zero, which would name another key', 'span-buf:q:{01}'],
    ['a slice with a leading zero', 'span-buf:q:{00-1}'],
    ['an unknown part', 'span-buf:q:{1}:done'],
    ['no lane', 'span-buf:q:{1}:due'],
    ['an empty lane', 'span-buf:q:{1}:due:'],
    ['a lane that there is not', `span-buf:q:{1}:due:${QUEUE_LANES}`],
    ['a lane with a leading zero', 'span-buf:q:{1}:due:01'],
    ['a lane of a part that has none', 'span-buf:q:{1}:in-flight:1'],
    ['a newline at the end', 'span-buf:q:{1}\n'],
  ])('refuses a queue key with %s', (_what, key) => {
    expect(malformed(() => parseQueueKey(key)).kind).toBe('queue key');
  });

  it.each([
    ['member-keys key', parseMemberKeysKey, `span-buf:mk:{42:${TRACE}:${SPAN}}:${SPAN}`],
    ['member-keys key', parseMemberKeysKey, `span-buf:mk:{42:${TRACE}}:${SPAN}:1`],
    ['member-keys key', parseMemberKeysKey, `span-buf:mk:{42:${TRACE}}`],
    ['trace key', parseTraceKey, `span-buf:ssr:{42:${TRACE}}:${SPAN}`],
    ['trace key', parseTraceKey, `span-buf:ssr:{42:${TRACE}}:`],
    ['trace key', parseTraceKey, `span-buf:ssr:{42}`],
    ['trace key', parseTraceKey, `span-buf:ssr:{42:${TRACE}} `],
  ])('refuses as a %s what has another shape', (kind, parse, key) => {
    expect(malformed(() => parse(key)).kind).toBe(kind);
  });

  it.each([undefined, null, 1, 1n, true, {}, [], Symbol('key'), () => '', new Uint16Array(4)])(
    'refuses what is neither text nor bytes',
    (key) => {
      for (const parse of [parseSegmentKey, parsePayloadKey, parseMemberKeysKey, parseTraceKey, parseQueueKey]) {
        expect(malformed(() => parse(key as string)).problem).toBe('a key is a string or bytes');
      }
    },
  );

  it('refuses bytes that are not ASCII instead of reading them as something else', () => {
    const key = Buffer.from(formatSegmentKey(REF));
    for (let at = 0; at < key.length; at++) {
      const changed = Buffer.from(key);
      changed[at] = (changed[at] as number) | 0x80;
      expect(() => parseSegmentKey(changed)).toThrow(MalformedKeyError);
    }
  });

  it('says in fields what kind of key was expected and what is wrong, and keeps the cause', () => {
    const error = malformed(() => parseSegmentKey(`span-buf:s:{42:${TRACE}}:xyz`));
    expect(error).toBeInstanceOf(SpanbufError);
    expect(error).toMatchObject({
      name: 'MalformedKeyError',
      code: 'SPANBUF_MALFORMED_KEY',
      retriable: false,
      kind: 'segment key',
    });
    expect(error.problem).toContain('spanId');
    expect(error.cause).toBeInstanceOf(InvalidIdError);
  });

  it('makes one short printable line of a key of any length and content', () => {
    for (const key of [
      'x'.repeat(1_000_000),
      'span-buf:s:\r\n\u001b[31m\u0085\u2028\u202e\u009b',
      '\0'.repeat(5_000),
    ]) {
      const { message } = malformed(() => parseSegmentKey(key));
      expect(message).toMatch(/^[ -~…]{1,1200}$/);
      expect(malformed(() => parseSegmentKey(Buffer.from(key))).message).toMatch(/^[ -~…]{1,1200}$/);
    }
  });
});

describe('ids that may not become part of a key', () => {
  const formatters = [formatSegmentKey, formatPayloadKey, formatMemberKeysKey];
  const smuggled = ['}', '{', ':', '}:{', '1}:x', '42:', ':42', ' 42', '42\n', '42\0', '4２', 'x'.repeat(200), ''];

  it.each(smuggled)('refuses the project id %j', (projectId) => {
    for (const format of [...formatters, formatTraceKey]) {
      expect(() => format({ ...REF, projectId })).toThrow(InvalidIdError);
    }
  });

  it.each([
    ...smuggled,
    TRACE.toUpperCase(),
    TRACE.slice(1),
    `${TRACE}0`,
    `${TRACE}\n`,
    `${TRACE}}`,
    `${TRACE}:${SPAN}`,
  ])('refuses the trace id %j', (traceId) => {
    for (const format of [...formatters, formatTraceKey]) {
      expect(() => format({ ...REF, traceId })).toThrow(InvalidIdError);
    }
  });

  it.each([...smuggled, SPAN.toUpperCase(), SPAN.slice(1), `${SPAN}0`, `${SPAN}\n`, `${SPAN}}`, `${SPAN.slice(1)}:`])(
    'refuses the span id %j',
    (spanId) => {
      for (const format of formatters) expect(() => format({ ...REF, spanId })).toThrow(InvalidIdError);
    },
  );

  it.each([...smuggled, 'w'.repeat(33)])('refuses the write id %j', (writeId) => {
    expect(() => formatPayloadKey({ ...REF, writeId })).toThrow(InvalidIdError);
  });

  it.each([undefined, null, 42, 42n, {}, ['42'], Symbol('id')])('refuses an id that is not text', (id) => {
    for (const field of ['projectId', 'traceId', 'spanId']) {
      for (const format of formatters) {
        expect(() => format({ ...REF, [field]: id })).toThrow(expect.objectContaining({ field }));
      }
    }
  });

  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, MAX_SHARD + 1, '1', 1n, null])(
    'refuses a shard or slice that is not an integer in range',
    (value) => {
      const number = value as number;
      expect(() => formatQueueKey({ shard: number })).toThrow(expect.objectContaining({ field: 'shard' }));
      expect(() => formatQueueKey({ shard: 0, sliceId: number })).toThrow(
        expect.objectContaining({ field: 'sliceId' }),
      );
      for (const format of [formatShardsKey, formatClocksKey, formatFlushersKey, formatProcessesKey])
        expect(() => format({ sliceId: number })).toThrow(InvalidIdError);
    },
  );

  it.each([-1, 1.5, Number.NaN, QUEUE_LANES, '1', 1n, null])(
    'refuses a lane that is not an integer in range',
    (lane) => {
      expect(() => formatQueueKey({ shard: 0, part: 'due', lane: lane as number })).toThrow(
        expect.objectContaining({ field: 'lane' }),
      );
    },
  );

  it('says which id is wrong and what it should look like', () => {
    const wrong = () => formatSegmentKey({ ...REF, traceId: 'x}:' });
    expect(wrong).toThrow(
      expect.objectContaining({
        name: 'InvalidIdError',
        code: 'SPANBUF_INVALID_ID',
        retriable: false,
        field: 'traceId',
        expected: '32 lower-case hex digits',
      }),
    );
    expect(wrong).toThrow('"x}:"');
  });

  it('formats nothing that another set of ids formats too', () => {
    fc.assert(
      fc.property(spanRef, spanRef, (one, other) => {
        fc.pre(JSON.stringify(one) !== JSON.stringify(other));
        expect(formatSegmentKey(one)).not.toBe(formatSegmentKey(other));
        expect(formatPayloadKey(one)).not.toBe(formatPayloadKey(other));
      }),
    );
  });
});
