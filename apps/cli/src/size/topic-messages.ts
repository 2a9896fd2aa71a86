import type { Kafka, LogBatch, LogConsumer, LogMessage } from '@spanbuf/kafka';

export interface TopicOptions {
  readonly kafka: Kafka;
  readonly topic: string;
  /** That nobody else is in. Nothing is committed for it. */
  readonly groupId: string;
  readonly signal: AbortSignal;
}

/** What is read of one partition. */
interface Lane {
  readonly partition: number;
  /** Nothing from here on is wanted. */
  readonly endOffset: bigint;
  nextOffset: bigint;
  /** Read and not handed out yet. */
  waiting: LogMessage[];
  /** Lets the next ones be read. */
  drained: () => void;
}

/**
 * What is in a topic at the moment, of all partitions in the order of their time stamps, as it came. Reading holds one fetch a
 * partition; what is not asked for is not read.
 * @throws What `@spanbuf/kafka` throws; the reason of `signal`.
 */
export async function* topicMessages({ kafka, topic, groupId, signal }: TopicOptions): AsyncGenerator<LogMessage> {
  const watermarks = await kafka.readWatermarks(topic);
  const lanes = new Map<number, Lane>();
  for (const [partition, { low, high }] of watermarks)
    lanes.set(partition, { partition, endOffset: high, nextOffset: low, waiting: [], drained: () => undefined });
  const news = new News();
  const onAbort = () => news.fail(signal.reason);
  signal.addEventListener('abort', onAbort);
  let isOver = false;
  const onBatch = async ({ partition, messages, nextOffset }: LogBatch): Promise<void> => {
    const lane = lanes.get(partition);
    if (lane === undefined || isOver) return;
    // Another join begins from the start.
    const fresh = messages.filter(({ offset }) => offset >= lane.nextOffset && offset < lane.endOffset);
    if (nextOffset > lane.nextOffset) lane.nextOffset = nextOffset;
    lane.waiting.push(...fresh);
    news.tell();
    if (lane.waiting.length > 0)
      await new Promise<void>((resolve) => {
        lane.drained = resolve;
      });
  };
  const log: LogConsumer = await kafka.consume({ topic, groupId, onBatch, onFatal: (error) => news.fail(error) });
  try {
    for (;;) {
      signal.throwIfAborted();
      const open = [...lanes.values()].filter((lane) => lane.waiting.length > 0 || lane.nextOffset < lane.endOffset);
      if (open.length === 0) return;
      if (open.some(({ waiting }) => waiting.length === 0)) {
        await news.next();
        continue;
      }
      const lane = open.reduce((a, b) => (timeOf(b) < timeOf(a) ? b : a));
      // As many as are older than what the others have, so that a long lane is not looked at anew for each.
      const limit = Math.min(...open.filter((other) => other !== lane).map(timeOf));
      const end = lane.waiting.findIndex(({ timestampMs }) => timestampMs > limit);
      const taken = lane.waiting.splice(0, end === -1 ? lane.waiting.length : Math.max(1, end));
      if (lane.waiting.length === 0) lane.drained();
      yield* taken;
    }
  } finally {
    isOver = true;
    signal.removeEventListener('abort', onAbort);
    for (const lane of lanes.values()) lane.drained();
    await log.stop();
  }
}

function timeOf({ waiting }: Lane): number {
  return waiting[0]?.timestampMs ?? Number.POSITIVE_INFINITY;
}

/** That something has come, or that nothing will. */
class News {
  #wake: () => void = () => undefined;
  #hasCome = false;
  #failure: { readonly error: unknown } | undefined;

  tell(): void {
    this.#hasCome = true;
    this.#wake();
  }

  fail(error: unknown): void {
    this.#failure = { error };
    this.#wake();
  }

  /** Resolves when something has come since it last did. */
  async next(): Promise<void> {
    if (!this.#hasCome && this.#failure === undefined)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#hasCome = false;
  }
}
