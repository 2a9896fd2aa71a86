import { readFileSync } from 'node:fs';
import { createKafka } from '@spanbuf/kafka';
import {
  type AppContext,
  connectRedis,
  defineApp,
  messageLimit,
  readKafkaConnection,
  readRedisConnection,
  withinSeconds,
} from '@spanbuf/service';
import { Flusher, type FlusherConnections } from './flusher.ts';
import { flusherMetrics } from './metrics.ts';
import { CONSUMER_SETTINGS, flusherRules, flusherSettings } from './settings.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

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
