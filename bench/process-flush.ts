/**
 * Case `process-flush`: spans per second of `process` and of `flush` against the floor, for both layouts, with and
 * without compression. Each ratio is of two neighbours of the same round, so that both had the same machine; which of
 * the two goes first alternates. `process` is called batch by batch, `flush` for {@link FLUSH_SEGMENTS} segments at a
 * time, the floor in batches of the same size. {@link STREAMS} of each go on at once, as a consumer of as many partitions and
 * a flusher of as many shards have it, so that neither side waits for the other's replies all the time.
 */
import { type FlushedSegment, SpanBuffer } from '@spanbuf/buffer';
import { createRedisStore } from '@spanbuf/store';
import type { BenchCluster, Cost } from './bench-cluster.ts';
import { readFloor, removeFloor, writeFloor } from './floor.ts';
import { median, type Report, spread } from './report.ts';
import { commandName } from './script-names.ts';
import { LATER, NOW, type TypicalWorkload, typicalWorkload } from './workload.ts';

const WARM_UP_ROUNDS = 2;
const ROUNDS = 5;
const STREAMS = 4;
const SEGMENTS_PER_STREAM = 850;
const LEAST_RATIO = 0.6;
/** About as many spans as a batch of `process` has. */
const FLUSH_SEGMENTS = 240;
/** Commands that take less time per span are not shown. */
const LEAST_MICROS = 0.01;

interface Variant {
  readonly layout: 'colocated' | 'distributed';
  readonly compression: 'zstd' | 'none';
}

const VARIANTS: readonly Variant[] = [
  { layout: 'distributed', compression: 'zstd' },
  { layout: 'distributed', compression: 'none' },
  { layout: 'colocated', compression: 'zstd' },
  { layout: 'colocated', compression: 'none' },
];

interface Ours {
  readonly process: Cost;
  readonly flush: Cost;
  readonly messages: Cost;
  readonly done: Cost;
}

interface Floor {
  readonly write: Cost;
  readonly read: Cost;
  readonly remove: Cost;
}

type Round = { readonly ours: Ours; readonly floor: Floor };

/** What is compared: some of our steps with some of the floor's. Judged where a name is given for the expectation. */
const COMPARISONS: readonly {
  readonly name: string;
  readonly ours: (ours: Ours) => Cost[];
  readonly floor: (floor: Floor) => Cost[];
  readonly judged: boolean;
}[] = [
  { name: 'process / SET', ours: (o) => [o.process], floor: (f) => [f.write], judged: true },
  { name: 'flush / GET', ours: (o) => [o.flush], floor: (f) => [f.read], judged: true },
  { name: 'flush+messages / GET', ours: (o) => [o.flush, o.messages], floor: (f) => [f.read], judged: false },
  {
    name: 'flush+messages+done / GET+UNLINK',
    ours: (o) => [o.flush, o.messages, o.done],
    floor: (f) => [f.read, f.remove],
    judged: false,
  },
  {
    name: 'flush+messages+done / GET',
    ours: (o) => [o.flush, o.messages, o.done],
    floor: (f) => [f.read],
    judged: false,
  },
];

export async function processFlush(cluster: BenchCluster, report: Report): Promise<void> {
  const streams = Array.from({ length: STREAMS }, (_, stream) => typicalWorkload(SEGMENTS_PER_STREAM, stream));
  const total = (field: 'spanCount' | 'segmentCount' | 'subsegmentCount' | 'payloadBytes') =>
    streams.reduce((sum, stream) => sum + stream[field], 0);
  const [spanCount, segmentCount, subsegmentCount] = [
    total('spanCount'),
    total('segmentCount'),
    total('subsegmentCount'),
  ];
  const batchCount = streams.flatMap(({ batches }) => batches).length;
  report.heading('process and flush against storing without assembling');
  report.note(
    `${spanCount} spans in ${batchCount} batches of ${STREAMS} streams, ${segmentCount} traces in flight, ` +
      `${(spanCount / segmentCount).toFixed(1)} spans a segment, ${(spanCount / subsegmentCount).toFixed(1)} a subsegment, ` +
      `${Math.round(total('payloadBytes') / spanCount)} bytes a span; ${ROUNDS} rounds after ${WARM_UP_ROUNDS} of warm-up\n`,
  );
  const rounds = new Map<Variant, Round[]>(VARIANTS.map((variant) => [variant, []]));
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    for (const variant of VARIANTS) {
      const figures = await runRound(cluster, streams, variant, round % 2 === 0);
      if (round >= 0) rounds.get(variant)?.push(figures);
    }
  }
  for (const [variant, figures] of rounds) printVariant(report, variant, figures, spanCount);
  await printRedisTime(cluster, report, streams, spanCount);
}

async function runRound(
  cluster: BenchCluster,
  streams: readonly TypicalWorkload[],
  variant: Variant,
  floorFirst: boolean,
): Promise<Round> {
  const { client } = cluster;
  const buffer = new SpanBuffer(createRedisStore(client, variant));
  const onAll = <T>(action: (stream: TypicalWorkload) => Promise<T>) =>
    cluster.measure(() => Promise.all(streams.map(action)));
  const write = () => onAll((stream) => writeFloor(client, stream));
  const read = () => onAll((stream) => readFloor(client, stream));
  const process = () => onAll((stream) => processAll(buffer, stream));
  const flush = () => onAll((stream) => flushAll(buffer, stream));
  const [w, p] = floorFirst ? [await write(), await process()] : await reversed(process, write);
  const [r, f] = floorFirst ? [await read(), await flush()] : await reversed(flush, read);
  const messages = await cluster.measure(() => buildMessages(f.result.flat()));
  const remove = () => onAll((stream) => removeFloor(client, stream));
  const done = () => cluster.measure(() => Promise.all(f.result.map((pages) => doneAll(buffer, pages))));
  const [u, d] = floorFirst ? [await remove(), await done()] : await reversed(done, remove);
  await cluster.clear();
  return {
    ours: { process: p.cost, flush: f.cost, messages: messages.cost, done: d.cost },
    floor: { write: w.cost, read: r.cost, remove: u.cost },
  };
}

/** Runs the first, then the second; answers the other way round. */
async function reversed<A, B>(first: () => Promise<A>, second: () => Promise<B>): Promise<[B, A]> {
  const a = await first();
  return [await second(), a];
}

export async function processAll(
  buffer: SpanBuffer,
  { batches }: { batches: TypicalWorkload['batches'] },
): Promise<void> {
  for (const batch of batches) {
    const { accepted } = await buffer.process(batch, { now: NOW });
    if (accepted !== batch.length) throw new Error(`${accepted} of ${batch.length} spans were accepted`);
  }
}

async function flushAll(buffer: SpanBuffer, { spanCount, partitions }: TypicalWorkload): Promise<FlushedSegment[][]> {
  const pages: FlushedSegment[][] = [];
  let spans = 0;
  for (;;) {
    const page = await buffer.flush({ now: LATER, shards: partitions, limit: FLUSH_SEGMENTS });
    if (page.length === 0) break;
    pages.push(page);
    for (const segment of page) spans += segment.spanCount;
  }
  if (spans !== spanCount) throw new Error(`${spans} of ${spanCount} spans were flushed`);
  return pages;
}

function buildMessages(pages: readonly FlushedSegment[][]): number {
  let bytes = 0;
  for (const segment of pages.flat()) for (const { value } of segment.messages()) bytes += value.length;
  return bytes;
}

async function doneAll(buffer: SpanBuffer, pages: readonly FlushedSegment[][]): Promise<void> {
  for (const page of pages) await buffer.done(page);
}

function printVariant(report: Report, variant: Variant, rounds: readonly Round[], spanCount: number): void {
  const name = `${variant.layout}, ${variant.compression}`;
  const judges = variant.layout === 'distributed' && variant.compression === 'none';
  const perSpan = (costs: readonly Cost[], field: keyof Cost) =>
    costs.reduce((sum, cost) => sum + cost[field], 0) / spanCount;
  const figures: Record<string, unknown> = {};
  const rows = COMPARISONS.map((comparison) => {
    const sides = rounds.map(({ ours, floor }) => [comparison.ours(ours), comparison.floor(floor)] as const);
    const speeds = ([0, 1] as const).map((side) => sides.map((costs) => 1e3 / perSpan(costs[side], 'wallMicros')));
    const ratios = sides.map(([ours, floor]) => perSpan(floor, 'wallMicros') / perSpan(ours, 'wallMicros'));
    const both = (field: keyof Cost, digits: number) =>
      ([0, 1] as const)
        .map((side) => median(sides.map((costs) => perSpan(costs[side], field))).toFixed(digits))
        .join(' / ');
    const ratio = median(ratios);
    const verdict =
      comparison.judged && judges
        ? report.atLeast(`${name}: ${comparison.name}`, ratio, LEAST_RATIO)
        : ratio.toFixed(2);
    figures[comparison.name] = { ratio, ratios, kiloSpansPerSecond: speeds.map(median) };
    return [
      comparison.name,
      spread(speeds[0] as number[], 1),
      spread(speeds[1] as number[], 1),
      verdict,
      `${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)}`,
      both('clientMicros', 1),
      both('redisMicros', 1),
      both('scriptMicros', 1),
      both('scriptCalls', 3),
    ];
  });
  report.note(`${name} (ours / floor; microseconds and calls are per span; Redis: CPU of all nodes)`);
  report.table(
    [
      '',
      'ours, k spans/s',
      'floor, k spans/s',
      'ratio',
      'min-max',
      'client us',
      'Redis us',
      'in scripts us',
      'script calls',
    ],
    rows,
  );
  report.figures[`process-flush ${name}`] = figures;
}

/** One more round of each layout, with every command logged, which slows it down: where the time of Redis goes. */
async function printRedisTime(
  cluster: BenchCluster,
  report: Report,
  streams: readonly TypicalWorkload[],
  spanCount: number,
): Promise<void> {
  for (const layout of ['distributed', 'colocated'] as const) {
    const buffer = new SpanBuffer(createRedisStore(cluster.client, { layout }));
    const rows: (string | number)[][] = [];
    const log = async <T>(phase: string, action: () => Promise<T>): Promise<T> => {
      await cluster.logCommands(0);
      const result = await action();
      const commands = (await cluster.loggedCommands()).map(({ args, micros }) => ({
        name: commandName(args),
        micros,
      }));
      for (const name of new Set(commands.map((command) => command.name))) {
        const times = commands.filter((command) => command.name === name).map(({ micros }) => micros);
        const micros = times.reduce((sum, time) => sum + time, 0);
        if (micros / spanCount < LEAST_MICROS) continue;
        const [perSpan, perCall] = [micros / spanCount, micros / times.length];
        rows.push([phase, name, perSpan.toFixed(2), times.length, perCall.toFixed(1), Math.max(...times)]);
      }
      return result;
    };
    await log('process', () => Promise.all(streams.map((stream) => processAll(buffer, stream))));
    const pages = await log('flush', () => Promise.all(streams.map((stream) => flushAll(buffer, stream))));
    await log('done', () => Promise.all(pages.map((some) => doneAll(buffer, some))));
    await cluster.logCommands(-1);
    await cluster.clear();
    report.note(`Time inside Redis commands, ${layout}`);
    report.table(['phase', 'command', 'us a span', 'calls', 'us a call', 'longest us'], rows);
  }
}
