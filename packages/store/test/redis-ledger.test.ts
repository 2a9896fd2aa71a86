import { formatLedgerKey, formatReceiptsKey, RECEIPTS_CHUNK } from '@spanbuf/keys';
import { connect, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLedger, type Fate, type Ledger, type Receipt, receiptsOf, type TraceAddition } from '../src/index.ts';
import { aSlice, aTrace, openStore } from './stores.ts';

const SOURCE = 'topic';
const POLICY = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000_000 };
const T0 = 1_700_000_000;
const CHUNK = BigInt(RECEIPTS_CHUNK);

function receipt(fromOffset: bigint, toOffset = fromOffset + 1n, fate: Fate = 'idle', partition = 0): Receipt {
  return { partition, source: SOURCE, fromOffset, toOffset, fate };
}

async function begin(ledger: Ledger, offset: bigint, partition = 0): Promise<void> {
  await ledger.open([{ partition, source: SOURCE, offset }]);
}

/** The books of partition 0, without what is always the same. */
async function books(ledger: Ledger) {
  const all = await ledger.read([0]);
  expect(all).toHaveLength(1);
  const { baseOffset, takenOffset, firstOpenOffset, counts, openCount, againCount } = all[0] as (typeof all)[0];
  const sum = [...counts.values()].reduce((total, count) => total + count, 0);
  expect(Number(takenOffset - baseOffset)).toBe(sum + openCount);
  return { baseOffset, takenOffset, firstOpenOffset, counts: Object.fromEntries(counts), openCount, againCount };
}

it('gives one receipt to offsets that follow each other, in one log alone', () => {
  const ids = { spanId: 'a'.repeat(16), parentId: 'a'.repeat(16), payload: Buffer.from('{}') };
  const at = (partition: number, offset: bigint, source = SOURCE) => ({ ...ids, partition, offset, source });
  const spans = [at(0, 4n), at(0, 5n), at(1, 6n), at(1, 7n, 'other'), { ...ids, partition: 1 }, at(1, 9n, 'other')];
  expect(receiptsOf(spans, 'idle')).toEqual([
    receipt(4n, 6n),
    receipt(6n, 7n, 'idle', 1),
    { ...receipt(7n, 8n, 'idle', 1), source: 'other' },
    { ...receipt(9n, 10n, 'idle', 1), source: 'other' },
  ]);
});

describe.each(TOPOLOGIES)('Ledger on %s', async (topology) => {
  const client = await connect(topology);
  const open = () => {
    const sliceId = aSlice();
    return { sliceId, ledger: createLedger(client, { sliceId }), store: openStore(client, { sliceId }) };
  };

  it('counts each offset once, however often it is settled', async () => {
    const { ledger } = open();
    await begin(ledger, 0n);
    await ledger.take([{ partition: 0, source: SOURCE, offset: 10n }]);
    await ledger.settle([receipt(1n), receipt(2n), receipt(4n, 5n, 'invalid'), receipt(7n, 9n, 'dropped:noisy')]);
    const expected = {
      baseOffset: 0n,
      takenOffset: 10n,
      firstOpenOffset: 0n,
      counts: { idle: 2, invalid: 1, 'dropped:noisy': 2 },
      openCount: 5,
    };
    expect(await books(ledger)).toEqual({ ...expected, againCount: 0 });
    await ledger.settle([receipt(1n), receipt(2n, 3n, 'root-idle'), receipt(4n, 5n, 'lost')]);
    expect(await books(ledger)).toEqual({ ...expected, againCount: 3 });
    await ledger.settle([receipt(0n)]);
    expect((await books(ledger)).firstOpenOffset).toBe(3n);
  });

  it('keeps the books of two logs of a partition apart that are settled together', async () => {
    const { ledger } = open();
    const other = { partition: 0, source: 'other' };
    await ledger.open([
      { partition: 0, source: SOURCE, offset: 0n },
      { ...other, offset: 0n },
    ]);
    await ledger.settle([receipt(0n), { ...receipt(1n), ...other }, receipt(2n)]);
    expect(await ledger.settledAmong(0, SOURCE, [0n, 1n, 2n])).toEqual(new Set([0n, 2n]));
    expect(await ledger.settledAmong(0, 'other', [0n, 1n, 2n])).toEqual(new Set([1n]));
  });

  it('begins where it is told to, once, and leaves out of account what lies before', async () => {
    const { ledger } = open();
    await ledger.settle([receipt(5n)]);
    expect(await ledger.take([{ partition: 0, source: SOURCE, offset: 5n }])).toHaveLength(1);
    expect(await ledger.read([0])).toEqual([]);
    await begin(ledger, 1_000_013n);
    await begin(ledger, 2_000_000n);
    expect(await books(ledger)).toMatchObject({ baseOffset: 1_000_013n, firstOpenOffset: 1_000_013n, openCount: 0 });
    await ledger.settle([receipt(1_000_000n, 1_000_014n)]);
    expect(await books(ledger)).toMatchObject({
      takenOffset: 1_000_014n,
      firstOpenOffset: 1_000_014n,
      counts: { idle: 1 },
      openCount: 0,
      againCount: 0,
    });
    expect(await ledger.settledAmong(0, SOURCE, [1_000_012n, 1_000_013n, 1_000_014n])).toEqual(new Set([1_000_013n]));
  });

  it('begins earlier when it is told to, and then counts as open what it had left out', async () => {
    const { ledger } = open();
    const base = CHUNK + 20n;
    await begin(ledger, base);
    await ledger.settle([receipt(base, 2n * CHUNK)]);
    await begin(ledger, CHUNK - 3n);
    expect(await books(ledger)).toMatchObject({ baseOffset: CHUNK - 3n, firstOpenOffset: CHUNK - 3n, openCount: 23 });
    await ledger.settle([receipt(CHUNK - 3n, CHUNK + 4n)]);
    expect(await books(ledger)).toMatchObject({ firstOpenOffset: CHUNK + 4n, openCount: 16, againCount: 0 });
    await ledger.settle([receipt(CHUNK + 4n, base)]);
    expect(await books(ledger)).toMatchObject({ firstOpenOffset: 2n * CHUNK, openCount: 0, againCount: 0 });
  });

  it('keeps apart sources, partitions and slices', async () => {
    const { ledger } = open();
    const other = open().ledger;
    await ledger.open([
      { partition: 0, source: 'a', offset: 0n },
      { partition: 0, source: 'b', offset: 5n },
      { partition: 3, source: 'a', offset: 0n },
    ]);
    await ledger.settle([
      { partition: 0, source: 'a', fromOffset: 0n, toOffset: 2n, fate: 'idle' },
      { partition: 0, source: 'b', fromOffset: 5n, toOffset: 6n, fate: 'drain' },
    ]);
    const found = await ledger.read([0, 3, 4]);
    expect(found.map(({ partition, source, takenOffset }) => `${partition} ${source} ${takenOffset}`).sort()).toEqual([
      '0 a 2',
      '0 b 6',
      '3 a 0',
    ]);
    expect(await other.read([0, 3])).toEqual([]);
  });

  it('forgets the bitmap of a chunk once everything in it is settled, in any order of the chunks', async () => {
    const { ledger, sliceId } = open();
    const bitmap = (chunk: bigint) => formatReceiptsKey({ shard: 0, sliceId, source: SOURCE, chunk });
    const base = 3n * CHUNK + 5n;
    await begin(ledger, base);
    await ledger.settle([receipt(4n * CHUNK, 6n * CHUNK)]);
    expect(await books(ledger)).toMatchObject({ firstOpenOffset: base, takenOffset: 6n * CHUNK });
    expect(await client.exists(bitmap(4n))).toBe(0);
    expect(await client.exists(bitmap(3n))).toBe(1);
    await ledger.settle([receipt(base, 4n * CHUNK - 1n)]);
    expect((await books(ledger)).firstOpenOffset).toBe(4n * CHUNK - 1n);
    await ledger.settle([receipt(4n * CHUNK - 1n), receipt(4n * CHUNK - 1n)]);
    expect(await books(ledger)).toMatchObject({ firstOpenOffset: 6n * CHUNK, openCount: 0, againCount: 0 });
    expect(await client.exists(bitmap(3n))).toBe(0);
    await ledger.settle([receipt(4n * CHUNK + 7n), receipt(base), receipt(0n, base)]);
    expect(await books(ledger)).toMatchObject({ firstOpenOffset: 6n * CHUNK, openCount: 0, againCount: 2 });
    expect(await ledger.settledAmong(0, SOURCE, [base - 1n, base, 5n * CHUNK, 6n * CHUNK])).toEqual(
      new Set([base, 5n * CHUNK]),
    );
    const ledgerKey = formatLedgerKey({ shard: 0, sliceId });
    expect(await client.ttl(ledgerKey)).toBeGreaterThan(86_400);
    expect(Object.keys(await client.hgetall(ledgerKey)).filter((field) => field.startsWith('part'))).toEqual([]);
  });

  it('is the same as a set of offsets, for any receipts in any order', async () => {
    const range = fc
      .tuple(
        fc.nat(140_000),
        fc.oneof(fc.constant(1), fc.nat(60), fc.nat(90_000)),
        fc.constantFrom<Fate>('idle', 'lost'),
      )
      .map(([from, length, fate]) => receipt(BigInt(from), BigInt(from + length), fate));
    await fc.assert(
      fc.asyncProperty(
        fc.nat(70_000),
        fc.oneof(fc.nat(200_000), fc.constantFrom(65_535, 65_536, 131_072)),
        fc.array(fc.array(range, { maxLength: 6 }), { maxLength: 5 }),
        async (base, from, calls) => {
          const { ledger } = open();
          await begin(ledger, BigInt(base));
          const model = new Set<number>();
          for (const call of calls) {
            await ledger.settle(call);
            for (const { fromOffset, toOffset } of call) {
              for (let at = Number(fromOffset); at < Number(toOffset); at++) if (at >= base) model.add(at);
            }
          }
          let firstOpen = base;
          while (model.has(firstOpen)) firstOpen += 1;
          const found = await books(ledger);
          const settled = Object.values(found.counts).reduce((sum, count) => sum + count, 0);
          expect(settled).toBe(model.size);
          expect(found.firstOpenOffset).toBe(BigInt(firstOpen));
          let next = Math.max(base, from);
          while (model.has(next)) next += 1;
          const [later] = await ledger.read([0], new Map([[0, BigInt(from)]]));
          expect(later?.firstOpenOffset).toBe(BigInt(next));
          const asked = [base - 1, base, firstOpen - 1, firstOpen, 65_535, 65_536, 100_000].filter((at) => at >= 0);
          expect(await ledger.settledAmong(0, SOURCE, asked.map(BigInt))).toEqual(
            new Set(asked.filter((at) => model.has(at)).map(BigInt)),
          );
        },
      ),
      { numRuns: 80 },
    );
  });

  it('gets back from a copy what Redis has lost of it', async () => {
    const { ledger } = open();
    const other = open().ledger;
    await begin(ledger, 5n);
    await ledger.settle([
      receipt(5n, 9n),
      receipt(12n),
      receipt(70_000n),
      receipt(2n * CHUNK, 3n * CHUNK),
      receipt(200_001n),
    ]);
    await ledger.take([{ partition: 0, source: SOURCE, offset: 200_010n }]);
    const [copy] = await ledger.copy([0]);
    for (let i = 0; i < 2; i++) if (copy) await other.restore(copy);
    const asked = [4n, 8n, 9n, 12n, 13n, 70_000n, 70_001n, 2n * CHUNK, 3n * CHUNK - 1n, 3n * CHUNK, 200_001n];
    expect(await other.settledAmong(0, SOURCE, asked)).toEqual(await ledger.settledAmong(0, SOURCE, asked));
    expect(await books(other)).toMatchObject({
      counts: { restored: 7 + RECEIPTS_CHUNK },
      takenOffset: 200_010n,
      againCount: 0,
    });
  });

  it('has receipts for what was completed, with the reason it was sealed for, also when it is completed twice', async () => {
    const { ledger, store } = open();
    await begin(ledger, 0n, 0);
    await begin(ledger, 0n, 1);
    const trace = aTrace();
    const span = (spanId: string, partition: number, offset: bigint) => {
      return { spanId, parentId: 'a'.repeat(16), partition, offset, source: SOURCE, payload: Buffer.from('{}') };
    };
    const addition = (spans: ReturnType<typeof span>[], hasRoot: boolean): TraceAddition => {
      return { ...trace, subsegments: [{ topId: 'a'.repeat(16), hasRoot, spans }] };
    };
    await store.add([addition([span('a'.repeat(16), 0, 0n), span('b'.repeat(16), 0, 2n)], true)], POLICY, { now: T0 });
    await store.add([addition([span('c'.repeat(16), 1, 0n)], false)], POLICY, { now: T0 });
    const claimed = await store.claim({ now: T0 + 10, limit: 10 });
    const read = await store.read(claimed);
    for (let i = 0; i < 2; i++) {
      await store.complete(
        claimed,
        read.map((spans) => spans ?? []),
      );
      expect(await books(ledger)).toMatchObject({ counts: { 'root-idle': 2 }, firstOpenOffset: 1n, takenOffset: 3n });
    }
    const [second] = await ledger.read([1]);
    expect(second).toMatchObject({ openCount: 0, firstOpenOffset: 1n, againCount: 1 });
  });
});
