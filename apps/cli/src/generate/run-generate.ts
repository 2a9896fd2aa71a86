import type { Writable } from 'node:stream';
import { createKafka } from '@spanbuf/kafka';
import { openOutput } from '../files.ts';
import { LineWriter } from '../line-writer.ts';
import { printable } from '../reporter.ts';
import { grouped } from '../summary.ts';
import { GenerateProgress } from './generate-progress.ts';
import {
  type FileTarget,
  type GenerateSettings,
  type KafkaTarget,
  parseGenerateSettings,
  type RawGenerateSettings,
} from './generate-settings.ts';
import { kafkaConnection } from './kafka-connection.ts';
import { Load } from './load.ts';
import { sendLoad } from './send-load.ts';
import { writeLoad } from './write-load.ts';

/** What of the process `spanbuf generate` uses. */
export interface GenerateHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Writable;
  readonly stderr: { readonly write: (text: string) => unknown; readonly isTTY?: boolean | undefined };
  /** Unix milliseconds. */
  readonly clockMs: () => number;
  /** Milliseconds since some moment; never runs backwards. */
  readonly monotonicMs: () => number;
  /** Ends it in good order. */
  readonly signal: AbortSignal;
}

/**
 * `spanbuf generate`.
 * @returns Whether everything was written, or acknowledged by the brokers.
 * @throws UsageError, FileError, or what @spanbuf/kafka throws when Kafka cannot be used.
 */
export async function runGenerate(raw: RawGenerateSettings, host: GenerateHost): Promise<boolean> {
  const settings = parseGenerateSettings(raw, host.clockMs() / 1000);
  const progress = new GenerateProgress({
    write: (text) => host.stderr.write(text),
    isTerminal: host.stderr.isTTY === true,
    clockMs: host.monotonicMs,
  });
  const { target } = settings;
  if (target.kind === 'file') return writeFile(settings, target, host, progress);
  return sendToKafka(settings, target, host, progress);
}

async function writeFile(
  { load }: GenerateSettings,
  { path }: FileTarget,
  { stdout, signal }: GenerateHost,
  progress: GenerateProgress,
): Promise<boolean> {
  const isStdout = path === '-';
  const output = new LineWriter(isStdout ? stdout : await openOutput(path, undefined), isStdout ? 'stdout' : path);
  const onProgress = (messages: number): void => progress.report(messages);
  const written = await writeLoad({ load: new Load(load), output, signal, onProgress });
  if (!isStdout) await output.end();
  progress.say(`spans written: ${grouped(written)}\ntime: ${progress.timing(written)}`);
  return true;
}

async function sendToKafka(
  { load }: GenerateSettings,
  target: KafkaTarget,
  { env, clockMs, signal }: GenerateHost,
  progress: GenerateProgress,
): Promise<boolean> {
  const { topic, partitionCount, compression, isKeyed, isPaced, isStampedAtSending } = target;
  const kafka = createKafka(kafkaConnection(target.brokers, env));
  try {
    await kafka.check();
    if (partitionCount !== undefined) await kafka.createTopics([{ topic, partitionCount }]);
    await kafka.describeTopic(topic);
    const producer = await kafka.createProducer({ compression });
    const { sent, refused, unacknowledged } = await sendLoad({
      load: new Load(load),
      producer,
      topic,
      isKeyed,
      isPaced,
      isStampedAtSending,
      clockMs,
      signal,
      onProgress: (messages) => progress.report(messages),
      onTrouble: (text) => progress.say(printable(text)),
    });
    await producer.close();
    const rest = unacknowledged === 0 ? '' : `, not acknowledged: ${grouped(unacknowledged)}`;
    progress.say(`spans sent: ${grouped(sent)}, messages refused: ${grouped(refused)}${rest}`);
    progress.say(`time: ${progress.timing(sent)}`);
    return refused === 0 && unacknowledged === 0;
  } finally {
    await kafka.close();
  }
}
