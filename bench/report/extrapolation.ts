/**
 * What a million spans a second would take, from what one span was measured to cost. Every number that was not measured is
 * an assumption, and the page says so.
 */
import { markdownTable } from './markdown-table.ts';
import type { CaseResult } from './result.ts';

export const ASSUMPTIONS = {
  spansPerSecond: 1_000_000,
  /** Of a core, and of the memory of a node, so that there is room for a peak and for a node that fails. */
  load: 0.6,
  /** From the first span of a segment to its last. */
  arrivalSeconds: 2,
  /** `SPANBUF_ROOT_TIMEOUT_SECONDS`. */
  quietSeconds: 10,
  /** Between due and done. */
  flushSeconds: 2,
  /** `SPANBUF_DEDUPE_WINDOW_SECONDS`. */
  dedupeSeconds: 120,
  nodeMemoryBytes: 32e9,
  /** What one partition holds up when its consumer is replaced, and what Kafka advises, are below what it could take. */
  partitionLoad: 0.25,
} as const;

/** Of a span: microseconds of CPU, and bytes. */
export interface SpanCosts {
  readonly consumerMicros: number;
  readonly flusherMicros: number;
  readonly kafkaMicros: number;
  readonly redisMicros: number;
  readonly redisInBytes: number;
  readonly redisOutBytes: number;
  /** Of memory: while it is held, and while its trace is known. */
  readonly heldBytes: number;
  readonly keptBytes: number;
  /** Compressed, as they lie in the topics. */
  readonly inputBytes: number;
  readonly outputBytes: number;
  /** What one partition takes when nothing else goes on. */
  readonly partitionSpansPerSecond: number;
}

export interface Needs {
  readonly consumers: number;
  readonly flushers: number;
  readonly redisMasters: number;
  /** Whether memory or CPU decides. */
  readonly redisLimit: 'CPU' | 'memory';
  readonly redisMemoryBytes: number;
  readonly redisGbitPerSecond: number;
  readonly kafkaCores: number;
  readonly kafkaGbitPerSecond: number;
  readonly partitions: number;
}

export function needsOf(costs: SpanCosts): Needs {
  const { spansPerSecond, load, nodeMemoryBytes } = ASSUMPTIONS;
  const cores = (micros: number) => (spansPerSecond * micros) / 1e6;
  const loaded = (micros: number) => Math.ceil(cores(micros) / load);
  const heldSeconds = ASSUMPTIONS.arrivalSeconds + ASSUMPTIONS.quietSeconds + ASSUMPTIONS.flushSeconds;
  const redisMemoryBytes =
    spansPerSecond * (heldSeconds * costs.heldBytes + ASSUMPTIONS.dedupeSeconds * costs.keptBytes);
  const byMemory = Math.ceil(redisMemoryBytes / (nodeMemoryBytes * load));
  const byCpu = loaded(costs.redisMicros);
  const consumers = loaded(costs.consumerMicros);
  const byRate = Math.ceil(spansPerSecond / (costs.partitionSpansPerSecond * ASSUMPTIONS.partitionLoad));
  return {
    consumers,
    flushers: loaded(costs.flusherMicros),
    redisMasters: Math.max(byMemory, byCpu),
    redisLimit: byMemory > byCpu ? 'memory' : 'CPU',
    redisMemoryBytes,
    redisGbitPerSecond: gbit(costs.redisInBytes + costs.redisOutBytes),
    kafkaCores: loaded(costs.kafkaMicros),
    // The input is written and read, the output is written.
    kafkaGbitPerSecond: gbit(2 * costs.inputBytes + costs.outputBytes),
    // Whole shares for all consumers.
    partitions: Math.ceil(byRate / consumers) * consumers,
  };
}

const gbit = (bytes: number) => (ASSUMPTIONS.spansPerSecond * bytes * 8) / 1e9;

/** The costs in the figures of the cases; undefined while one of them is missing. */
export function costsOf(results: readonly CaseResult[]): SpanCosts | undefined {
  const figure = (name: string, key: string) => results.find((result) => result.case === name)?.figures[key];
  const sum = (measure: string) =>
    ['process', 'flush', 'done'].reduce(
      (total, step) => total + (figure('typical', `none.${step}.${measure}`) ?? Number.NaN),
      0,
    );
  const costs = {
    consumerMicros: figure('e2e', 'consumerMicros') ?? Number.NaN,
    flusherMicros: figure('e2e', 'flusherMicros') ?? Number.NaN,
    kafkaMicros: figure('e2e', 'kafkaMicros') ?? Number.NaN,
    redisMicros: figure('e2e', 'redisMicros') ?? Number.NaN,
    redisInBytes: sum('inBytes'),
    redisOutBytes: sum('outBytes'),
    heldBytes: figure('memory', 'none.heldBytes') ?? Number.NaN,
    keptBytes: figure('memory', 'none.keptBytes') ?? Number.NaN,
    inputBytes: figure('e2e', 'inputBytes') ?? Number.NaN,
    outputBytes: figure('e2e', 'outputBytes') ?? Number.NaN,
    partitionSpansPerSecond: figure('scale', 'oneShardSpansPerSecond') ?? Number.NaN,
  };
  return Object.values(costs).some(Number.isNaN) ? undefined : costs;
}

export function extrapolation(results: readonly CaseResult[]): string {
  const costs = costsOf(results);
  if (costs === undefined) return '*Needs the cases typical, memory, e2e and scale.*';
  const needs = needsOf(costs);
  const { load, arrivalSeconds, quietSeconds, flushSeconds, dedupeSeconds, nodeMemoryBytes, partitionLoad } =
    ASSUMPTIONS;
  const measured = markdownTable({
    title: '',
    header: ['measured, of one span', ''],
    rows: [
      ['CPU of the consumer', `${costs.consumerMicros.toFixed(1)} us`],
      ['CPU of the flusher', `${costs.flusherMicros.toFixed(1)} us`],
      ['CPU of all Redis nodes', `${costs.redisMicros.toFixed(1)} us`],
      ['CPU of the Kafka broker', `${costs.kafkaMicros.toFixed(1)} us`],
      ['memory of Redis while it is held', `${costs.heldBytes.toFixed(0)} bytes`],
      ['memory of Redis while its trace is known', `${costs.keptBytes.toFixed(0)} bytes`],
      ['to and from Redis', `${costs.redisInBytes.toFixed(0)} and ${costs.redisOutBytes.toFixed(0)} bytes`],
      ['in the topics, compressed', `${costs.inputBytes.toFixed(0)} and ${costs.outputBytes.toFixed(0)} bytes`],
      ['one partition alone', `${Math.round(costs.partitionSpansPerSecond).toLocaleString('en-US')} spans/s`],
    ],
  });
  const table = markdownTable({
    title: '',
    header: ['for 1,000,000 spans/s', ''],
    rows: [
      ['consumers, one core each', `${needs.consumers}`],
      ['flushers, one core each', `${needs.flushers}`],
      [
        'Redis masters',
        `${needs.redisMasters} (${needs.redisLimit} decides); as many replicas, if there are to be any`,
      ],
      ['memory of Redis, without replicas', `${(needs.redisMemoryBytes / 1e9).toFixed(0)} GB`],
      ['network of Redis, all masters', `${needs.redisGbitPerSecond.toFixed(1)} Gbit/s`],
      ['cores of Kafka, without replication', `${needs.kafkaCores}`],
      ['network of Kafka, without replication', `${needs.kafkaGbitPerSecond.toFixed(1)} Gbit/s`],
      ['partitions of the input topic', `${needs.partitions}`],
    ],
  });
  const assumptions = [
    'Assumed: all segments are like those of [typical](#typical), and everything grows with their number, as far as ' +
      '[scale](#scale) shows it; what others cost is in [small](#small) and [flat](#flat); CPU and memory are planned ' +
      `to ${load * 100} %`,
    `a span is held for ${arrivalSeconds + quietSeconds + flushSeconds} s (${arrivalSeconds} s until its segment is complete, ` +
      `${quietSeconds} s of quiet, ${flushSeconds} s until it is done), its trace known for ${dedupeSeconds} s more`,
    `a Redis node has ${nodeMemoryBytes / 1e9} GB and one core`,
    `a partition is given ${partitionLoad * 100} % of what it takes alone, and all consumers have equally many`,
    'payloads are not compressed in Redis; the topics are, with zstd. The spans are the recorded ones of this repository, ' +
      'which compress better than those of many services together',
    'cores are those of the machine above',
  ];
  return [measured, table, `${assumptions.join('; ')}.`].join('\n\n');
}
