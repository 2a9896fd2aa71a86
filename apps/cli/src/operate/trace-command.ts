import type { Command } from 'commander';
import { REDIS_NOTES, withRedisOptions } from './redis-connection.ts';
import type { RawTraceSettings, TraceAction } from './trace-settings.ts';

const NOTES = `
Consumers and flushers look every 2 seconds which traces are watched. Of these they log every step, at level debug, whatever
SPANBUF_LOG_LEVEL says: "step of a watched trace", with traceId and step. docs/tracing.md says what the steps are.

${REDIS_NOTES}

Exit codes: 0 done; 1 off: it was not watched; 2 wrong usage, as many traces are watched as can be, or Redis failed; 70 a bug.`;

export type RunTrace = (action: TraceAction, names: readonly string[], raw: RawTraceSettings) => Promise<void>;

/** Adds `spanbuf trace`. */
export function addTraceCommand(program: Command, run: RunTrace): void {
  const command = program.command('trace').description('Has every step of chosen traces logged, while all is running.');
  const add = (action: TraceAction, description: string): Command =>
    withRedisOptions(command.command(action).description(description)).addHelpText('after', NOTES);
  add('on', 'Watches a trace, for some time.')
    .argument('<PROJECT>', 'id of its project')
    .argument('<TRACE>', '32 hex digits')
    .option('--for <TIME>', 'how long: seconds, or 90s, 10m, 2h; at most 24h', '10m')
    .action((project: string, trace: string, raw: RawTraceSettings) => run('on', [project, trace], raw));
  add('off', 'Watches a trace no longer.')
    .argument('<PROJECT>', 'id of its project')
    .argument('<TRACE>', '32 hex digits')
    .action((project: string, trace: string, raw: RawTraceSettings) => run('off', [project, trace], raw));
  add('list', 'Lists the traces that are watched, and for how long still.')
    .option('--json', 'one JSON object a line')
    .action((raw: RawTraceSettings) => run('list', [], raw));
}
