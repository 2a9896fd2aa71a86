/**
 * A member of a group in a process of its own: `member.mjs <brokers> <topic> <group>`. Prints a JSON line for each batch
 * and commits it after a line on standard input. Runs what was built, as users do.
 */
import { createInterface } from 'node:readline';
import { createKafka } from '@spanbuf/kafka';

const [brokers = '', topic = '', groupId = ''] = process.argv.slice(2);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** @param {object} line */
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const kafka = createKafka({ brokers: [brokers], clientId: 'member' });
/** @type {import('@spanbuf/kafka').LogConsumer} */
const consumer = await kafka.consume({
  topic,
  groupId,
  sessionTimeoutMs: 1_000,
  heartbeatIntervalMs: 100,
  maxWaitMs: 20,
  onFatal: (error) => print({ fatal: error.message }),
  onBatch: async ({ partition, messages, nextOffset, assignment }) => {
    print({ partition, texts: messages.map(({ value }) => `${value}`) });
    await input.next();
    print({ committed: await consumer.commit(assignment, new Map([[partition, nextOffset]])) });
  },
});
