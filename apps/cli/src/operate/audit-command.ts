import type { Command } from 'commander';
import type { RawAuditSettings } from './audit-settings.ts';
import { REDIS_NOTES, withRedisOptions } from './redis-connection.ts';

const NOTES = `
Consumers and flushers may go on meanwhile. What looks wrong is looked at again after --min-age, and counts when it is as it
was. Without --repair and --write-off nothing is written. docs/audit.md says what each finding means.

${REDIS_NOTES}

Exit codes: 0 the books balance, and nothing was found or everything was mended; 1 something was found that is not mended;
2 wrong usage, or Redis failed; 70 a bug.`;

export type RunAudit = (raw: RawAuditSettings) => Promise<void>;

/** Adds `spanbuf audit`. */
export function addAuditCommand(program: Command, run: RunAudit): void {
  const command = program
    .command('audit')
    .description('Checks that every span is accounted for, and that what is in Redis hangs together.');
  withRedisOptions(command)
    .option('--repair', 'mend what can be mended')
    .option('--write-off', 'count as lost what was read and is held by nothing; not while it may be read again')
    .option(
      '--min-age <SECONDS>',
      'how long it must be wrong to count (default: 30; 3600 for payloads without a segment)',
    )
    .option('--max-lease <SECONDS>', 'the longest lease that any flusher takes (default: 86400)')
    .option('--json', 'one JSON object a line: each finding, then the report')
    .addHelpText('after', NOTES)
    .action((raw: RawAuditSettings) => run(raw));
}
