import { BatchWriter } from './batch-writer.ts';
import type { Brokers } from './brokers.ts';
import { type EncodableRecord, encodeRecordBatch, toRecord } from './encode-record-batch.ts';
import { KafkaUnavailableError, MessageRefusedError } from './errors.ts';
import { BrokerError, brokerErrorType, errorLine, isPassing } from './kafka-error.ts';
import type { LogProducer, OutgoingMessage, ProducerOptions, SendOutcome } from './log.ts';
import { murmur2 } from './murmur2.ts';
import type { TopicMetadata } from './requests.ts';
import { sleep, withDeadline } from './waiting.ts';

const MAX_MESSAGES_PER_REQUEST = 2_000;
/** Partitions written side by side by one `send`: each holds one request in memory, raw and packed. */
const PARTITIONS_AT_ONCE = 8;
const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 1_000;
const LEADER_NOT_AVAILABLE = 5;

/** The broker will say the same whenever it is asked. */
const TOO_LARGE = /^(MESSAGE_TOO_LARGE|RECORD_LIST_TOO_LARGE)$/;
const INVALID = /^(INVALID_RECORD|CORRUPT_MESSAGE)$/;

interface Entry {
  /** Of its message in the call. */
  readonly index: number;
  readonly record: EncodableRecord;
}

/** One call of `send`. */
interface Call {
  readonly topic: string;
  /** By `performance.now()`. */
  readonly deadlineMs: number;
  readonly outcomes: SendOutcome[];
}

/**
 * Writes one batch at a time to a partition of a call, together with those of other partitions and calls where one broker leads
 * them, and takes nothing for written but what the answer names. kafkajs' own producer is not used: when it repeats a request for several brokers it
 * forgets partitions, and it groups messages in quadratic time.
 */
export class BatchProducer implements LogProducer {
  readonly #brokers: Brokers;
  readonly #writer: BatchWriter;
  readonly #options: Required<ProducerOptions>;
  readonly #topics = new Map<string, { readAtMs: number; metadata: Promise<TopicMetadata> }>();
  readonly #sending = new Set<Promise<unknown>>();
  #isClosed = false;
  /** For messages without a key. */
  #turn = 0;

  constructor(brokers: Brokers, options: ProducerOptions) {
    this.#brokers = brokers;
    this.#writer = new BatchWriter(brokers);
    this.#options = { compression: 'zstd', requestTimeoutMs: 30_000, maxRequestBytes: 900_000, ...options };
  }

  async send(topic: string, messages: readonly OutgoingMessage[]): Promise<SendOutcome[]> {
    const deadlineMs = performance.now() + this.#options.requestTimeoutMs;
    const call: Call = { topic, deadlineMs, outcomes: new Array(messages.length) };
    const sending = this.#send(call, messages);
    this.#sending.add(sending);
    await sending;
    this.#sending.delete(sending);
    return call.outcomes;
  }

  /** Waits for what is being sent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#sending);
    this.#brokers.close();
  }

  async #send(call: Call, messages: readonly OutgoingMessage[]): Promise<void> {
    const entries: Entry[] = [];
    messages.forEach((message, index) => {
      try {
        entries.push({ index, record: toRecord(message, Date.now()) });
      } catch (error) {
        call.outcomes[index] = refusal(call, 'INVALID_RECORD', error);
      }
    });
    if (this.#isClosed) return fail(call, entries, new Error('the producer was closed'));
    if (entries.length === 0) return;
    const lanes = new Map<number, Entry[]>();
    try {
      const partitionCount = await this.#partitionCount(call);
      for (const entry of entries) {
        const partition = this.#partitionOf(messages[entry.index] as OutgoingMessage, entry.record, partitionCount);
        const lane = lanes.get(partition);
        if (lane === undefined) lanes.set(partition, [entry]);
        else lane.push(entry);
      }
    } catch (error) {
      return fail(call, entries, error);
    }
    const waiting = [...lanes];
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        await this.#writeInOrder(call, next[0], this.#chunks(next[1]));
      }
    };
    await Promise.all(Array.from({ length: PARTITIONS_AT_ONCE }, work));
  }

  /** As the Java client chooses. Decided once, so that a message sent again goes to the same partition. */
  #partitionOf(message: OutgoingMessage, record: EncodableRecord, partitionCount: number): number {
    if (message.partition !== undefined) return message.partition;
    return (record.key === null ? this.#turn++ : murmur2(record.key)) % partitionCount;
  }

  *#chunks(entries: readonly Entry[]): Generator<Entry[]> {
    let chunk: Entry[] = [];
    let byteCount = 0;
    for (const entry of entries) {
      const isFull = byteCount + entry.record.byteCount > this.#options.maxRequestBytes;
      if (chunk.length > 0 && (isFull || chunk.length === MAX_MESSAGES_PER_REQUEST)) {
        yield chunk;
        [chunk, byteCount] = [[], 0];
      }
      chunk.push(entry);
      byteCount += entry.record.byteCount;
    }
    yield chunk;
  }

  /** After one that failed the rest is not sent: it would come before what is sent again. */
  async #writeInOrder(call: Call, partition: number, chunks: Iterable<Entry[]>): Promise<Failure | undefined> {
    let failure: Failure | undefined;
    for (const chunk of chunks) {
      failure ??= await this.#write(call, partition, chunk);
      if (failure !== undefined) fail(call, chunk, failure.error);
    }
    return failure;
  }

  /** Until all of it is acknowledged or refused; returns what was the matter when it is neither at the deadline. */
  async #write(call: Call, partition: number, chunk: readonly Entry[]): Promise<Failure | undefined> {
    let batch: Buffer | undefined;
    for (let attempt = 0; ; attempt++) {
      try {
        const records = chunk.map(({ record }) => record);
        batch ??= await encodeRecordBatch(records, this.#options.compression);
        const baseOffset = await this.#produce(call, partition, batch, attempt > 0);
        chunk.forEach(({ index }, position) => {
          call.outcomes[index] = { status: 'acked', partition, offset: baseOffset + BigInt(position) };
        });
        return undefined;
      } catch (error) {
        const type = brokerErrorType(error) ?? '';
        if (TOO_LARGE.test(type) || (INVALID.test(type) && (type !== 'CORRUPT_MESSAGE' || attempt > 0))) {
          return this.#writeHalves(call, partition, chunk, error);
        }
        const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** attempt, LAST_RETRY_MS);
        if (!isPassing(error) || performance.now() + pauseMs >= call.deadlineMs) return { error };
        this.#topics.delete(call.topic);
        await sleep(pauseMs);
      }
    }
  }

  /** So that of a refused batch only the messages at fault are refused. */
  async #writeHalves(
    call: Call,
    partition: number,
    chunk: readonly Entry[],
    error: unknown,
  ): Promise<Failure | undefined> {
    const [only, ...others] = chunk;
    if (only !== undefined && others.length === 0) {
      call.outcomes[only.index] = refusal(call, brokerErrorType(error) ?? '', error);
      return undefined;
    }
    const middle = chunk.length >> 1;
    return this.#writeInOrder(call, partition, [chunk.slice(0, middle), chunk.slice(middle)]);
  }

  /** Returns the offset of its first message. */
  async #produce({ topic, deadlineMs }: Call, partition: number, bytes: Buffer, isAlone: boolean): Promise<bigint> {
    const nowMs = performance.now();
    const timeoutMs = Math.max(1, Math.min(this.#brokers.requestTimeoutMs, deadlineMs - nowMs));
    const attempt = async (): Promise<bigint> => {
      if (!(await this.#topic(topic)).leaders.has(partition)) this.#topics.delete(topic);
      const { leaders } = await this.#topic(topic);
      const leader = leaders.get(partition);
      if (leader === undefined)
        throw new RangeError(`${topic} has ${leaders.size} partitions, not partition ${partition}`);
      if (leader < 0) throw new BrokerError(LEADER_NOT_AVAILABLE);
      return this.#writer.write(leader, { topic, partition, bytes, endMs: nowMs + timeoutMs, isAlone });
    };
    return withDeadline(attempt(), timeoutMs, `writing to ${topic} partition ${partition}`);
  }

  async #partitionCount({ topic, deadlineMs }: Call): Promise<number> {
    for (let attempt = 0; ; attempt++) {
      const leftMs = deadlineMs - performance.now();
      try {
        const { leaders } = await withDeadline(this.#topic(topic), Math.max(leftMs, 0), `finding ${topic}`);
        return leaders.size;
      } catch (error) {
        const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** attempt, LAST_RETRY_MS);
        if (!isPassing(error) || performance.now() + pauseMs >= deadlineMs) throw error;
        await sleep(pauseMs);
      }
    }
  }

  #topic(topic: string): Promise<TopicMetadata> {
    const known = this.#topics.get(topic);
    const { metadataMaxAgeMs } = this.#brokers;
    if (known !== undefined && performance.now() - known.readAtMs < metadataMaxAgeMs) return known.metadata;
    const metadata = this.#brokers.topic(topic);
    this.#topics.set(topic, { readAtMs: performance.now(), metadata });
    metadata.catch(() => {
      if (this.#topics.get(topic)?.metadata === metadata) this.#topics.delete(topic);
    });
    return metadata;
  }
}

interface Failure {
  readonly error: unknown;
}

/** For those that have no outcome yet. */
function fail(call: Call, entries: readonly { readonly index: number }[], error: unknown): void {
  const failure = new KafkaUnavailableError(`write to ${call.topic}: ${errorLine(error)}`, { cause: error });
  for (const { index } of entries) call.outcomes[index] ??= { status: 'failed', error: failure };
}

function refusal(call: Call, reason: string, error: unknown): SendOutcome {
  const message = `${call.topic} does not take this message: ${errorLine(error)}`;
  return { status: 'refused', error: new MessageRefusedError(reason, message, { cause: error }) };
}
