import { randomBytes } from 'node:crypto';
import { addAbortSignal, type Readable, type Writable } from 'node:stream';
import { createKafka } from '@spanbuf/kafka';
import { contentsOf, openInput } from '../files.ts';
import { kafkaConnection } from '../generate/kafka-connection.ts';
import { LineWriter } from '../line-writer.ts';
import type { OnRefused } from '../read-spans.ts';
import type { Reporter } from '../reporter.ts';
import { UsageError } from '../settings.ts';
import { Candidate, Lengths, SegmentNumbers, WholeInput } from './candidate.ts';
import { fileBatches, type InputLimits } from './file-batches.ts';
import { formatSizes, type InputFacts, reportOf, sizesJson } from './size-report.ts';
import { parseSizeSettings, type RawSizeSettings, type SizeInput, type SizeSettings } from './size-settings.ts';
import type { TimedBatch } from './timed-batch.ts';
import { topicBatches } from './topic-batches.ts';
import { topicMessages } from './topic-messages.ts';

/** What of the process `spanbuf size` uses. */
export interface SizeHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly reporter: Reporter;
  /** Ends it in good order. */
  readonly signal: AbortSignal;
}

/** As consumers have them by default. */
const BATCH_SPANS = 2_000;
const BATCH_BYTES = 4 * 1_024 * 1_024;

/**
 * `spanbuf size`.
 * @throws UsageError, FileError, or what @spanbuf/kafka throws when Kafka cannot be used.
 */
export async function runSize(file: string | undefined, raw: RawSizeSettings, host: SizeHost): Promise<void> {
  const settings = parseSizeSettings(file, raw);
  let refusedCount = 0;
  const onRefused: OnRefused = (line, reason) => {
    refusedCount += 1;
    host.reporter.refused(line, reason);
  };
  const { mostSpans, batchSeconds } = settings;
  const limits = { mostSpans, batchSeconds, batchSpans: BATCH_SPANS, batchBytes: BATCH_BYTES };
  const { input, reports } = await trySettings(
    batchesOf(settings.input, limits, onRefused, host),
    settings,
    host.signal,
  );
  if (input.spanCount === 0) throw new UsageError('there are no spans in the input');
  const output = new LineWriter(host.stdout, 'stdout');
  const facts = { ...input, refusedCount };
  const lines = settings.isJson ? [sizesJson(facts, reports)] : formatSizes(facts, reports);
  for (const line of lines) await output.write(Buffer.from(line));
  await output.flush();
}

async function* batchesOf(
  input: SizeInput,
  limits: InputLimits,
  onRefused: OnRefused,
  { env, stdin, signal }: SizeHost,
): AsyncGenerator<TimedBatch> {
  if (input.kind === 'file') {
    const isStdin = input.path === '-';
    const stream = addAbortSignal(signal, isStdin ? stdin : await openInput(input.path));
    try {
      yield* fileBatches(contentsOf(stream, isStdin ? 'stdin' : input.path), limits, onRefused);
    } finally {
      stream.destroy();
    }
    return;
  }
  const { topic, brokers = env['SPANBUF_KAFKA_BROKERS'] } = input;
  if (!brokers) throw new UsageError('neither --kafka nor SPANBUF_KAFKA_BROKERS is given');
  const kafka = createKafka(kafkaConnection(brokers, env, 'spanbuf-size'));
  try {
    await kafka.check();
    const { topicId } = await kafka.describeTopic(topic);
    const groupId = `spanbuf-size-${randomBytes(6).toString('hex')}`;
    yield* topicBatches(topicMessages({ kafka, topic, groupId, signal }), topicId, limits, onRefused);
  } finally {
    await kafka.close();
  }
}

/** Replays an input once, for all settings at the same time. */
export async function trySettings(
  batches: AsyncIterable<TimedBatch>,
  { candidates, dedupeWindowSeconds }: Pick<SizeSettings, 'candidates' | 'dedupeWindowSeconds'>,
  signal: AbortSignal,
): Promise<{ input: Omit<InputFacts, 'refusedCount'>; reports: ReturnType<typeof reportOf>[] }> {
  const [numbers, lengths] = [new SegmentNumbers(), new Lengths()];
  const whole = new WholeInput();
  const tried = candidates.map((settings) => new Candidate(settings, { numbers, lengths, dedupeWindowSeconds }));
  let [spanCount, payloadBytes, seconds] = [0, 0, 0];
  let first: number | undefined;
  for await (const batch of batches) {
    signal.throwIfAborted();
    first ??= batch.seconds;
    spanCount += batch.spans.length;
    payloadBytes += batch.spans.reduce((sum, { payload }) => sum + payload.length, 0);
    seconds = batch.seconds - first;
    await whole.take(batch);
    for (const candidate of tried) await candidate.take(batch);
  }
  for (const candidate of tried) await candidate.finish();
  const truth = await whole.segments(numbers);
  const rootedCount = [...truth.values()].filter(({ rootSeen }) => rootSeen).length;
  return {
    input: { spanCount, payloadBytes, seconds, segmentCount: truth.size, rootedCount },
    reports: tried.map((candidate) => reportOf(candidate, truth, spanCount)),
  };
}
