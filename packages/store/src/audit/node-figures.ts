import type { NodeFigures } from '../inspector.ts';
import type { RedisRunner } from '../redis/redis-runner.ts';

const KIB = 1_024;

/** What every master says of itself. */
export async function readNodes(runner: RedisRunner): Promise<NodeFigures[]> {
  const replies = await runner.askMasters('info', ['memory', 'stats', 'clients']);
  return replies.map(({ node, reply }) => {
    if (reply === undefined) return { node, load: undefined };
    const info = String(reply);
    const field = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
    const load = {
      usedBytes: field('used_memory'),
      maxBytes: field('maxmemory'),
      peakBytes: field('used_memory_peak'),
      evictedKeys: field('evicted_keys'),
      commandsPerSecond: field('instantaneous_ops_per_sec'),
      inputBytesPerSecond: field('instantaneous_input_kbps') * KIB,
      outputBytesPerSecond: field('instantaneous_output_kbps') * KIB,
      clientCount: field('connected_clients'),
    };
    return { node, load };
  });
}
