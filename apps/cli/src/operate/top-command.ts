import type { Command } from 'commander';
import { REDIS_NOTES, withRedisOptions } from './redis-connection.ts';
import type { RawTopSettings } from './top-settings.ts';

const NOTES = `
Rates of messages by how they ended, lag, the load of each Redis master, the shards with most trouble, and the projects and traces
that take up most of the queues. All of it comes from Redis, so nothing but Redis has to be reached: rates are from the books of
the partitions, over the last 10 seconds. What is queued is estimated from segments drawn by lot, where there are
more than --sample; ~ marks such figures. q or Ctrl-C ends it. Where stdout is no terminal, one frame is printed.

Cost: reads only. Each frame what spanbuf queues costs, one read of each partition's books, one INFO of each master, and a read
of two fields for each of --sample segments: with 64 shards and the defaults some 5,000 commands of a few microseconds each, spread
over all nodes. No command takes a node more than some 2 ms.

${REDIS_NOTES}

Exit codes: 0 done; 2 wrong usage, or Redis failed; 70 a bug.`;

export type RunTop = (raw: RawTopSettings) => Promise<void>;

/** Adds `spanbuf top`. */
export function addTopCommand(program: Command, run: RunTop): void {
  const command = program
    .command('top')
    .description('Live screen: rates, lag, memory of each Redis node, hottest projects and traces.');
  withRedisOptions(command)
    .option('--once', 'print one frame as text')
    .option('--interval <SECONDS>', 'between two frames; with --once what rates are measured over (default: 2)')
    .option('--sample <N>', 'queued segments that are looked at for each frame, 1 to 10000 (default: 1000)')
    .addHelpText('after', NOTES)
    .action((raw: RawTopSettings) => run(raw));
}
