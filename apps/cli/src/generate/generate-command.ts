import { Command, Option } from 'commander';
import { COMPRESSIONS, DEFAULT_RATE, DEFAULT_TOPIC, type RawGenerateSettings } from './generate-settings.ts';
import { INVALID_KINDS } from './invalid-messages.ts';
import { TRACE_SHAPES } from './trace-shapes.ts';

const LINE_CHARACTERS = 110;

const NOTES = `
Without --kafka it writes to a file, one span a line. The same seed, options and start make the same messages in the same
order. Spans have about 1 KB, traces overlap, children come before their parents as a rule. Kinds of traces, by percent:

${TRACE_SHAPES.map(({ name, share, description }) => `  ${String(share).padStart(4)}  ${name.padEnd(14)}  ${description}`).join('\n')}

Within a segment less than 10 seconds pass between two spans, except for spans that are late (--late-share): those come
3 to 40 seconds after the root, of a share of the segments that have one.

Broken messages (--invalid-share), each kind in its turn:
${lines(Object.keys(INVALID_KINDS))}
A file has none that are empty, and no tombstones.

To Kafka: messages carry the time at which the span was received. With --rate a message is sent when that time has come,
so what lies before the present (--start) goes out at once, and from then on the load is live. Without --rate all is sent
as fast as the brokers take it; without --start as well, messages carry the time of sending. What they did not
acknowledge is sent again, and may be there twice then. For TLS and SASL set SPANBUF_KAFKA_TLS,
SPANBUF_KAFKA_SASL_MECHANISM and so on, as for the services.

Exit codes: 0 all was written or acknowledged, also when it was stopped by SIGINT or SIGTERM on its way to Kafka; 1 some
messages were refused or not acknowledged; 2 wrong usage, or a file or Kafka failed; 70 a bug; 141 nobody reads the
output any more; 130 and 143 a file was stopped by SIGINT and SIGTERM.`;

/** Words as a list, in lines that are not too long. */
function lines(words: readonly string[]): string {
  let text = ' ';
  for (const [i, word] of words.entries()) {
    if (text.length - text.lastIndexOf('\n') + word.length > LINE_CHARACTERS) text += '\n ';
    text += ` ${word}${i < words.length - 1 ? ',' : '.'}`;
  }
  return text;
}

/** `spanbuf generate` as commander knows it. */
export function createGenerateCommand(generate: (raw: RawGenerateSettings) => Promise<void>): Command {
  return new Command('generate')
    .description('Makes spans as traced services send them, into a file or Kafka, for tests of load.')
    .option('-n, --spans <N>', 'messages in all (to Kafka with --rate, default: without end)')
    .option('--rate <SPANS>', `messages per second on average (default: times as of ${DEFAULT_RATE})`)
    .addOption(new Option('--seed <N>', 'another seed makes other traces').default('1', '1'))
    .option('--start <SECONDS>', 'Unix time at which the first trace begins (default: now)')
    .addOption(new Option('--projects <N>', 'projects that traces belong to').default('40', '40'))
    .addOption(new Option('--invalid-share <SHARE>', 'of messages that are no spans, 0 to 1').default('0', '0'))
    .addOption(
      new Option('--late-share <SHARE>', 'of segments with a late span, 0 to 1; 0: each in one piece').default(
        '0.01',
        '0.01',
      ),
    )
    .option('-o, --output <FILE>', 'file for the spans, overwritten; - is stdout (default: -)')
    .option('--kafka <HOSTS>', 'send to these brokers instead: host:port,host:port')
    .option('--topic <NAME>', `topic to send to (default: ${DEFAULT_TOPIC})`)
    .option('--partitions <N>', 'create the topic with as many where it is missing')
    .option('--compression <NAME>', `${COMPRESSIONS.join(', ')} (default: zstd)`)
    .option('--key <KEY>', 'trace: the trace id, one partition for each trace; none: spread (default: trace)')
    .addHelpText('after', NOTES)
    .action((raw: RawGenerateSettings) => generate(raw));
}
