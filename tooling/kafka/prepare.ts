/** Makes sure that Kafka can be started on this machine; says in one line why it cannot. */
import { prepareKafka } from '../kafka-servers.ts';

try {
  const { version } = await prepareKafka();
  console.log(`Kafka ${version} is there.`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
