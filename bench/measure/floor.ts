/**
 * What storing without assembling costs: one value per span, nothing else. It is a fair floor because only the work that
 * spanbuf adds is missing: the same ioredis client, the same grouping into one pipeline per node and batch, one batch
 * after the other, the same payloads, keys of similar length that spread over all slots, values as buffers.
 */
import type { Span } from '@spanbuf/buffer';
import { hashSlot } from '@spanbuf/keys';
import { type ChainableCommander, Cluster, type Redis } from 'ioredis';
import type { Workload } from '../workload/spans.ts';

const TTL_SECONDS = 86_400;

/** One `SET key payload EX ttl` per span. */
export async function writeFloor(client: Redis | Cluster, { batches }: Workload): Promise<void> {
  for (const batch of batches) {
    await inPipelines(client, batch, (pipeline, key, { payload }) =>
      pipeline.set(key, payload as Buffer, 'EX', TTL_SECONDS),
    );
  }
}

/** One `GET key` per span. @returns payload bytes read. */
export async function readFloor(client: Redis | Cluster, { batches }: Workload): Promise<number> {
  let bytes = 0;
  for (const batch of batches) {
    const payloads = await inPipelines(client, batch, (pipeline, key) => pipeline.getBuffer(key));
    for (const payload of payloads) bytes += (payload as Buffer).length;
  }
  return bytes;
}

/** One `UNLINK key` per span. */
export async function removeFloor(client: Redis | Cluster, { batches }: Workload): Promise<void> {
  for (const batch of batches) await inPipelines(client, batch, (pipeline, key) => pipeline.unlink(key));
}

/** Replies come by node, not in the order of the spans: for the floor that does not matter. */
async function inPipelines(
  client: Redis | Cluster,
  spans: readonly Span[],
  add: (pipeline: ChainableCommander, key: string, span: Span) => void,
): Promise<unknown[]> {
  const nodeOf = ownersOf(client);
  const pipelines = new Map<Redis, ChainableCommander>();
  for (const span of spans) {
    const key = `floor:{${span.projectId}:${span.traceId}:${span.spanId}}`;
    const node = nodeOf(key);
    let pipeline = pipelines.get(node);
    if (pipeline === undefined) {
      pipeline = node.pipeline();
      pipelines.set(node, pipeline);
    }
    add(pipeline, key, span);
  }
  const results = await Promise.all([...pipelines.values()].map((pipeline) => pipeline.exec()));
  return results.flatMap((replies) =>
    (replies ?? []).map(([error, reply]) => {
      if (error) throw error;
      return reply;
    }),
  );
}

function ownersOf(client: Redis | Cluster): (key: string) => Redis {
  if (!(client instanceof Cluster)) return () => client;
  const nodes = new Map<string, Redis>();
  for (const node of client.nodes('master')) nodes.set(`${node.options.host}:${node.options.port}`, node);
  return (key) => nodes.get(client.slots[hashSlot(key)]?.[0] as string) as Redis;
}
