import { formatLedgerKey, formatReceiptsKey, RECEIPTS_CHUNK } from '@spanbuf/keys';
import { openCommandGate } from '@spanbuf/tooling/command-gate';
import { connect, TOPOLOGIES } from '@spanbuf/tooling/redis-clients';
import fc from 'fast-check';
import { type Cluster, Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { createLedger, type Fate, type Ledger, type Receipt, ReceiptsKeeper } from '../src/index.ts';
import { aSlice } from './stores.ts';

const SOURCE = 'topic';
const CHUNK = BigInt(RECEIPTS_CHUNK);
const CHUNKS = [0n, 1n, 2n, 3n, 4n];

function receipt(fromOffset: bigint, toOffset = fromOffset + 1n, fate: Fate = 'idle', partition = 0): Receipt {
  return { partition, source: SOURCE, fromOffset, toOffset, fate };
}

async function open(ledger: Ledger, offset: bigint, partition = 0): Promise<void> {
  await ledger.open([{ partition, source: SOURCE, offset }]);
}

async function take(ledger: Ledger, offset: bigint, partition = 0): Promise<void> {
  await ledger.take([{ partition, source: SOURCE, offset }]);
}

/** Gives receipts as a process does that remembers them. */
async function settle(ledger: Ledger, keeper: ReceiptsKeeper, ...receipts: Receipt[]): Promise<void> {
  await ledger.settle(receipts);
  keeper.given(receipts);
}

async function books(ledger: Ledger) {
  const [found] = await ledger.read([0]);
  if (found === undefined) return undefined;
  const { baseOffset, takenOffset, firstOpenOffset, counts, openCount, againCount } = found;
  return { baseOffset, takenOffset, firstOpenOffset, counts: Object.fromEntries(counts), openCount, againCount };
}

/** Of a slice of its own. */
function aLedger(client: Redis | Cluster) {
  const sliceId = aSlice();
  const ledger = createLedger(client, { sliceId });
  const keys = [
    formatLedgerKey({ shard: 0, sliceId }),
    ...CHUNKS.map((chunk) => formatReceiptsKey({ shard: 0, sliceId, source: SOURCE, chunk })),
  ];
  /** As when the node of the partition is emptied. */
  const lose = () => client.del(...keys);
  /** What a replica would have that hears nothing from now on. */
  const lag = async () => {
    const values = await Promise.all(keys.map((key) => client.dumpBuffer(key)));
    return async (): Promise<void> => {
      await lose();
      for (const [i, value] of values.entries())
        if (value !== null) await client.restore(keys[i] as string, 100_000, value);
    };
  };
  return { ledger, sliceId, lose, lag };
}

describe.each(TOPOLOGIES)('ReceiptsKeeper on %s', async (topology) => {
  const client = await connect(topology);
  const begin = () => aLedger(client);

  it('gives back what was given after somebody had copied the books, and what was in them', async () => {
    const { ledger, lose } = begin();
    const [consumer, flusher] = [new ReceiptsKeeper(ledger), new ReceiptsKeeper(ledger)];
    await open(ledger, 0n);
    await settle(ledger, flusher, receipt(0n, 5n));
    await take(ledger, 20n);
    expect(await consumer.look([0])).toEqual([]);
    await settle(ledger, flusher, receipt(6n, 9n, 'root-idle'), receipt(12n));
    await settle(ledger, consumer, receipt(14n, 16n, 'invalid'));
    await lose();
    expect(await consumer.look([0])).toEqual([{ partition: 0, receiptCount: undefined }]);
    await take(ledger, 25n);
    expect(await books(ledger)).toMatchObject({ counts: { restored: 7 }, openCount: 18 });
    await settle(ledger, flusher, receipt(20n));
    expect(await flusher.look()).toEqual([{ partition: 0, receiptCount: 4 }]);
    const expected = { baseOffset: 0n, takenOffset: 25n, openCount: 13, againCount: 0 };
    expect(await books(ledger)).toMatchObject({ ...expected, counts: { restored: 11, idle: 1 } });
    for (const keeper of [consumer, flusher, consumer]) expect(await keeper.look()).toEqual([]);
    expect(await books(ledger)).toMatchObject({ ...expected, counts: { restored: 11, idle: 1 } });
  });

  it('gives back books that nobody begins again, and those that somebody has begun without knowing them', async () => {
    const { ledger, lose } = begin();
    const keeper = new ReceiptsKeeper(ledger);
    await open(ledger, 5n);
    await settle(ledger, keeper, receipt(5n, 10n));
    await take(ledger, 15n);
    await keeper.look();
    await lose();
    await keeper.look();
    const expected = { baseOffset: 5n, firstOpenOffset: 10n, takenOffset: 15n, openCount: 5 };
    expect(await books(ledger)).toMatchObject({ ...expected, counts: { restored: 5 } });
    await lose();
    await open(ledger, CHUNK + 3n);
    expect(await keeper.look()).toEqual([{ partition: 0, receiptCount: undefined }]);
    const took = { takenOffset: CHUNK + 3n, openCount: Number(CHUNK) - 7 };
    expect(await books(ledger)).toMatchObject({ ...expected, ...took, counts: { restored: 5 } });
  });

  it('does not take for receipts what lies below books that were begun without knowing them', async () => {
    const { ledger, lose } = begin();
    const [knowing, unknowing] = [new ReceiptsKeeper(ledger), new ReceiptsKeeper(ledger)];
    await open(ledger, 0n);
    await settle(ledger, knowing, receipt(3n));
    await knowing.look();
    await lose();
    await open(ledger, 20n);
    await unknowing.look([0]);
    await knowing.look();
    await lose();
    await unknowing.look([0]);
    await knowing.look();
    expect(await books(ledger)).toMatchObject({
      baseOffset: 0n,
      takenOffset: 20n,
      openCount: 19,
      counts: { restored: 1 },
    });
  });

  it('keeps what lies below books that were begun too late, until somebody brings back their beginning', async () => {
    const { ledger, lose } = begin();
    const [knowing, giving] = [new ReceiptsKeeper(ledger), new ReceiptsKeeper(ledger)];
    await open(ledger, 3n);
    await knowing.look([0]);
    await settle(ledger, giving, receipt(CHUNK - 2n, CHUNK + 3n));
    await lose();
    await open(ledger, CHUNK + 1n);
    await giving.look();
    await knowing.look();
    expect(await giving.look()).toEqual([{ partition: 0, receiptCount: 3 }]);
    expect(await books(ledger)).toMatchObject({ baseOffset: 3n, counts: { restored: 5 }, takenOffset: CHUNK + 3n });
  });

  it('gives back what a replica lacks that has taken over', async () => {
    const { ledger, lag } = begin();
    const keeper = new ReceiptsKeeper(ledger);
    await open(ledger, 0n);
    await settle(ledger, keeper, receipt(0n, 7n));
    const takeOver = await lag();
    await settle(ledger, keeper, receipt(8n), receipt(CHUNK - 2n, 2n * CHUNK + 5n));
    await take(ledger, 3n * CHUNK);
    await keeper.look();
    await settle(ledger, keeper, receipt(9n, 11n));
    await takeOver();
    await settle(ledger, keeper, receipt(12n));
    expect(await keeper.look()).toEqual([{ partition: 0, receiptCount: RECEIPTS_CHUNK + 10 }]);
    expect(await books(ledger)).toMatchObject({
      counts: { idle: 8, restored: RECEIPTS_CHUNK + 10 },
      takenOffset: 3n * CHUNK,
      firstOpenOffset: 7n,
      againCount: 0,
    });
  });

  it('waits for books that it has never seen, and forgets what it was told when there are none', async () => {
    const { ledger, lose } = begin();
    const [seen, unseen] = [new ReceiptsKeeper(ledger), new ReceiptsKeeper(ledger)];
    await open(ledger, 0n);
    await settle(ledger, unseen, receipt(2n));
    await seen.look([0]);
    await lose();
    await unseen.look();
    expect(await ledger.read([0])).toEqual([]);
    await seen.look();
    await unseen.look();
    expect(await books(ledger)).toMatchObject({ counts: { restored: 1 }, takenOffset: 3n });
    const lonely = new ReceiptsKeeper(ledger);
    lonely.given([receipt(4n, 5n, 'idle', 7)]);
    for (let i = 0; i < 110; i++) await lonely.look();
    await open(ledger, 0n, 7);
    await lonely.look();
    expect((await ledger.read([7]))[0]?.openCount).toBe(0);
  });

  it('remembers what it could not look for', async () => {
    const { ledger, lose } = begin();
    let isAway = false;
    const failing: Ledger = {
      ...ledger,
      open: (entries) => ledger.open(entries),
      settle: (receipts) => (isAway ? Promise.reject(new Error('away')) : ledger.settle(receipts)),
      take: (entries) => ledger.take(entries),
      copy: (partitions) => (isAway ? Promise.reject(new Error('away')) : ledger.copy(partitions)),
      restore: (copy) => (isAway ? Promise.reject(new Error('away')) : ledger.restore(copy)),
    };
    const keeper = new ReceiptsKeeper(failing);
    await open(ledger, 0n);
    await keeper.look([0]);
    await settle(ledger, keeper, receipt(2n));
    await lose();
    isAway = true;
    await expect(keeper.look()).rejects.toThrow('away');
    keeper.given([receipt(3n)]);
    isAway = false;
    await keeper.look();
    expect(await books(ledger)).toMatchObject({ counts: { restored: 2 } });
  });

  it('lets nothing be lost that a process knows which lives, whatever is lost and when', async () => {
    const KEEPERS = 3;
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant('settle' as const),
          by: fc.nat(KEEPERS - 1),
          from: fc.nat(140_000),
          length: fc.oneof(fc.constant(1), fc.nat(50), fc.nat(70_000)),
        }),
      },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('look' as const), by: fc.nat(KEEPERS - 1) }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constantFrom('lose' as const, 'lag' as const, 'take over' as const) }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('open' as const), offset: fc.nat(140_000) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('dies' as const), by: fc.nat(KEEPERS - 1) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(70_000), fc.array(step, { maxLength: 25 }), async (base, steps) => {
        const { ledger, lose, lag } = begin();
        const given = new Set<number>();
        const fresh = () => ({ keeper: new ReceiptsKeeper(ledger), own: new Set<number>(), seen: new Set<number>() });
        const processes = Array.from({ length: KEEPERS }, fresh);
        // What is in the books: changes with them.
        let entered = new Set<number>();
        let takeOver = { bring: lose as () => Promise<unknown>, entered: new Set<number>() };
        await open(ledger, BigInt(base));
        for (const { keeper } of processes) await keeper.look([0]);
        for (const one of steps) {
          if (one.kind === 'settle') {
            const process = processes[one.by] as (typeof processes)[0];
            await settle(ledger, process.keeper, receipt(BigInt(one.from), BigInt(one.from + one.length)));
            const hasBooks = (await ledger.read([0])).length > 0;
            const first = hasBooks ? Number((await books(ledger))?.baseOffset) : 0;
            for (let at = Math.max(one.from, base); at < one.from + one.length; at++) {
              given.add(at);
              process.own.add(at);
              if (hasBooks && at >= first) entered.add(at);
            }
          } else if (one.kind === 'look') {
            const process = processes[one.by] as (typeof processes)[0];
            await process.keeper.look([0]);
            for (const at of entered) process.seen.add(at);
            for (const at of [...process.own, ...process.seen]) entered.add(at);
          } else if (one.kind === 'dies') {
            processes[one.by] = fresh();
            await processes[one.by]?.keeper.look([0]);
            for (const at of entered) processes[one.by]?.seen.add(at);
          } else if (one.kind === 'open') {
            await open(ledger, BigInt(base + one.offset));
          } else if (one.kind === 'lag') {
            takeOver = { bring: await lag(), entered: new Set(entered) };
          } else {
            if (one.kind === 'lose') await lose();
            else await takeOver.bring();
            entered = one.kind === 'lose' ? new Set() : new Set(takeOver.entered);
            takeOver = { bring: lose, entered: new Set() };
          }
        }
        for (let i = 0; i < 2; i++) for (const { keeper } of processes) await keeper.look([0]);
        for (const { own, seen } of processes) for (const at of [...own, ...seen]) entered.add(at);
        const asked = Array.from({ length: 220_000 }, (_, at) => at).filter(
          (at) => at % 61 === 0 || given.has(at - 1) !== given.has(at),
        );
        const found = await ledger.settledAmong(0, SOURCE, asked.map(BigInt));
        const wrong = asked.filter((at) => found.has(BigInt(at)) !== entered.has(at));
        expect(wrong.slice(0, 5)).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });
});

it('takes nothing for a receipt of books that are lost, and begun anew later on, while it reads them', async () => {
  const { ledger, lose, sliceId } = aLedger(await connect('one node'));
  await open(ledger, 0n);
  await take(ledger, 30n);
  let losses = 0;
  const { port } = new URL(inject('redisUrl'));
  const gate = await openCommandGate(
    { port: Number(port) },
    {
      onCommand: async ({ name }) => {
        if (name === 'GETRANGE' && losses++ === 0) {
          await lose();
          await open(ledger, 20n);
        }
        return 'pass' as const;
      },
    },
  );
  onTestFinished(() => gate.close());
  const throughGate = new Redis(gate.port);
  onTestFinished(() => throughGate.disconnect());
  const keeper = new ReceiptsKeeper(createLedger(throughGate, { sliceId }));
  await keeper.look([0]);
  await open(ledger, 0n);
  await keeper.look([0]);
  expect(losses).toBeGreaterThan(1);
  expect(await books(ledger)).toMatchObject({ baseOffset: 0n, counts: {}, openCount: 30 });
});
