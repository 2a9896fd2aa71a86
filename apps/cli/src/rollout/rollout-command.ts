import { LAYOUTS } from '@spanbuf/store';
import type { Command } from 'commander';
import { REDIS_NOTES, withRedisOptions } from '../operate/redis-connection.ts';
import type { RawRolloutSettings } from './run-rollout.ts';

const NOTES = `
Layouts, in the order in which a system moves through them: ${LAYOUTS.join(', ')}.
Nothing is written. docs/rollout.md says how to move step by step, and what a check guarantees.

${REDIS_NOTES}`;

const STATUS_EXITS = `
Exit codes: 0 it was looked at; 2 wrong usage, or Redis failed; 70 a bug.`;
const CHECK_EXITS = `
Exit codes: 0 the layout can be entered; 1 it cannot yet; 2 wrong usage, or Redis failed; 70 a bug.`;

export type RunRollout = (
  action: 'status' | 'check',
  layout: string | undefined,
  raw: RawRolloutSettings,
) => Promise<void>;

/** Adds `spanbuf rollout`. */
export function addRolloutCommand(program: Command, run: RunRollout): void {
  const command = program
    .command('rollout')
    .description('Moving a running system to another layout: where it is, and whether it can go on.');
  const withOptions = (child: Command): Command =>
    withRedisOptions(child)
      .option('--sample <N>', 'how many of the held segments to look at (default: 1000)')
      .option('--json', 'one JSON object');
  withOptions(command.command('status'))
    .description('Shows which layouts the running services use, and in which layouts held segments are.')
    .addHelpText('after', NOTES + STATUS_EXITS)
    .action((raw: RawRolloutSettings) => run('status', undefined, raw));
  withOptions(command.command('check'))
    .description('Says whether all services may be moved to a layout, and if not, when or why not.')
    .argument('[LAYOUT]', 'which one (default: the next one, where all services are in the same)')
    .addHelpText('after', NOTES + CHECK_EXITS)
    .action((layout: string | undefined, raw: RawRolloutSettings) => run('check', layout, raw));
}
