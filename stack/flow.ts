import { grouped } from './format-audit.ts';
import type { AppProcess } from './processes.ts';
import { CONSUMER_GROUP, type Stack, TOPICS } from './stack.ts';

/** What of the apps' metrics is looked at. */
const METRICS = {
  consumed: 'spanbuf_consumer_spans_total',
  paused: 'spanbuf_consumer_paused',
  memoryShare: 'spanbuf_consumer_redis_memory_share',
  produced: 'spanbuf_flusher_spans_total',
  segments: 'spanbuf_flusher_segments_total',
  queued: 'spanbuf_flusher_queued_segments',
} as const;

/** What has gone where so far, in messages and spans. */
export interface Flow {
  /** In the input topic. */
  readonly sent: number;
  /** Of them, those whose offsets are not committed. */
  readonly lag: number;
  /** Taken into the buffer. */
  readonly stored: number;
  readonly deadLettered: number;
  readonly dropped: number;
  readonly spansOut: number;
  readonly segmentsOut: number;
  /** Segments that wait, are being flushed, or were put aside. */
  readonly waiting: number;
  readonly parked: number;
  /** Of the fullest Redis node, 0 to 1. */
  readonly redisShare: number;
  readonly isPaused: boolean;
}

/** Asks Kafka and all apps. An app that does not answer counts as it did not count anything. */
export async function readFlow(stack: Stack): Promise<Flow> {
  const { kafka, consumers, flushers } = stack;
  const [watermarks, committed, consumed, flushed] = await Promise.all([
    kafka.readWatermarks(TOPICS.input),
    kafka.readCommitted(CONSUMER_GROUP, TOPICS.input),
    metricsOf(consumers),
    metricsOf(flushers),
  ]);
  let [sent, lag] = [0n, 0n];
  for (const [partition, { low, high }] of watermarks) {
    sent += high - low;
    lag += high - (committed.get(partition) ?? low);
  }
  const total = (all: typeof consumed, name: string, labels = {}): number =>
    all.reduce((sum, samples) => sum + samples.sum(name, labels), 0);
  // Each flusher looks at all queues.
  const queued = (state: string): number => Math.max(0, ...flushed.map((each) => each.sum(METRICS.queued, { state })));
  return {
    sent: Number(sent),
    lag: Number(lag),
    stored: total(consumed, METRICS.consumed, { outcome: 'accepted' }),
    deadLettered: total(consumed, METRICS.consumed, { outcome: 'invalid' }),
    dropped: total(consumed, METRICS.consumed, { outcome: 'dropped' }),
    spansOut: total(flushed, METRICS.produced),
    segmentsOut: total(flushed, METRICS.segments),
    waiting: queued('due') + queued('in-flight'),
    parked: queued('parked'),
    redisShare: Math.max(0, ...consumed.flatMap((each) => each.valuesOf(METRICS.memoryShare))),
    isPaused: total(consumed, METRICS.paused) > 0,
  };
}

async function metricsOf(apps: readonly AppProcess[]) {
  const answers = await Promise.allSettled(apps.map((app) => app.metrics()));
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
}

/** One line. */
export function formatFlow(flow: Flow, before: Flow | undefined, elapsedSeconds: number): string {
  const rate = (key: 'sent' | 'stored' | 'spansOut'): string =>
    before === undefined ? '' : ` (${grouped(Math.round((flow[key] - before[key]) / elapsedSeconds))}/s)`;
  return [
    `sent ${grouped(flow.sent)}${rate('sent')}`,
    `lag ${grouped(flow.lag)}${flow.isPaused ? ' PAUSED' : ''}`,
    `stored ${grouped(flow.stored)}${rate('stored')}`,
    `waiting ${grouped(flow.waiting)} segments`,
    `out ${grouped(flow.spansOut)}${rate('spansOut')} in ${grouped(flow.segmentsOut)}`,
    `dead letters ${grouped(flow.deadLettered)}`,
    `Redis ${Math.round(100 * flow.redisShare)} %`,
  ].join(' | ');
}

/** Whether nothing is on its way. */
export function isDrained({ lag, waiting, stored, spansOut, parked }: Flow): boolean {
  return lag === 0 && waiting === 0 && (stored === spansOut || parked > 0);
}

/** What was sent, and where it is, on one line. */
export function formatBalance(flow: Flow): { text: string; isBalanced: boolean } {
  const { sent, spansOut, deadLettered, dropped, stored, lag, parked } = flow;
  const held = stored - spansOut;
  const isBalanced = sent === spansOut + deadLettered + dropped + held + lag && held === 0 && lag === 0 && parked === 0;
  const text =
    `sent ${grouped(sent)} = out ${grouped(spansOut)} + dead-lettered ${grouped(deadLettered)} + dropped ${grouped(dropped)}` +
    ` + held ${grouped(held)} + not read ${grouped(lag)}; parked segments ${grouped(parked)}`;
  return { text: `${text}: ${isBalanced ? 'balanced' : 'NOT BALANCED'}`, isBalanced };
}
