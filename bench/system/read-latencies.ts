import type { Kafka, LogMessage } from '@spanbuf/kafka';

/**
 * Seconds between the moment at which each segment of a topic was due and the one at which the broker took it. Only of those
 * that were due because their root was there and nothing came any more, which is nearly all.
 */
export async function readLatencies(kafka: Kafka, topic: string, quietSeconds: number): Promise<number[]> {
  let left = 0n;
  for (const { low, high } of (await kafka.readWatermarks(topic)).values()) left += high - low;
  const latencies: number[] = [];
  if (left === 0n) return latencies;
  let resolve: () => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const read = new Promise<void>((...settle) => {
    [resolve, reject] = settle;
  });
  const consumer = await kafka.consume({
    topic,
    groupId: `latencies-${topic}`,
    onFatal: reject,
    onBatch: async ({ messages }) => {
      for (const message of messages) {
        if (header(message, 'spanbuf-reason') === 'root-idle') {
          latencies.push(message.timestampMs / 1_000 - Number(header(message, 'spanbuf-last-seconds')) - quietSeconds);
        }
        if (--left === 0n) resolve();
      }
    },
  });
  await read;
  await consumer.stop();
  return latencies;
}

function header({ headers }: LogMessage, name: string): string {
  return String(headers[name]);
}
