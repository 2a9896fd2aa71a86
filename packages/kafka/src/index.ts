export { createKafka } from './create-kafka.ts';
export {
  KafkaRefusedError,
  KafkaTopicMissingError,
  KafkaUnavailableError,
  KafkaUnreadableBatchError,
  MessageRefusedError,
} from './errors.ts';
export type {
  Assignment,
  Compression,
  ConsumeOptions,
  Kafka,
  KafkaConnection,
  KafkaLog,
  LogBatch,
  LogConsumer,
  LogMessage,
  LogProducer,
  MessageHeaders,
  NewTopic,
  OutgoingMessage,
  PartitionInspection,
  ProducerOptions,
  SendOutcome,
  TopicDescription,
  TopicInspection,
} from './log.ts';
