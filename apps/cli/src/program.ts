import { LAYOUTS } from '@spanbuf/store';
import { Command, Option } from 'commander';
import { addDoctorCommand, type RunDoctor } from './doctor/doctor-command.ts';
import { createGenerateCommand } from './generate/generate-command.ts';
import type { RawGenerateSettings } from './generate/generate-settings.ts';
import { addAuditCommand, type RunAudit } from './operate/audit-command.ts';
import { addInspectCommand, type RunInspect } from './operate/inspect-command.ts';
import { addParkedCommand, type RunParked } from './operate/parked-command.ts';
import { addQueuesCommand, type RunQueues } from './operate/queues-command.ts';
import { addTopCommand, type RunTop } from './operate/top-command.ts';
import { addTraceCommand, type RunTrace } from './operate/trace-command.ts';
import { addRolloutCommand, type RunRollout } from './rollout/rollout-command.ts';
import { DEFAULT_LAYOUT, type RawSettings } from './settings.ts';
import { addSizeCommand, type RunSize } from './size/size-command.ts';

const NOTES = `
Input: one span, a JSON object, a line. Lines that are not spans are named on stderr and left out.
Output: one message of the output topic a line: {"flush_id": …, "spans": [ … ]}. Order is no matter, neither of the
lines nor of the spans.

Message time follows the spans' "received" (else "end_timestamp", else "start_timestamp"), whatever the wall clock says.
At the end of the input everything comes out.

In Redis, all keys of a run start with span-buf:cli:<random>: so that it meets neither a running system nor another run.
They expire by themselves, within minutes after a run that ended well, within a day otherwise.

Exit codes: 0 all spans came out; 1 some lines were refused, or spans are unaccounted for; 2 wrong usage, or a file or
Redis failed; 70 a bug; 141 nobody reads the output any more; 130 and 143 stopped by SIGINT and SIGTERM.`;

export interface ProgramOptions {
  readonly version: string;
  readonly assemble: (input: string, raw: RawSettings) => Promise<void>;
  readonly generate: (raw: RawGenerateSettings) => Promise<void>;
  readonly parked: RunParked;
  readonly audit: RunAudit;
  readonly inspect: RunInspect;
  readonly queues: RunQueues;
  readonly top: RunTop;
  readonly rollout: RunRollout;
  readonly doctor: RunDoctor;
  readonly trace: RunTrace;
  readonly size: RunSize;
}

/** The command line. Throws a CommanderError where commander would end the process. */
export function createProgram(options: ProgramOptions): Command {
  const { version, assemble, generate } = options;
  const program = new Command('spanbuf')
    .description('Assembles spans into segments, generates spans to try it with, and looks after a running system.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .exitOverride();
  program
    .command('assemble')
    .description('Assembles a file of spans into segments: NDJSON in, NDJSON out.')
    .argument('[FILE]', 'file of spans; - is stdin', '-')
    .option('-o, --output <FILE>', 'file for the messages, overwritten; - is stdout', '-')
    .option(
      '--store <URL>',
      'where segments wait: memory, redis://host:port, rediss://host:port, or redis-cluster://h1:p1,h2:p2',
      'memory',
    )
    .option('--layout <NAME>', `how payloads lie in Redis: ${LAYOUTS.join(', ')} (default: ${DEFAULT_LAYOUT})`)
    .addOption(defaulting('--batch-size <N>', 'spans processed at once, 1 to 100000', '1000'))
    .option(
      '--shuffle <SEED>',
      'process the spans in another order, the same for the same integer; holds FILE in memory',
    )
    .addOption(
      defaulting('--root-timeout-seconds <S>', 'quiet time after which a segment is due whose root was seen', '10'),
    )
    .addOption(
      defaulting('--timeout-seconds <S>', 'quiet time after which a segment is due whose root was not seen', '60'),
    )
    .addOption(defaulting('--max-age-seconds <S>', 'longest time until a segment is due', '600'))
    .addOption(
      defaulting('--max-segment-bytes <N>', 'a segment that reaches this goes out early, the rest follows', '10485760'),
    )
    .addOption(
      defaulting('--max-message-bytes <N>', 'a segment that is longer is cut into several messages', '10485760'),
    )
    .addHelpText('after', NOTES)
    .action((input: string, raw: RawSettings) => assemble(input, raw));
  program.addCommand(createGenerateCommand(generate).copyInheritedSettings(program));
  addInspectCommand(program, options.inspect);
  addQueuesCommand(program, options.queues);
  addTopCommand(program, options.top);
  addParkedCommand(program, options.parked);
  addAuditCommand(program, options.audit);
  addRolloutCommand(program, options.rollout);
  addDoctorCommand(program, options.doctor);
  addTraceCommand(program, options.trace);
  addSizeCommand(program, options.size);
  return program;
}

/** Commander would quote the default, as a string. */
function defaulting(flags: string, description: string, value: string): Option {
  return new Option(flags, description).default(value, value);
}
