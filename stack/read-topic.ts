import type { Kafka, LogMessage } from '@spanbuf/kafka';

/**
 * Reads everything that a topic has when it begins, from the first message to the last, each once.
 * @param groupId - Of a consumer group that nobody else uses.
 * @param onMessage - Within a partition in the order of offsets.
 * @throws What @spanbuf/kafka throws when the topic cannot be read.
 */
export async function readTopic(
  kafka: Kafka,
  { topic, groupId }: { readonly topic: string; readonly groupId: string },
  onMessage: (message: LogMessage) => void,
): Promise<void> {
  const watermarks = await kafka.readWatermarks(topic);
  const next = new Map([...watermarks].filter(([, { low, high }]) => low < high).map(([p, { low }]) => [p, low]));
  if (next.size === 0) return;
  const isRead = () => [...next].every(([partition, offset]) => offset >= (watermarks.get(partition)?.high ?? 0n));
  let finish: (error?: Error) => void = () => undefined;
  const finished = new Promise<void>((resolve, reject) => {
    finish = (error) => (error === undefined ? resolve() : reject(error));
  });
  const consumer = await kafka.consume({
    topic,
    groupId,
    onFatal: finish,
    onBatch: async ({ partition, messages, nextOffset }) => {
      const high = watermarks.get(partition)?.high ?? 0n;
      for (const message of messages) {
        // After a rebalance, messages come again; and somebody may still be writing.
        if (message.offset < (next.get(partition) ?? high) || message.offset >= high) continue;
        next.set(partition, message.offset + 1n);
        onMessage(message);
      }
      if (nextOffset > (next.get(partition) ?? nextOffset)) next.set(partition, nextOffset);
      if (isRead()) finish();
    },
  });
  try {
    await finished;
  } finally {
    await consumer.stop();
  }
}
