/**
 * Prints each segment of spanbuf's output topic as a line of JSON.
 * Settings: KAFKA_BROKERS, TOPIC, GROUP, SETTLE_SECONDS: how long to wait for what comes late.
 */
import { createKafka } from '@spanbuf/kafka';
import { SegmentReader } from './segment-reader.ts';

const {
  KAFKA_BROKERS = 'localhost:9092',
  TOPIC = 'buffered-segments',
  GROUP = 'example',
  SETTLE_SECONDS = '5',
} = process.env;
const log = (text: string) => console.error(text);

const kafka = createKafka({ brokers: KAFKA_BROKERS.split(','), clientId: 'consume-segments' });
const reader = await SegmentReader.open({
  kafka,
  topic: TOPIC,
  groupId: GROUP,
  merger: { settleSeconds: Number(SETTLE_SECONDS) },
  clock: () => Date.now() / 1000,
  log,
  onFatal: (error) => {
    log(`stopped: ${error.message}`);
    process.exit(1);
  },
  handle: async ({ segmentId, traceId, revision, generations, flushIds, missingPartCount, spans }) => {
    const names = spans.map((text): string => JSON.parse(text).name);
    console.log(JSON.stringify({ traceId, segmentId, revision, generations, flushIds, missingPartCount, names }));
  },
});

process.once('SIGTERM', async () => {
  await reader.stop();
  await kafka.close();
});
