/**
 * A Kafka client that shares no code with the one under test: kcat, which is librdkafka on the command line. Bytes go
 * in and come out as they are. Timestamps of messages cannot be set with kcat 1.7; they are the time of producing. With
 * librdkafka before 2.6.1 (Debian 12 has 2.0.2) it cannot log in by SCRAM at Kafka 4, which reads the protocol strictly.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { isDeepStrictEqual } from 'node:util';

/** kcat is not installed, or ended with an error, which is in the message. */
export class KcatError extends Error {
  override readonly name = 'KcatError';
  readonly code = 'KCAT';
}

export interface KcatTarget {
  /** `host:port,…` */
  readonly brokers: string;
  readonly topic: string;
  /** Settings of librdkafka: `{ 'security.protocol': 'SASL_SSL', … }`. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface KcatMessage {
  readonly key: Buffer | string | null;
  readonly value: Buffer | string | null;
  /** In order; a name may come more than once. No zero bytes: they are arguments of a command. */
  readonly headers?: readonly (readonly [name: string, value: string | null])[];
  /** Chosen by librdkafka from the key (CRC-32, unlike Kafka's own clients) when it is absent. */
  readonly partition?: number;
}

export interface KcatRecord {
  readonly partition: number;
  readonly offset: number;
  /** Unix milliseconds. */
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[];
}

export type KcatCompression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd';

/**
 * Produces messages, in order and each once, and waits until the brokers have acknowledged them. One process for each
 * run of messages with the same headers and partition. librdkafka sends a batch that does not shrink uncompressed.
 * @throws KcatError when one was not acknowledged; those before it are there, and some after it may be.
 */
export async function kcatProduce(
  target: KcatTarget & { readonly messages: readonly KcatMessage[]; readonly compression?: KcatCompression },
): Promise<void> {
  // The broker decides what is too large, and a message that was sent again is not there twice.
  const settings = { 'message.max.bytes': '33554432', 'enable.idempotence': 'true', ...target.settings };
  for (const { args, input } of runs(target.messages)) {
    const options = [...args, '-z', target.compression ?? 'none'];
    const child = kcat({ ...target, settings }, ['-P', '-t', target.topic, ...options]);
    child.stdin.end(input);
    child.stdout.resume();
    await ended(child);
  }
}

/** Reads all there is in a topic, of all partitions, in no order between partitions. @throws KcatError */
export async function kcatConsume(target: KcatTarget & { readonly partition?: number }): Promise<KcatRecord[]> {
  const partition = target.partition === undefined ? [] : ['-p', `${target.partition}`];
  const settings = { 'fetch.wait.max.ms': '20', ...target.settings };
  const range = ['-o', 'beginning', '-e', '-q'];
  const child = kcat({ ...target, settings }, ['-C', '-t', target.topic, ...partition, ...range, '-J']);
  const [records] = await Promise.all([readRecords(child.stdout), ended(child)]);
  return records;
}

/** Where the copies of a topic's partitions are, in order of the partitions; `leader` is -1 where there is none. */
export async function kcatPartitions(
  target: KcatTarget,
): Promise<{ partition: number; leader: number; replicas: number[]; inSync: number[] }[]> {
  const child = kcat(target, ['-L', '-J', '-t', target.topic]);
  const [json] = await Promise.all([text(child.stdout), ended(child)]);
  const [topic] = (JSON.parse(json) as Metadata).topics;
  if (topic?.error !== undefined) throw new KcatError(topic.error);
  const ids = (nodes: readonly { id: number }[]) => nodes.map(({ id }) => id);
  return (topic?.partitions ?? [])
    .map(({ partition, leader, replicas, isrs }) => ({
      partition,
      leader,
      replicas: ids(replicas),
      inSync: ids(isrs),
    }))
    .sort((a, b) => a.partition - b.partition);
}

/** What `kcat -V` prints. @throws KcatError when kcat is not installed. */
export async function kcatVersion(): Promise<string> {
  const child = spawn('kcat', ['-V'], { stdio: 'pipe' });
  const [version] = await Promise.all([text(child.stdout), ended(child)]);
  return version;
}

interface Metadata {
  readonly topics: readonly {
    readonly error?: string;
    readonly partitions: readonly {
      readonly partition: number;
      readonly leader: number;
      readonly replicas: readonly { id: number }[];
      readonly isrs: readonly { id: number }[];
    }[];
  }[];
}

interface JsonRecord {
  readonly partition: number;
  readonly offset: number;
  readonly ts: number;
  readonly key: string | null;
  readonly payload: string | null;
  /** Names and values in turn. */
  readonly headers?: readonly (string | null)[];
}

/**
 * kcat puts all bytes but control characters, quotes and backslashes into its JSON as they are, valid UTF-8 or not. Read
 * as Latin-1, each byte is one character, and so it is in the strings in the JSON.
 */
async function readRecords(stdout: Readable): Promise<KcatRecord[]> {
  const records: KcatRecord[] = [];
  for await (const line of createInterface({ input: stdout.setEncoding('latin1') })) records.push(parseRecord(line));
  return records;
}

function parseRecord(line: string): KcatRecord {
  const { partition, offset, ts, key, payload, headers = [] } = JSON.parse(line) as JsonRecord;
  const bytes = (latin1: string | null | undefined) => (latin1 == null ? null : Buffer.from(latin1, 'latin1'));
  return {
    partition,
    offset,
    timestampMs: ts,
    key: bytes(key),
    value: bytes(payload),
    headers: Array.from({ length: headers.length / 2 }, (_, index) => [
      String(bytes(headers[2 * index])),
      bytes(headers[2 * index + 1]),
    ]),
  };
}

/** Messages one after the other that one call of kcat can produce: what is not key or value is the same for all of it. */
function runs(messages: readonly KcatMessage[]): { args: string[]; input: Buffer }[] {
  const all: { args: string[]; messages: KcatMessage[] }[] = [];
  for (const message of messages) {
    const { key, value, headers = [], partition } = message;
    if (value === null ? key?.length === 0 : key === null && value.length === 0) {
      throw new KcatError('kcat cannot produce an empty value without a key, nor an empty key without a value');
    }
    const args = headers.flatMap(([name, content]) => ['-H', content === null ? name : `${name}=${content}`]);
    if (partition !== undefined) args.push('-p', `${partition}`);
    // Sends empty keys and values as null.
    if (value === null) args.push('-Z');
    const last = all.at(-1);
    if (last !== undefined && isDeepStrictEqual(last.args, args)) last.messages.push(message);
    else all.push({ args, messages: [message] });
  }
  return all.map((run) => ({
    args: [...run.args, ...DELIMITERS],
    input: Buffer.concat(run.messages.flatMap(({ key, value }) => record(key, value))),
  }));
}

/** Random, so that no message has them. */
const [KEY_END, RECORD_END] = [randomBytes(12).toString('hex'), randomBytes(12).toString('hex')] as const;
const DELIMITERS = ['-K', KEY_END, '-D', RECORD_END];

function record(key: KcatMessage['key'], value: KcatMessage['value']): Buffer[] {
  // Without the end of a key there is none.
  const parts = key === null && value !== null ? [value, RECORD_END] : [key ?? '', KEY_END, value ?? '', RECORD_END];
  return parts.map((part) => Buffer.from(part as string));
}

type Kcat = ChildProcessByStdio<Writable, Readable, Readable>;

function kcat({ brokers, settings = {} }: Omit<KcatTarget, 'topic'>, args: readonly string[]): Kcat {
  const options = Object.entries(settings).flatMap(([name, value]) => ['-X', `${name}=${value}`]);
  return spawn('kcat', ['-b', brokers, ...options, ...args], { stdio: 'pipe' });
}

async function ended(child: Kcat): Promise<void> {
  // It may end before it has read all of its input; why is on stderr.
  child.stdin.on('error', () => {});
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const [code, signal] = await once(child, 'close').catch((error: NodeJS.ErrnoException) => {
    throw new KcatError(error.code === 'ENOENT' ? 'kcat is not installed: apt-get install kcat' : error.message);
  });
  if (code !== 0) throw new KcatError(errors.trim() || `kcat ended with ${signal ?? `code ${code}`}`);
}
