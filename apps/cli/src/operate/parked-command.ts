import { type Command, Option } from 'commander';
import type { ParkedAction, RawParkedSettings } from './parked-settings.ts';
import { REDIS_NOTES, withRedisOptions } from './redis-connection.ts';

const NOTES = `
A segment is parked when it could not be produced three times: the broker refuses its message for good, or a payload in
Redis cannot be read. It stays in Redis, with the reason, until it is put back or deleted. NAME is what list shows.

${REDIS_NOTES}

Exit codes: 0 done; 2 wrong usage, nothing of that name is parked, or Redis failed; 70 a bug.`;

export type RunParked = (action: ParkedAction, names: readonly string[], raw: RawParkedSettings) => Promise<void>;

/** Adds `spanbuf parked`. */
export function addParkedCommand(program: Command, run: RunParked): void {
  const command = program
    .command('parked')
    .description('Segments that could not be produced: list, look at, retry, delete.');
  const add = (action: ParkedAction, description: string): Command => {
    const child = command.command(action).description(description);
    return withRedisOptions(child)
      .option('--shard <N>', 'only those of this shard')
      .option('--project <ID>', 'only those of this project')
      .option('--trace <ID>', 'only those of this trace')
      .addHelpText('after', NOTES);
  };
  const json = new Option('--json', 'one JSON object a line');
  add('list', 'Lists what is parked, and why.')
    .option('--limit <N>', 'at most so many (default: 100)')
    .addOption(json)
    .action((raw: RawParkedSettings) => run('list', [], raw));
  add('show', 'Shows what is parked, with its spans.')
    .argument('[NAME...]', 'which segments (default: all that the options select)')
    .option('--limit <N>', 'at most so many (default: 10)')
    .addOption(json)
    .action((names: string[], raw: RawParkedSettings) => run('show', names, raw));
  add('retry', 'Puts segments back: flushers take them at once, and have three tries again.')
    .argument('[NAME...]', 'which segments')
    .option('--limit <N>', 'at most so many (default: all)')
    .option('--all', 'everything that is parked')
    .addOption(json)
    .action((names: string[], raw: RawParkedSettings) => run('retry', names, raw));
  add('delete', 'Deletes segments for good: nobody ever gets their spans.')
    .argument('[NAME...]', 'which segments')
    .option('--limit <N>', 'at most so many (default: all)')
    .option('--all', 'everything that is parked')
    .option('--yes', 'needed where segments are not named')
    .addOption(json)
    .action((names: string[], raw: RawParkedSettings) => run('delete', names, raw));
}
