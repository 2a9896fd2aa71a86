import { createMemoryStore, LAYOUTS, type LayoutName, type ParkedGeneration, type SegmentStore } from '@spanbuf/store';
import { connect } from '@spanbuf/tooling/redis-clients';
import fc from 'fast-check';
import type { Cluster, Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { type FlushedSegment, type Span, SpanBuffer, type SpanBufferOptions } from '../src/index.ts';
import { aSlice, aSpan, aTraceId, id, openStore, REDIS_KINDS, T0 } from './spans.ts';

/**
 * Random forests go through a Redis store and through the memory store, which is the model: the same calls must give the
 * same messages, to the byte. Besides, every position comes out exactly once.
 */

const PARTITIONS = 3;
const ALL = { limit: 10_000 };

interface SpanPlan {
  readonly trace: number;
  readonly span: number;
  readonly parent: number | null;
  readonly isSegmentSpan: boolean;
  readonly segment: number | null;
  readonly partition: number;
}

type Ending = 'done' | 'release' | 'keep' | 'park';

type Step =
  | { readonly kind: 'process'; readonly count: number }
  /** Processes a stretch of one partition's log again, cut anew. */
  | { readonly kind: 'replay'; readonly partition: number; readonly from: number; readonly count: number }
  | { readonly kind: 'flush'; readonly ending: Ending }
  | { readonly kind: 'retry' }
  | { readonly kind: 'wait'; readonly seconds: number }
  | { readonly kind: 'layout'; readonly layout: LayoutName };

interface Scenario {
  readonly spans: readonly SpanPlan[];
  readonly steps: readonly Step[];
  readonly options: SpanBufferOptions;
}

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('process' as const), count: fc.integer({ min: 1, max: 40 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('replay' as const),
      partition: fc.nat(PARTITIONS - 1),
      from: fc.nat(200),
      count: fc.integer({ min: 1, max: 60 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('flush' as const),
      ending: fc.constantFrom<Ending>('done', 'done', 'done', 'release', 'keep', 'park'),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'retry' as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 70 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('layout' as const), layout: fc.constantFrom(...LAYOUTS) }) },
);

function scenarios(spans: { min: number; max: number }, ids: number): fc.Arbitrary<Scenario> {
  const plan = fc.record({
    trace: fc.nat(3),
    span: fc.nat(ids - 1),
    parent: fc.option(fc.nat(ids - 1), { freq: 12 }),
    isSegmentSpan: fc.nat(19).map((n) => n === 0),
    segment: fc
      .option(fc.nat(ids - 1), { freq: 1 })
      .map((segment) => (segment !== null && segment % 5 === 0 ? segment : null)),
    partition: fc.nat(PARTITIONS - 1),
  });
  return fc.record({
    spans: fc.array(plan, { minLength: spans.min, maxLength: spans.max, size: 'max' }),
    steps: fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }),
    options: fc.record({
      maxSegmentBytes: fc.constantFrom(undefined, 300, 2_000),
      maxMessageBytes: fc.constantFrom(undefined, 700),
    }),
  });
}

/** The logs of the partitions: the spans in their order, with the position as their payload. */
function logsOf(plans: readonly SpanPlan[]): Span[][] {
  const traceIds = Array.from({ length: 4 }, aTraceId);
  const logs: Span[][] = Array.from({ length: PARTITIONS }, () => []);
  for (const { trace, span, parent, isSegmentSpan, segment, partition } of plans) {
    const log = logs[partition] as Span[];
    const spanId = id(span);
    const payload = Buffer.from(JSON.stringify({ span_id: spanId, at: [partition, log.length] }));
    const more = { partition, offset: BigInt(log.length), payload, segmentId: segment === null ? null : id(segment) };
    const made = aSpan(traceIds[trace] as string, spanId, parent === null ? null : id(parent), more);
    log.push({ ...made, isSegmentSpan: isSegmentSpan || made.isSegmentSpan });
  }
  return logs;
}

/** What a consumer of the output topic sees, in an order that does not depend on the store. */
function seen(segments: readonly FlushedSegment[]): string[] {
  return segments
    .flatMap((segment) => {
      const { key, segmentId, generation, reason, rootSeen, payloadBytes, firstSeconds, lastSeconds, shard } = segment;
      const head = JSON.stringify([
        key,
        segmentId,
        generation,
        reason,
        rootSeen,
        payloadBytes,
        firstSeconds,
        lastSeconds,
        shard,
      ]);
      return segment.messages().map(({ value }) => `${head} ${value}`);
    })
    .sort();
}

function positionsIn(segments: readonly FlushedSegment[]): string[] {
  return segments.flatMap((segment) =>
    segment.messages().flatMap(({ value }) => {
      const { spans } = JSON.parse(String(value)) as { spans: { at: [number, number] }[] };
      return spans.map(({ at }) => at.join('/'));
    }),
  );
}

async function expectLikeModel(
  scenario: Scenario,
  open: (layout: LayoutName) => SegmentStore,
  layout: LayoutName,
): Promise<void> {
  const logs = logsOf(scenario.spans);
  const taken = logs.map(() => 0);
  const modelStore = createMemoryStore();
  const model = new SpanBuffer(modelStore, scenario.options);
  let testedStore = open(layout);
  let tested = new SpanBuffer(testedStore, scenario.options);
  let now = T0;
  const out: FlushedSegment[] = [];
  const kept: { segments: FlushedSegment[]; buffer: SpanBuffer }[] = [];

  const process = async (spans: Span[]): Promise<void> => {
    const [expected, actual] = await Promise.all([model.process(spans, { now }), tested.process(spans, { now })]);
    expect(actual).toEqual(expected);
  };
  const retry = async (): Promise<void> => {
    const [expected, actual] = await Promise.all([modelStore, testedStore].map((store) => store.listParked(ALL)));
    const facts = (parked: readonly ParkedGeneration[] | undefined) =>
      parked?.map(({ ref: _, parkedSeconds: __, ...rest }) => JSON.stringify(Object.entries(rest).sort())).sort();
    expect(facts(actual)).toEqual(facts(expected));
    await modelStore.retryParked(expected as ParkedGeneration[]);
    await testedStore.retryParked(actual as ParkedGeneration[]);
  };
  const flush = async (ending: Ending, drain = false): Promise<number> => {
    const [expected, actual] = await Promise.all([model.flush({ now, drain }), tested.flush({ now, drain })]);
    expect(seen(actual)).toEqual(seen(expected));
    if (ending === 'keep') {
      kept.push({ segments: expected, buffer: model }, { segments: actual, buffer: tested });
    } else if (ending === 'park') {
      const toPark = (segments: FlushedSegment[]) => segments.map((segment) => ({ segment, reason: 'refused' }));
      await Promise.all([model.park(toPark(expected)), tested.park(toPark(actual))]);
    } else {
      await Promise.all([model[ending](expected), tested[ending](actual)]);
      if (ending === 'done') out.push(...actual);
    }
    return actual.length;
  };
  const processNext = async (count: number): Promise<void> => {
    const batch = logs.flatMap((log, partition) => {
      const from = taken[partition] as number;
      taken[partition] = Math.min(log.length, from + Math.ceil(count / PARTITIONS));
      return log.slice(from, taken[partition]);
    });
    await process(batch);
  };

  for (const one of scenario.steps) {
    if (one.kind === 'process') await processNext(one.count);
    else if (one.kind === 'flush') await flush(one.ending);
    else if (one.kind === 'wait') now += one.seconds;
    else if (one.kind === 'retry') await retry();
    else if (one.kind === 'layout') {
      testedStore = open(one.layout);
      tested = new SpanBuffer(testedStore, scenario.options);
    } else
      await process(
        (logs[one.partition] as Span[]).slice(one.from, Math.min(one.from + one.count, taken[one.partition] as number)),
      );
  }
  while (taken.some((count, partition) => count < (logs[partition] as Span[]).length)) await processNext(90);
  for (const { segments, buffer } of kept) await buffer.release(segments);
  await retry();
  while ((await flush('done', true)) > 0);
  const expected = logs.flatMap((log, partition) => log.map((_, offset) => `${partition}/${offset}`));
  expect(positionsIn(out).sort()).toEqual(expected.sort());
}

function modelTests(client: Redis | Cluster, layout: LayoutName, runs: { small: number; large: number }): void {
  const property = (arbitrary: fc.Arbitrary<Scenario>) =>
    fc.asyncProperty(arbitrary, async (scenario) => {
      const slice = aSlice();
      await expectLikeModel(scenario, (name) => openStore(client, name, slice), layout);
    });

  it('gives what the model gives for small forests with circles, repeated ids and replays', async () => {
    await fc.assert(property(scenarios({ min: 1, max: 60 }, 12)), { numRuns: runs.small });
  }, 120_000);

  it('gives what the model gives for thousands of spans', async () => {
    await fc.assert(property(scenarios({ min: 1_000, max: 3_000 }, 900)), { numRuns: runs.large, endOnFailure: true });
  }, 120_000);
}

describe.each(REDIS_KINDS)('model, starting with $layout on $topology', async ({ layout, topology }) => {
  modelTests(await connect(topology), layout, { small: 30, large: 2 });
});
