import { type RedisClusterServers, type RedisServer, startRedisCluster } from '@spanbuf/tooling/redis-servers';
import { Redis } from 'ioredis';

/** Says something to one node, over a connection of its own. */
export async function on<T>(node: RedisServer, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ ...node.connection, enableReadyCheck: false });
  client.on('error', () => {});
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

/** Three masters with all slots, and a fourth one without any: no client has heard of it. */
export async function startClusterWithSpare(): Promise<{ servers: RedisClusterServers; spare: RedisServer }> {
  const servers = await startRedisCluster({ masters: 4 });
  const [heir, , , spare] = servers.nodes as [RedisServer, RedisServer, RedisServer, RedisServer];
  const heirId = String(await on(heir, (client) => client.call('CLUSTER', ['MYID'])));
  for (const node of [spare, ...servers.nodes.slice(0, 3)]) {
    await on(node, async (client) => {
      const pipeline = client.pipeline();
      for (let slot = 12_288; slot < 16_384; slot++) pipeline.call('CLUSTER', ['SETSLOT', slot, 'NODE', heirId]);
      for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
    });
  }
  await on(heir, (client) => client.call('CLUSTER', ['BUMPEPOCH']));
  await servers.settled();
  return { servers, spare };
}
