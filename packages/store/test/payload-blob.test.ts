import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UnreadablePayloadError } from '../src/index.ts';
import { decodeBlob, encodeBlob } from '../src/payload-blob.ts';
import type { StoredSpan } from '../src/segment-store.ts';

const spanId = fc.stringMatching(/^[0-9a-f]{16}$/);

/** Spans as a subsegment has them: one source and partition, offsets that rise, or none. */
const subsegments: fc.Arbitrary<StoredSpan[]> = fc
  .record({
    partition: fc.nat(2 ** 24 - 1),
    source: fc.option(fc.string({ minLength: 1, unit: 'binary', maxLength: 50 }), { nil: undefined }),
    firstOffset: fc.option(fc.bigInt(0n, 2n ** 62n), { nil: undefined }),
    spans: fc.array(
      fc.record({
        spanId,
        parentId: fc.option(spanId),
        payload: fc.uint8Array({ maxLength: 3_000 }),
        step: fc.bigInt(0n, 2n ** 40n),
        places: fc.option(fc.tuple(fc.maxSafeNat(), fc.nat(3_000)), { nil: undefined }),
      }),
      { minLength: 1, maxLength: 30 },
    ),
  })
  .map(({ partition, source, firstOffset, spans }) => {
    let offset = firstOffset;
    return spans.map(({ spanId: id, parentId, payload, step, places }) => {
      if (offset !== undefined) offset += step;
      const span = { spanId: id, parentId: parentId ?? id, partition, payload: Buffer.from(payload) };
      return {
        ...span,
        ...(offset !== undefined && { offset }),
        ...(source !== undefined && { source }),
        ...(places !== undefined && { places }),
      };
    });
  });

describe.each(['none', 'zstd'] as const)('a blob with compression %s', (compression) => {
  it('gives back the spans that went in', () => {
    fc.assert(
      fc.property(subsegments, (spans) => {
        expect(decodeBlob(encodeBlob(spans, compression))).toEqual(spans);
      }),
    );
  });

  it('is refused, and nothing worse, when bytes of it are damaged or missing', () => {
    fc.assert(
      fc.property(subsegments, fc.nat(), fc.integer({ min: 0, max: 255 }), fc.boolean(), (spans, at, byte, isCut) => {
        const blob = encodeBlob(spans, compression);
        const damaged = isCut ? blob.subarray(0, at % blob.length) : Buffer.from(blob);
        if (!isCut) damaged[at % blob.length] = byte;
        try {
          decodeBlob(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(UnreadablePayloadError);
        }
      }),
    );
  });

  it('is refused when it is empty', () => {
    expect(() => decodeBlob(Buffer.alloc(0))).toThrow(UnreadablePayloadError);
  });
});

describe('compression', () => {
  it('makes a payload of alike spans several times smaller', () => {
    const payload = (i: number) =>
      Buffer.from(JSON.stringify({ span_id: i, attributes: { 'http.request.method': 'GET', i } }));
    const spans = Array.from({ length: 60 }, (_, i) => {
      return { spanId: `${i}`.padStart(16, '0'), parentId: '0'.repeat(16), partition: 0, payload: payload(i) };
    });
    expect(encodeBlob(spans, 'zstd').length * 3).toBeLessThan(encodeBlob(spans, 'none').length);
  });
});
