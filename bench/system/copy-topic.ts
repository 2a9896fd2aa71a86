/**
 * The floor of `e2e`, a program of its own: copies a topic into another with kafkajs alone, message by message, without
 * looking at any. As the services do: zstd, acknowledged by all replicas, 1 MiB of a partition and 8 MiB in all in a fetch,
 * 2,000 messages in a request, several partitions at once.
 *
 * Arguments: brokers, input topic, output topic, consumer group. Both topics have equally many partitions.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import kafkajs from 'kafkajs';

const { CompressionCodecs, CompressionTypes, Kafka, logLevel, Partitioners } = kafkajs;

const MAX_MESSAGES = 2_000;
const PARTITIONS_AT_ONCE = 8;
const MIB = 2 ** 20;

const level1 = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder: { buffer: Buffer }) => zstdCompressSync(encoder.buffer, level1),
  decompress: async (bytes: Buffer) => zstdDecompressSync(bytes, { chunkSize: MIB }),
});

const [brokers = '', input = '', output = '', groupId = ''] = process.argv.slice(2);
const kafka = new Kafka({ clientId: 'copy-topic', brokers: brokers.split(','), logLevel: logLevel.ERROR });
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, allowAutoTopicCreation: false });
const consumer = kafka.consumer({ groupId, maxBytesPerPartition: MIB, maxBytes: 8 * MIB, maxWaitTimeInMs: 100 });

await producer.connect();
await consumer.connect();
await consumer.subscribe({ topic: input, fromBeginning: true });
await consumer.run({
  partitionsConsumedConcurrently: PARTITIONS_AT_ONCE,
  eachBatch: async ({ batch: { partition, messages } }) => {
    for (let at = 0; at < messages.length; at += MAX_MESSAGES) {
      await producer.send({
        topic: output,
        acks: -1,
        compression: CompressionTypes.ZSTD,
        messages: messages.slice(at, at + MAX_MESSAGES).map(({ key, value }) => ({ key, value, partition })),
      });
    }
  },
});
