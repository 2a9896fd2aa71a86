import type { Command } from 'commander';
import type { RawDoctorSettings } from './doctor-settings.ts';

const NOTES = `
It reads the settings of the services from the environment, SPANBUF_REDIS_URL and SPANBUF_KAFKA_BROKERS at least: run it with what
they have, where they run, as the users that they are. Nothing is written. docs/doctor.md says what each check looks for.

Exit codes: 0 nothing is wrong, apart from warnings; 1 there is a fault; 2 there is none, but something could not be looked at, or the
settings are wrong; 70 a bug.`;

export type RunDoctor = (raw: RawDoctorSettings) => Promise<void>;

/** Adds `spanbuf doctor`. */
export function addDoctorCommand(program: Command, run: RunDoctor): void {
  program
    .command('doctor')
    .description('Checks everything that must be right before going live: Redis, Kafka, clocks, permissions, settings.')
    .option('--app <NAME>', 'for consumer or flusher alone, where they have users of their own (default: both)')
    .option('--json', 'one JSON object a line: each finding, then the verdict')
    .addHelpText('after', NOTES)
    .action((raw: RawDoctorSettings) => run(raw));
}
