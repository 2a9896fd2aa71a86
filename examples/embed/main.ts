/**
 * Takes spans by `POST /spans`, a JSON object a line, and prints each finished segment as a line of JSON.
 * Settings: REDIS_URL (a node, or nodes of a cluster separated by commas), PORT, ROOT_TIMEOUT_SECONDS, SLICE_ID.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRedisStore } from '@spanbuf/store';
import { Cluster, Redis } from 'ioredis';
import { SegmentService } from './segment-service.ts';

const MAX_BODY_BYTES = 8 * 1024 * 1024;

const {
  REDIS_URL = 'redis://localhost:6379',
  PORT = '8080',
  ROOT_TIMEOUT_SECONDS = '10',
  SLICE_ID = '0',
} = process.env;
const log = (text: string) => console.error(text);

const urls = REDIS_URL.split(',');
const redis = urls.length > 1 ? new Cluster(urls) : new Redis(REDIS_URL);
redis.on('error', (error) => log(`Redis: ${error.message}`));

const service = new SegmentService({
  store: createRedisStore(redis, { sliceId: Number(SLICE_ID) }),
  rootTimeoutSeconds: Number(ROOT_TIMEOUT_SECONDS),
  clock: () => Date.now() / 1000,
  log,
  deliver: async (segment) => {
    const { segmentId, generation, reason } = segment;
    for (const { flushId, value } of segment.messages()) {
      const spans = JSON.parse(String(value)).spans.map(({ name }: { name: string }) => name);
      console.log(JSON.stringify({ flushId, segmentId, generation, reason, spans }));
    }
  },
});

const server = createServer(async (request, response) => {
  if (request.method !== 'POST' || request.url !== '/spans') return void response.writeHead(404).end();
  try {
    // Rejects when the client goes away in the middle of it.
    const body = await readBody(request);
    if (body === undefined) return void response.writeHead(413, { connection: 'close' }).end();
    const received = await service.receive(body.split('\n').filter((line) => line.trim() !== ''));
    response.writeHead(202, { 'content-type': 'application/json' }).end(JSON.stringify(received));
  } catch (error) {
    // Nothing, or not all of it, is stored: the sender has to try again.
    log(`receive: ${error}`);
    response.writeHead(503, { 'retry-after': '1' }).end();
  }
});

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

service.start();
server.listen(Number(PORT), () => log(`listening on port ${(server.address() as AddressInfo).port}`));

process.once('SIGTERM', async () => {
  await new Promise((resolve) => server.close(resolve));
  await service.stop();
  redis.disconnect();
});
