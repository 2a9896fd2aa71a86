import { quote } from '../printable.ts';
import { allowedBy } from '../settings/schemas.ts';
import type { SettingDefinitions } from '../settings/setting.ts';

/** What the command line asks for. */
export type Command = 'run' | 'help' | 'version' | 'print-config' | 'check-config';

/** The command line is wrong; the message says how. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const COMMANDS: Readonly<Record<string, Command>> = {
  '--help': 'help',
  '-h': 'help',
  '--version': 'version',
  '-V': 'version',
  '--print-config': 'print-config',
  '--check-config': 'check-config',
};

/** @throws {@link UsageError} */
export function parseCommand(argv: readonly string[]): Command {
  const [first, ...more] = argv.map((argument) => {
    const command = Object.hasOwn(COMMANDS, argument) ? COMMANDS[argument] : undefined;
    if (command === undefined) throw new UsageError(`unknown argument ${quote(argument)}; --help lists all`);
    return command;
  });
  if (more.length > 0) throw new UsageError('more than one argument; --help lists all');
  return first ?? 'run';
}

export interface Described {
  readonly name: string;
  readonly description: string;
  readonly settings: SettingDefinitions;
}

/** What `--help` prints. */
export function helpText({ name, description, settings }: Described): string {
  const lines = Object.values(settings).map((setting) => {
    const fallback = setting.schema.safeParse(undefined);
    const note = !fallback.success ? 'required' : fallback.data === undefined ? '' : `default ${fallback.data}`;
    const allowed = [allowedBy(setting.schema), note].filter((part) => part !== '').join('; ');
    return `  ${setting.name}\n      ${setting.description}\n      ${allowed}\n`;
  });
  return `Usage: ${name} [option]

${description}

Options:
  --print-config  print the settings in force, secrets masked, and end
  --check-config  check the settings, reach everything they name once, and end
  -V, --version   print the version
  -h, --help      print this help

Settings come from the environment:
${lines.join('')}
Health and metrics are served on SPANBUF_HTTP_PORT: /livez, /readyz, /metrics.
SIGTERM and SIGINT end it in order; a second one ends it at once.

Exit codes: 0 ended in order; 1 could not start, go on, or end in time; 2 wrong arguments or settings; 70 a bug;
130 and 143 ended at once by a second SIGINT or SIGTERM.
`;
}
