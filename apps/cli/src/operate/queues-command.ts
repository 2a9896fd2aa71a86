import type { Command } from 'commander';
import type { RawQueuesSettings } from './queues-settings.ts';
import { REDIS_NOTES, withRedisOptions } from './redis-connection.ts';

const NOTES = `
A line for each shard: entries that wait (QUEUED), of them those that flushers may take now (DUE), how long the oldest of these has
been due in message time (OVERDUE), in how many of the 16 lanes they are, entries that flushers have leased (IN FLIGHT), how many
of these leases are over and in what time the next one ends, entries that could not be produced once or twice (TRIED), what is
parked, and how far the consumer is behind. With --watch on a terminal q or Ctrl-C ends it.

Cost: reads only. Two round trips, and one for each 8 shards; some 55 commands a shard, each O(1) or O(log n), however much is
queued: some 0.2 ms of Redis a shard, each time.

${REDIS_NOTES}

Exit codes: 0 done; 2 wrong usage, or Redis failed; 70 a bug.`;

export type RunQueues = (raw: RawQueuesSettings) => Promise<void>;

/** Adds `spanbuf queues`. */
export function addQueuesCommand(program: Command, run: RunQueues): void {
  const command = program.command('queues').description('Shows how much waits in the queue of each shard.');
  withRedisOptions(command)
    .option('--watch', 'go on until it is stopped')
    .option('--interval <SECONDS>', 'between two looks, with --watch (default: 2)')
    .option('--json', 'one JSON object a look, a line each')
    .addHelpText('after', NOTES)
    .action((raw: RawQueuesSettings) => run(raw));
}
