import type { Command } from 'commander';
import type { RawInspectSettings } from './inspect-settings.ts';
import { REDIS_NOTES, withRedisOptions } from './redis-connection.ts';

const NOTES = `
For each segment that the buffer holds of the trace, live, sealed or parked: why it is not flushed yet, where its payloads
lie, and its spans as a tree, with the parents that are missing. TRACE is 32 hex digits or a UUID.

Cost: reads only, and only what belongs to this trace. Its structure in pages of 512 fields, at most 1,000,000 of them; the
figures of the shards that it is in; at most --payloads payloads and 64 MiB of them. No command takes a node more than
some 2 ms. A trace of 100,000 spans takes some 2,100 commands, and 0.05 s of Redis in all.

${REDIS_NOTES}

Exit codes: 0 the trace is known, held or not; 1 Redis knows nothing of it; 2 wrong usage, or Redis failed; 70 a bug.`;

export type RunInspect = (projectId: string, traceId: string, raw: RawInspectSettings) => Promise<void>;

/** Adds `spanbuf inspect`. */
export function addInspectCommand(program: Command, run: RunInspect): void {
  const command = program
    .command('inspect')
    .description('Shows what is held of a trace, where it lies, and why it is not flushed yet.')
    .argument('<PROJECT>', 'project id')
    .argument('<TRACE>', 'trace id');
  withRedisOptions(command)
    .option('--payloads <N>', 'at most so many payloads are read, of all segments together (default: 1000)')
    .option('--json', 'one JSON object')
    .addHelpText('after', NOTES)
    .action((projectId: string, traceId: string, raw: RawInspectSettings) => run(projectId, traceId, raw));
}
