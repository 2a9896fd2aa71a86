/** Case `e2e`: Kafka to consumer to Redis Cluster to flusher to Kafka, beside only copying the topic. */
import { setTimeout as delay } from 'node:timers/promises';
import { type AppProcess, type ChildProgram, until } from '@spanbuf/stack/processes';
import type { BenchCase } from '../bench-case.ts';
import type { Recording } from '../report/recording.ts';
import { bar, median, quantile, spread } from '../report/statistics.ts';
import { type Backlog, fillBacklog, moveTimeOn, sendAll } from '../system/backlog.ts';
import { BenchSystem, type CpuTimes, INPUT_TOPIC } from '../system/bench-system.ts';
import { readLatencies } from '../system/read-latencies.ts';
import { SpanStream } from '../system/span-stream.ts';
import { scaled } from '../workload/spans.ts';

const PARTITIONS = 8;
const SPANS = 400_000;
const ROUNDS = 3;
/** Of message time: with 10 s of quiet about 1,700 traces are in flight. */
const SPANS_PER_SECOND = 2_400;
const LEAST_RATIO = 0.5;
const STEP_SECONDS = 300;
const NEARLY = 0.9;
const ASK_MS = 250;

/** Of the run whose times are measured: a part of what the round before could do, and not too much for one that only sends. */
const PACED_SHARE = 0.4;
const MOST_PACED_SPANS_PER_SECOND = 5_000;
const PACED_SECONDS = 40;
const PACED_STEP_MS = 20;
/** Default of the services. */
const QUIET_SECONDS = 10;

interface Measured {
  readonly spansPerSecond: number;
  /** CPU microseconds a span, which is seconds a million. */
  readonly cpuMicros: CpuTimes;
}

export const e2e: BenchCase = {
  name: 'e2e',
  title: 'From topic to topic',
  floor:
    'a process that copies the input topic message by message with kafkajs: zstd, acknowledged by all replicas, 2,000 messages a request, ' +
    '8 partitions at once',
  run: (recording, size) => BenchSystem.with(PARTITIONS, (system) => run(recording, size, system)),
};

async function run(recording: Recording, size: number, system: BenchSystem): Promise<void> {
  const { kafka } = system;
  const backlog = await fillBacklog(kafka, {
    topic: INPUT_TOPIC,
    partitions: PARTITIONS,
    spans: scaled(SPANS, size, 20_000),
    spansPerSecond: SPANS_PER_SECOND,
  });
  const inputBytes = system.bytesOf(INPUT_TOPIC) / backlog.spans;
  recording.workload(
    `${backlog.spans} typical spans of ${Math.round(backlog.payloadBytes / backlog.spans)} bytes in ${PARTITIONS} partitions, zstd, all there ` +
      `before; ${SPANS_PER_SECOND} come in a second of message time; one consumer, one flusher, three Redis nodes, one broker; ` +
      `default settings; ${ROUNDS} rounds`,
  );
  const rounds: { ours: Measured; floor: Measured }[] = [];
  let outputBytes = 0;
  let ends = 0;
  for (let round = 0; round < ROUNDS; round++) {
    recording.progress(`round ${round + 1} of ${ROUNDS}`);
    const oursFirst = round % 2 === 0;
    const before = oursFirst ? undefined : await measureCopy(system, backlog);
    const { outputTopic, measured: ours, endSpans } = await measureOurs(system, backlog, { time: round + 1, ends });
    ends += endSpans;
    outputBytes = system.bytesOf(outputTopic) / backlog.spans;
    rounds.push({ ours, floor: before ?? (await measureCopy(system, backlog)) });
  }
  recordRounds(recording, rounds);
  recording.figure('inputBytes', inputBytes);
  recording.figure('outputBytes', outputBytes);
  recording.note(
    `In the topics a span takes ${inputBytes.toFixed(0)} bytes as input and ${outputBytes.toFixed(0)} as output.`,
  );
  const rate = Math.min(
    MOST_PACED_SPANS_PER_SECOND,
    Math.round(PACED_SHARE * median(rounds.map(({ ours }) => ours.spansPerSecond))),
  );
  await recordLatencies(recording, rate, scaled(PACED_SECONDS, size, 5));
}

function recordRounds(recording: Recording, rounds: readonly { ours: Measured; floor: Measured }[]): void {
  const sides = { spanbuf: rounds.map(({ ours }) => ours), copy: rounds.map(({ floor }) => floor) };
  const values = rounds.map(({ ours, floor }) => ours.spansPerSecond / floor.spansPerSecond);
  const ratio = recording.ratio(
    { name: 'spans/s / copying the topic', values, better: 'higher' },
    { acceptance: 8, atLeast: LEAST_RATIO },
  );
  recording.note(`Ratio of spans per second: ${ratio}.`);
  recording.table(
    'Spans per second, and CPU seconds of each process for a million spans',
    ['', 'spans/s', 'consumer', 'flusher', 'copy', 'redis', 'kafka', 'all'],
    Object.entries(sides).map(([name, all]) => [
      name,
      spread(
        all.map(({ spansPerSecond }) => spansPerSecond),
        0,
      ),
      ...['consumer', 'flusher', 'copy', 'redis', 'kafka'].map((process) => {
        const micros = all.flatMap(({ cpuMicros }) => cpuMicros[process] ?? []);
        return micros.length === 0 ? '' : median(micros).toFixed(1);
      }),
      median(all.map(({ cpuMicros }) => Object.values(cpuMicros).reduce((sum, micros) => sum + micros, 0))).toFixed(1),
    ]),
  );
  for (const process of ['consumer', 'flusher', 'redis', 'kafka']) {
    recording.figure(
      `${process}Micros`,
      median(sides.spanbuf.map(({ cpuMicros }) => cpuMicros[process] ?? Number.NaN)),
    );
  }
  recording.chart({
    id: 'e2e',
    title: 'From topic to topic, one consumer and one flusher',
    unit: 'spans a second',
    bars: Object.entries(sides).map(([name, all]) =>
      bar(
        name,
        all.map(({ spansPerSecond }) => spansPerSecond),
      ),
    ),
  });
}

/** @param at - Which time it is that the backlog is read, from 1, and how many spans more the times before have left there. */
async function measureOurs(
  system: BenchSystem,
  backlog: Backlog,
  { time, ends }: { readonly time: number; readonly ends: number },
): Promise<{ outputTopic: string; measured: Measured; endSpans: number }> {
  const { outputTopic, group } = await system.freshRun();
  const flusher = await system.startFlusher(outputTopic);
  const consumer = await system.startConsumer(group);
  const spans = backlog.spans + ends;
  const read = () => sumOf(consumer, 'spanbuf_consumer_spans_total');
  let endSpans = 0;
  // Whoever asks takes CPU time from what is measured, so not too often.
  let askedMs = 0;
  const isAllRead = async () => {
    if (performance.now() - askedMs < ASK_MS) return false;
    askedMs = performance.now();
    return (await read()) >= spans;
  };
  const written = async () => {
    if (endSpans > 0) {
      const isNear = (await system.messagesIn(outputTopic)) >= NEARLY * backlog.segments;
      return isNear ? sumOf(flusher, 'spanbuf_flusher_spans_total') : 0;
    }
    if (await isAllRead()) endSpans = await moveTimeOn(system.kafka, backlog, time);
    return 0;
  };
  try {
    const measured = await measure(system, { consumer, flusher }, spans, { read, written });
    return { outputTopic, measured, endSpans };
  } finally {
    await Promise.all([consumer.kill(), flusher.kill()]);
  }
}

async function measureCopy(system: BenchSystem, backlog: Backlog): Promise<Measured> {
  const { outputTopic, group } = await system.freshRun();
  const copy = system.startCopy(outputTopic, group);
  try {
    const written = () => system.messagesIn(outputTopic);
    return await measure(system, { copy }, backlog.spans, { read: written, written });
  } finally {
    await copy.kill();
  }
}

/** From the moment at which something was read first, without what was read until then, to that at which all is written. */
async function measure(
  system: BenchSystem,
  programs: Readonly<Record<string, ChildProgram>>,
  spans: number,
  { read, written }: { readonly read: () => Promise<number>; readonly written: () => Promise<number> },
): Promise<Measured> {
  const alive = () => {
    for (const program of Object.values(programs)) {
      if (program.hasEnded) throw new Error(`${program.name} ended:\n${program.lastWords}`);
    }
  };
  let readBefore = 0;
  await until('something is read', STEP_SECONDS, async () => {
    alive();
    readBefore = await read();
    return readBefore > 0;
  });
  const [startedMs, before] = [performance.now(), system.cpuTimes(programs)];
  await until('everything is written', STEP_SECONDS, async () => {
    alive();
    return (await written()) >= spans;
  });
  const [seconds, after] = [(performance.now() - startedMs) / 1_000, system.cpuTimes(programs)];
  const count = spans - readBefore;
  const micros = Object.entries(after).map(([name, time]) => [name, (1e6 * (time - (before[name] ?? 0))) / count]);
  return { spansPerSecond: count / seconds, cpuMicros: Object.fromEntries(micros) };
}

/** On a system of its own, whose input topic is empty. */
async function recordLatencies(recording: Recording, spansPerSecond: number, seconds: number): Promise<void> {
  const latencies = await BenchSystem.with(PARTITIONS, async (system) => {
    const { outputTopic, group } = await system.freshRun();
    const flusher = await system.startFlusher(outputTopic);
    const consumer = await system.startConsumer(group);
    try {
      const spans = await sendPaced(system, spansPerSecond, seconds);
      await until('all is out', STEP_SECONDS, async () => {
        await delay(500);
        return (await sumOf(flusher, 'spanbuf_flusher_spans_total')) >= spans;
      });
    } finally {
      await Promise.all([consumer.kill(), flusher.kill()]);
    }
    return readLatencies(system.kafka, outputTopic, QUIET_SECONDS);
  });
  recording.table(
    `Seconds from due to in the output topic, ${latencies.length} segments, at ${spansPerSecond} spans/s for ${seconds} s`,
    ['p50', 'p99', 'longest'],
    [[quantile(latencies, 0.5), quantile(latencies, 0.99), Math.max(...latencies)].map((value) => value.toFixed(2))],
  );
  recording.figure('dueToProducedP50Seconds', quantile(latencies, 0.5));
  recording.figure('dueToProducedP99Seconds', quantile(latencies, 0.99));
}

/** @returns how many were sent. */
async function sendPaced({ kafka }: BenchSystem, spansPerSecond: number, seconds: number): Promise<number> {
  const producer = await kafka.createProducer({ compression: 'zstd' });
  const streams = Array.from({ length: PARTITIONS }, (_, i) => new SpanStream(i, spansPerSecond / PARTITIONS));
  const startedMs = performance.now();
  let sent = 0;
  while (performance.now() - startedMs < seconds * 1_000) {
    const due = Math.floor(((performance.now() - startedMs) / 1_000) * spansPerSecond);
    const messages = Array.from({ length: due - sent }, (_, i) => {
      const partition = (sent + i) % PARTITIONS;
      const { traceId, value } = (streams[partition] as SpanStream).next();
      return { key: traceId, value, partition };
    });
    await sendAll(producer, INPUT_TOPIC, messages);
    sent = due;
    await delay(PACED_STEP_MS);
  }
  await producer.close();
  return sent;
}

async function sumOf(app: AppProcess, metric: string): Promise<number> {
  return (await app.metrics()).sum(metric, {});
}
