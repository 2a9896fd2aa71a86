import { readFileSync } from 'node:fs';
import { createKafka } from '@spanbuf/kafka';
import {
  type AppContext,
  connectRedis,
  defineApp,
  readKafkaConnection,
  readRedisConnection,
  withinSeconds,
} from '@spanbuf/service';
import { Consumer, type ConsumerConnections } from './consumer.ts';
import { DropRulesFile } from './drop-rules.ts';
import { consumerMetrics } from './metrics.ts';
import { consumerRules, consumerSettings, FLUSHER_SETTINGS } from './settings.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

export const consumerApp = defineApp({
  name: 'spanbuf-consumer',
  version,
  description: 'Reads spans from Kafka and puts them into the span buffer.',
  settings: consumerSettings,
  rules: consumerRules,
  otherSettings: FLUSHER_SETTINGS,
  metrics: consumerMetrics,
  start: async (context) => Consumer.start(context, await open(context)),
  check: async (context) => close(await open(context)),
});

/** Reaches everything that the consumer needs. */
async function open(
  context: AppContext<typeof consumerSettings, typeof consumerMetrics>,
): Promise<ConsumerConnections> {
  const { settings, log, instanceId } = context;
  const dropRules = settings.dropRulesFile === undefined ? undefined : new DropRulesFile(settings.dropRulesFile);
  await dropRules?.reload();
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
    await kafka.describeTopic(settings.inputTopic);
    await kafka.describeTopic(settings.deadLetterTopic);
    const redis = await connectRedis(redisConnection.location, {
      timeoutSeconds: settings.startSeconds,
      clientName: instanceId,
      tlsCa: redisConnection.tlsCa,
      // Several times a second while Redis is away; that it is away is told by what needs it.
      onError: (err) => log.debug({ err }, 'Redis connection'),
      onWarning: (message) => log.warn(message),
    });
    return { redis, kafka, dropRules };
  } catch (error) {
    await kafka.close();
    throw error;
  }
}

async function close({ redis, kafka }: ConsumerConnections): Promise<void> {
  redis.disconnect();
  await kafka.close();
}
