import { type Command, Option } from 'commander';
import { type RawSizeSettings, SIZE_DEFAULTS } from './size-settings.ts';

const NOTES = `
Input: one span, a JSON object, a line; or what is in a topic at the moment, by the time stamps of its messages. Nothing is
written anywhere, and no offset is committed. All combinations of the lists are tried, in one pass, on the buffer of the
services with a store in memory; no more than --spans are read, and memory grows with them and with the combinations, not
with the length of the input. What Redis would take is reckoned. docs/size.md says how to read the table.

TLS and SASL for Kafka: SPANBUF_KAFKA_TLS, SPANBUF_KAFKA_SASL_MECHANISM and so on, as for the services.

Exit codes: 0 done; 2 wrong usage, or a file or Kafka failed; 70 a bug; 130 and 143 stopped by SIGINT and SIGTERM.`;

export type RunSize = (file: string | undefined, raw: RawSizeSettings) => Promise<void>;

/** Adds `spanbuf size`. */
export function addSizeCommand(program: Command, run: RunSize): void {
  const list = (flags: string, description: string, value: string): Option =>
    new Option(flags, description).default(value, value);
  program
    .command('size')
    .description(
      'Replays recorded spans with several settings: how complete segments would be, how late, at what cost.',
    )
    .argument('[FILE]', 'file of spans; - is stdin (default: -)')
    .option('--topic <NAME>', 'read a topic instead')
    .option('--kafka <HOSTS>', 'its brokers: host:port,host:port (default: SPANBUF_KAFKA_BROKERS)')
    .addOption(list('-n, --spans <N>', 'most spans that are read', SIZE_DEFAULTS.spans))
    .addOption(list('--root-timeout-seconds <LIST>', 'values to try, as of assemble', SIZE_DEFAULTS.rootTimeoutSeconds))
    .addOption(list('--timeout-seconds <LIST>', 'values to try', SIZE_DEFAULTS.timeoutSeconds))
    .addOption(list('--max-age-seconds <LIST>', 'values to try', SIZE_DEFAULTS.maxAgeSeconds))
    .addOption(list('--max-segment-bytes <LIST>', 'values to try', SIZE_DEFAULTS.maxSegmentBytes))
    .addOption(list('--dedupe-window-seconds <S>', 'as flushers have it', SIZE_DEFAULTS.dedupeWindowSeconds))
    .addOption(list('--batch-ms <MS>', 'as consumers have it: SPANBUF_BATCH_MS', SIZE_DEFAULTS.batchMs))
    .option('--json', 'one JSON object')
    .addHelpText('after', NOTES)
    .action((file: string | undefined, raw: RawSizeSettings) => run(file, raw));
}
