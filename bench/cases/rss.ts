/** Case `rss`: the most memory that the services ever use, with more to do than fits into it. */
import { setTimeout as delay } from 'node:timers/promises';
import { type AppProcess, until } from '@spanbuf/stack/processes';
import type { BenchCase } from '../bench-case.ts';
import type { Recording } from '../report/recording.ts';
import { fillBacklog } from '../system/backlog.ts';
import { BenchSystem, INPUT_TOPIC } from '../system/bench-system.ts';
import { peakRssBytes } from '../system/process-usage.ts';
import { scaled } from '../workload/spans.ts';

const PARTITIONS = 8;
const BACKLOG_SPANS = 5_000_000;
/** 2 GB. */
const DUE_SPANS = 2_000_000;
const SPANS_PER_SECOND = 2_400;
/** Of message time, in which what is due at once comes, and after which the rest comes. */
const DUE_SECONDS = 5;
const PAUSE_SECONDS = 100;
const MOST_MEGABYTES = 400;
const STEP_SECONDS = 1_800;
/** Of each partition, past what is to be due: message time has moved on then. */
const MARGIN_SPANS = 8_000;

/** The consumer is to go on although nobody flushes. */
const UNPAUSED = { SPANBUF_PAUSE_WITHOUT_FLUSHER_SECONDS: '86400', SPANBUF_PAUSE_OVERDUE_SECONDS: '86400' };

export const rss: BenchCase = {
  name: 'rss',
  title: 'Peak memory of the services',
  floor: 'none: a limit in megabytes',
  run: (recording, size) => BenchSystem.with(PARTITIONS, (system) => run(recording, size, system)),
};

async function run(recording: Recording, size: number, system: BenchSystem): Promise<void> {
  const [spans, dueSpans] = [scaled(BACKLOG_SPANS, size, 250_000), scaled(DUE_SPANS, size, 100_000)];
  const startMs = Date.now() - (spans / SPANS_PER_SECOND + 1_000) * 1_000;
  const duePerPartition = Math.ceil(dueSpans / PARTITIONS);
  recording.progress(`filling the input topic with ${spans} spans`);
  const backlog = await fillBacklog(system.kafka, {
    topic: INPUT_TOPIC,
    partitions: PARTITIONS,
    spans,
    spansPerSecond: SPANS_PER_SECOND,
    timeMs: (index) =>
      index < duePerPartition
        ? startMs + (1_000 * DUE_SECONDS * index) / duePerPartition
        : startMs + 1_000 * (PAUSE_SECONDS + ((index - duePerPartition) * PARTITIONS) / SPANS_PER_SECOND),
  });
  const spanBytes = backlog.payloadBytes / backlog.spans;
  recording.workload(
    `a backlog of ${backlog.spans} spans of ${Math.round(spanBytes)} bytes in ${PARTITIONS} partitions; the flusher starts when the first ` +
      `${dueSpans} of them, ${((dueSpans * spanBytes) / 1e9).toFixed(1)} GB, are held and due`,
  );
  const { outputTopic, group } = await system.freshRun();
  const consumer = await system.startConsumer(group, UNPAUSED);
  const apps: AppProcess[] = [consumer];
  try {
    const consumed = () => sumOf(consumer, 'spanbuf_consumer_spans_total');
    const margin = Math.min(MARGIN_SPANS * PARTITIONS, spans - dueSpans);
    await waitFor(apps, 'what is to be due is held', async () => (await consumed()) >= dueSpans + margin);
    const heldBytes = await system.redisBytes();
    recording.progress('starting the flusher');
    const flusher = await system.startFlusher(outputTopic);
    apps.push(flusher);
    const flushed = () => sumOf(flusher, 'spanbuf_flusher_spans_total');
    await waitFor(apps, 'what was due is out', async () => (await flushed()) >= dueSpans);
    await waitFor(apps, 'all is read', async () => (await consumed()) >= spans);
    const rows = apps.map(({ name, pid }) => {
      const megabytes = peakRssBytes(pid) / 1e6;
      return [
        name,
        recording.expect(`peak RSS of the ${name}, MB`, megabytes, { acceptance: 9, atMost: MOST_MEGABYTES }, 0),
      ];
    });
    recording.table('Most memory in use at once (VmHWM), MB', ['', 'MB'], rows);
    recording.note(`Redis held ${(heldBytes / 1e9).toFixed(2)} GB when the flusher started.`);
    recording.chart({
      id: 'rss',
      title: 'Peak memory of the services',
      unit: 'MB',
      bars: apps.map(({ name, pid }) => ({ label: name, value: peakRssBytes(pid) / 1e6 })),
      limit: { value: MOST_MEGABYTES, label: `${MOST_MEGABYTES} MB` },
    });
  } finally {
    await Promise.all(apps.map((app) => app.kill()));
  }
}

async function waitFor(apps: readonly AppProcess[], what: string, condition: () => Promise<boolean>): Promise<void> {
  await until(what, STEP_SECONDS, async () => {
    for (const app of apps) if (app.hasEnded) throw new Error(`${app.name} ended:\n${app.lastWords}`);
    await delay(500);
    return condition();
  });
}

async function sumOf(app: AppProcess, metric: string): Promise<number> {
  return (await app.metrics()).sum(metric, {});
}
