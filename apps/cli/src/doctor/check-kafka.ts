import { createKafka, type Kafka, KafkaTopicMissingError, type TopicInspection } from '@spanbuf/kafka';
import { MESSAGE_OVERHEAD_BYTES, MessageLimitError, messageLimit, readKafkaConnection } from '@spanbuf/service';
import { away, type Patient } from './check-redis.ts';
import { longestHeldSeconds } from './check-ttl.ts';
import type { SystemSettings } from './doctor-settings.ts';
import type { CheckName, Finding } from './finding.ts';

/** Around the spans of a message, and what each gets. */
const ENVELOPE_BYTES = 1_024;

interface Topic extends TopicInspection {
  readonly name: string;
}

/** All that can be seen of Kafka. */
export async function checkKafka({ settings, apps }: Patient): Promise<Finding[]> {
  const kafka = createKafka(readKafkaConnection(settings, 'spanbuf-doctor'));
  try {
    try {
      await kafka.check();
    } catch (error) {
      return [away('kafka-reach', (error as Error).message, 'SPANBUF_KAFKA_BROKERS')];
    }
    const { inputTopic, deadLetterTopic, outputTopic } = settings;
    const isConsumer = apps.includes('consumer');
    const isFlusher = apps.includes('flusher');
    const findings: Finding[] = [{ check: 'kafka-reach', level: 'ok', detail: 'it answers' }];
    const look = async (name: string, setting: string): Promise<Topic | undefined> => {
      const { finding, topic } = await inspect(kafka, name, setting);
      findings.push(finding);
      if (topic !== undefined) findings.push(...checkPartitions(topic));
      return topic;
    };
    const input = isConsumer ? await look(inputTopic, 'SPANBUF_INPUT_TOPIC') : undefined;
    const deadLetters = isConsumer ? await look(deadLetterTopic, 'SPANBUF_DLQ_TOPIC') : undefined;
    const output = isFlusher ? await look(outputTopic, 'SPANBUF_OUTPUT_TOPIC') : undefined;
    if (output !== undefined) findings.push(...checkMessageSize(output, settings));
    if (input !== undefined && output !== undefined) findings.push(...checkSpanSize(input, output, settings));
    if (input !== undefined && deadLetters !== undefined) findings.push(...checkDeadLetters(input, deadLetters));
    for (const topic of [input, output]) if (topic !== undefined) findings.push(...checkCleanup(topic));
    if (input !== undefined) findings.push(...checkRetention(input, settings));
    return findings;
  } finally {
    await kafka.close();
  }
}

async function inspect(kafka: Kafka, name: string, setting: string): Promise<{ finding: Finding; topic?: Topic }> {
  const at = { check: 'kafka-topic', subject: name } as const;
  try {
    const topic = { name, ...(await kafka.inspectTopic(name)) };
    const count = topic.partitions.size;
    return { finding: { ...at, level: 'ok', detail: `${count} partition${count === 1 ? '' : 's'}` }, topic };
  } catch (error) {
    if (error instanceof KafkaTopicMissingError) {
      const remedy = `create it, or correct ${setting}: the services create none`;
      return {
        finding: { ...at, level: 'fault', detail: 'it does not exist', why: 'the services refuse to start', remedy },
      };
    }
    return {
      finding: {
        ...at,
        level: 'unknown',
        detail: `could not look: ${(error as Error).message}`,
        why: 'nothing of it could be looked at',
        remedy: 'permit Describe and DescribeConfigs on it, or ask again',
      },
    };
  }
}

function checkPartitions({ name, partitions, config }: Topic): Finding[] {
  const at = { check: 'kafka-partitions', subject: name } as const;
  const leaderless = [...partitions].filter(([, { hasLeader }]) => !hasLeader).map(([partition]) => partition);
  const leastInSync = Number(config?.get('min.insync.replicas') ?? 1);
  const thin = [...partitions]
    .filter(([, { hasLeader, inSyncCount }]) => hasLeader && inSyncCount < leastInSync)
    .map(([partition]) => partition);
  const impossible = [...partitions].some(([, { replicaCount }]) => replicaCount < leastInSync);
  const findings: Finding[] = [];
  if (leaderless.length > 0) {
    findings.push({
      ...at,
      level: 'fault',
      detail: `nobody leads partitions ${listed(leaderless)}`,
      why: 'they can be neither read nor written',
      remedy: 'bring the brokers back that have their replicas',
    });
  }
  if (thin.length > 0) {
    findings.push({
      ...at,
      level: 'fault',
      detail: `partitions ${listed(thin)} have fewer replicas in sync than min.insync.replicas (${leastInSync})`,
      why: 'Kafka takes no message that is to be acknowledged by all replicas, and the services send no others',
      remedy: impossible
        ? 'the topic has fewer replicas than that: reassign it with more, or lower min.insync.replicas'
        : 'bring the brokers back that have the others',
    });
  }
  if (findings.length > 0) return findings;
  return [{ ...at, level: 'ok', detail: 'all have a leader and enough replicas in sync' }];
}

function checkMessageSize(output: Topic, settings: SystemSettings): Finding[] {
  const at = { check: 'kafka-message-size', subject: output.name } as const;
  const topicBytes = longestOf(output);
  try {
    const limit = messageLimit({ ...settings, outputTopic: output.name }, topicBytes);
    if (topicBytes === undefined) return [unread(at.check, output.name, settings.maxMessageBytes)];
    return [{ ...at, level: 'ok', detail: `messages of up to ${limit} bytes, of ${topicBytes} that it takes` }];
  } catch (error) {
    if (!(error instanceof MessageLimitError)) throw error;
    return [
      {
        ...at,
        level: 'fault',
        detail: error.message,
        why: 'the flusher refuses to start: Kafka would take no longer segment',
        remedy: 'lower SPANBUF_MAX_MESSAGE_BYTES, or raise max.message.bytes of the topic, and what its readers fetch',
      },
    ];
  }
}

/** A limit that may not be read: a fault only where nobody has said what it is. */
function unread(check: CheckName, subject: string, maxMessageBytes: number | undefined): Finding {
  const detail = 'could not look: no permission to read the configuration of the topic (DescribeConfigs)';
  return {
    check,
    level: maxMessageBytes === undefined ? 'unknown' : 'ok',
    subject,
    detail: maxMessageBytes === undefined ? detail : `${detail}; SPANBUF_MAX_MESSAGE_BYTES says ${maxMessageBytes}`,
    why: 'segments are cut to 10 MiB then, and a topic that takes less refuses them: they are parked',
    remedy: 'permit DescribeConfigs on the topic, or set SPANBUF_MAX_MESSAGE_BYTES to what it takes',
  };
}

/** The longest span that may come against the longest message that may go. */
function checkSpanSize(input: Topic, output: Topic, settings: SystemSettings): Finding[] {
  const [inputBytes, topicBytes] = [longestOf(input), longestOf(output)];
  if (inputBytes === undefined || topicBytes === undefined) return [];
  const at = { check: 'kafka-span-size', subject: output.name } as const;
  const spanBytes = Math.min(settings.maxSpanBytes, inputBytes);
  const neededBytes = spanBytes + ENVELOPE_BYTES + MESSAGE_OVERHEAD_BYTES;
  const limitBytes = Math.min(topicBytes, (settings.maxMessageBytes ?? topicBytes) + MESSAGE_OVERHEAD_BYTES);
  if (limitBytes >= neededBytes)
    return [
      { ...at, level: 'ok', detail: `a span of ${spanBytes} bytes, the longest there may be, fits into a message` },
    ];
  return [
    {
      ...at,
      level: 'warning',
      detail: `a span may have ${spanBytes} bytes, and a message with it ${neededBytes}; it takes ${limitBytes}`,
      why: 'a segment with a longer span than fits cannot be produced: it is parked, and waits for an operator',
      remedy: `raise max.message.bytes of the topic, and SPANBUF_MAX_MESSAGE_BYTES, to ${neededBytes}, or lower SPANBUF_MAX_SPAN_BYTES to ${Math.max(1, limitBytes - ENVELOPE_BYTES - MESSAGE_OVERHEAD_BYTES)}`,
    },
  ];
}

function checkDeadLetters(input: Topic, deadLetters: Topic): Finding[] {
  const [inputBytes, bytes] = [longestOf(input), longestOf(deadLetters)];
  if (inputBytes === undefined || bytes === undefined) return [];
  const at = { check: 'kafka-dead-letters', subject: deadLetters.name } as const;
  const neededBytes = inputBytes + MESSAGE_OVERHEAD_BYTES;
  if (bytes >= neededBytes)
    return [{ ...at, level: 'ok', detail: `takes messages of ${bytes} bytes, ${inputBytes} come in` }];
  return [
    {
      ...at,
      level: 'warning',
      detail: `max.message.bytes is ${bytes}, and messages of ${inputBytes} may come in`,
      why: 'a dead letter is the message and some headers: one that is too long goes without its value',
      remedy: `raise max.message.bytes of the topic to ${neededBytes}`,
    },
  ];
}

function checkCleanup({ name, config }: Topic): Finding[] {
  const policy = config?.get('cleanup.policy');
  if (policy === undefined) return [];
  const at = { check: 'kafka-cleanup', subject: name } as const;
  if (!policy.includes('compact')) return [{ ...at, level: 'ok', detail: `cleanup.policy is ${policy}` }];
  return [
    {
      ...at,
      level: 'fault',
      detail: `cleanup.policy is ${policy}`,
      why: 'many messages have the same key, the trace id: Kafka deletes all but the last of them, and spans with them',
      remedy: 'set cleanup.policy of the topic to delete',
    },
  ];
}

function checkRetention({ name, config }: Topic, settings: SystemSettings): Finding[] {
  if (settings.commit !== 'flushed' || config === undefined) return [];
  const at = { check: 'kafka-retention', subject: name } as const;
  const heldSeconds = longestHeldSeconds(settings);
  const retentionMs = Number(config.get('retention.ms') ?? -1);
  const retentionBytes = Number(config.get('retention.bytes') ?? -1);
  if (retentionMs >= 0 && retentionMs < heldSeconds * 1_000) {
    return [
      {
        ...at,
        level: 'fault',
        detail: `retention.ms is ${retentionMs}, and an offset may be open for ${heldSeconds} s`,
        why: 'with SPANBUF_COMMIT=flushed Kafka is the copy of what Redis holds: what is deleted there before it is produced is lost with Redis',
        remedy: `raise retention.ms of the topic to ${heldSeconds * 1_000}, and by as much as an outage may take`,
      },
    ];
  }
  if (retentionBytes >= 0) {
    return [
      {
        ...at,
        level: 'warning',
        detail: `retention.bytes is ${retentionBytes}: how long that is depends on the traffic`,
        why: `with SPANBUF_COMMIT=flushed Kafka must keep what may still be open, ${heldSeconds} s of it`,
        remedy: 'limit the topic by retention.ms alone, or see that the bytes are those of a much longer time',
      },
    ];
  }
  return [{ ...at, level: 'ok', detail: `retention.ms is ${retentionMs}, an offset may be open for ${heldSeconds} s` }];
}

function longestOf({ config }: Topic): number | undefined {
  const text = config?.get('max.message.bytes');
  return text === undefined ? undefined : Number(text);
}

const MOST_LISTED = 10;

function listed(numbers: readonly number[]): string {
  const some = numbers.slice(0, MOST_LISTED).join(', ');
  return numbers.length > MOST_LISTED ? `${some}, …` : some;
}
