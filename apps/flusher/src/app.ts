import { readFileSync } from 'node:fs';
import { createKafka } from '@spanbuf/kafka';
import { SpanbufError } from '@spanbuf/keys';
import {
  type AppContext,
  connectRedis,
  defineApp,
  readKafkaConnection,
  readRedisConnection,
  withinSeconds,
} from '@spanbuf/service';
import { Flusher, type FlusherConnections } from './flusher.ts';
import { flusherMetrics } from './metrics.ts';
import { CONSUMER_SETTINGS, flusherRules, flusherSettings } from './settings.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** Key, headers and framing of a message, which count against the limit of the topic as well. */
const MESSAGE_OVERHEAD_BYTES = 2_048;
const MOST_MESSAGE_BYTES = 10 * 1_024 * 1_024;

/** The output topic takes only messages that are shorter than those that were asked for. */
export class MessageLimitError extends SpanbufError {
  readonly code = 'SPANBUF_MESSAGE_LIMIT';
  readonly retriable = false;
}

export const flusherApp = defineApp({
  name: 'spanbuf-flusher',
  version,
  description: 'Takes finished segments out of the span buffer and produces them to Kafka.',
  settings: flusherSettings,
  rules: flusherRules,
  otherSettings: CONSUMER_SETTINGS,
  metrics: flusherMetrics,
  start: async (context) => Flusher.start(context, await open(context)),
  check: async (context) => close(await open(context)),
});

/** Reaches everything that the flusher needs. */
async function open(context: AppContext<typeof flusherSettings, typeof flusherMetrics>): Promise<FlusherConnections> {
  const { settings, log, instanceId } = context;
  const redisConnection = readRedisConnection(settings);
  const kafka = createKafka({
    ...readKafkaConnection(settings, instanceId),
    log: (level, message, details) => log[level](details, message),
  });
  try {
    await withinSeconds(
      kafka.check(),
      settings.startSeconds,
      `Kafka did not answer within ${settings.startSeconds} s: ${settings.kafkaBrokers.join(', ')}`,
    );
    const topic = await kafka.describeTopic(settings.outputTopic);
    const maxMessageBytes = messageLimit(settings, topic.maxMessageBytes);
    if (topic.maxMessageBytes === undefined && settings.maxMessageBytes === undefined)
      log.warn(
        { topic: settings.outputTopic, maxMessageBytes },
        'no permission to read the limit of the topic (DescribeConfigs): set SPANBUF_MAX_MESSAGE_BYTES to what it takes',
      );
    const redis = await connectRedis(redisConnection.location, {
      timeoutSeconds: settings.startSeconds,
      clientName: instanceId,
      tlsCa: redisConnection.tlsCa,
      // Several times a second while Redis is away; that it is away is told by what needs it.
      onError: (err) => log.debug({ err }, 'Redis connection'),
      onWarning: (message) => log.warn(message),
    });
    return { redis, kafka, maxMessageBytes };
  } catch (error) {
    await kafka.close();
    throw error;
  }
}

async function close({ redis, kafka }: FlusherConnections): Promise<void> {
  redis.disconnect();
  await kafka.close();
}

/**
 * @param topicBytes - `max.message.bytes` of the output topic; undefined where it may not be read.
 * @throws {@link MessageLimitError}
 */
export function messageLimit(
  { maxMessageBytes, outputTopic }: { readonly maxMessageBytes: number | undefined; readonly outputTopic: string },
  topicBytes: number | undefined,
): number {
  const fitting = topicBytes === undefined ? MOST_MESSAGE_BYTES : topicBytes - MESSAGE_OVERHEAD_BYTES;
  if (fitting <= 0) {
    throw new MessageLimitError(
      `topic ${outputTopic} takes messages of ${topicBytes} bytes only: raise its max.message.bytes`,
    );
  }
  if (maxMessageBytes !== undefined && maxMessageBytes > fitting && topicBytes !== undefined) {
    throw new MessageLimitError(
      `SPANBUF_MAX_MESSAGE_BYTES must be at most ${fitting}: topic ${outputTopic} has max.message.bytes=${topicBytes}, ` +
        `and key and headers take up to ${MESSAGE_OVERHEAD_BYTES}. Got ${maxMessageBytes}`,
    );
  }
  return maxMessageBytes ?? Math.min(fitting, MOST_MESSAGE_BYTES);
}
