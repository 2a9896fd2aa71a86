import { SpanbufError } from '@spanbuf/keys';
import { quote } from '../printable.ts';
import { nearestName } from './nearest-name.ts';
import { allowedBy } from './schemas.ts';
import type { Setting, SettingDefinitions, SettingsOf } from './setting.ts';

/** The environment says something that cannot be. `message` has a line for each problem, without secrets. */
export class InvalidSettingsError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_SETTINGS';
  readonly retriable = false;
  /** One line each. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), options);
    this.problems = problems;
  }
}

const PREFIX = 'SPANBUF_';

/**
 * What Kubernetes puts into every container for each service of the namespace, where service links are on: a service named
 * `spanbuf-consumer` gives `SPANBUF_CONSUMER_SERVICE_HOST` and `SPANBUF_CONSUMER_PORT=tcp://…`. Nobody set these.
 */
const SERVICE_LINK_NAME = /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;
const SERVICE_LINK_VALUE = /^(tcp|udp|sctp):\/\/[^/]+:\d+$/;

export interface ParseRules<D extends SettingDefinitions> {
  /** Contradictions between settings that are fine by themselves, a line each. */
  readonly rules?: ((settings: SettingsOf<D>) => readonly string[]) | undefined;
  /** Names of settings that other services have, and that may be in the same environment. */
  readonly otherSettings?: readonly string[] | undefined;
}

/**
 * Reads the environment. An empty variable counts as absent.
 * @throws {@link InvalidSettingsError} with every problem at once: missing, malformed, unknown, contradictory.
 */
export function parseSettings<D extends SettingDefinitions>(
  definitions: D,
  env: Readonly<Record<string, string | undefined>>,
  { rules = () => [], otherSettings = [] }: ParseRules<D> = {},
): SettingsOf<D> {
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [property, definition] of Object.entries(definitions)) {
    const text = withoutServiceLink(env[definition.name]) || undefined;
    const parsed = definition.schema.safeParse(text);
    if (parsed.success) values[property] = parsed.data;
    else problems.push(problemOf(definition, text, parsed.error.issues[0]?.message ?? ''));
  }
  // Without a problem, everything has been read.
  const settings = values as SettingsOf<D>;
  const contradictions = problems.length === 0 ? rules(settings) : [];
  problems.push(...unknownNames(definitions, otherSettings, env), ...contradictions);
  if (problems.length > 0) throw new InvalidSettingsError(problems);
  return settings;
}

function problemOf({ name, schema, secret }: Setting, text: string | undefined, message: string): string {
  if (text === undefined) return `${name} is missing: ${allowedBy(schema)}`;
  return secret === undefined ? `${name} ${message}, got ${quote(text)}` : `${name} ${message}`;
}

function unknownNames(
  definitions: SettingDefinitions,
  otherSettings: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  const known = Object.values(definitions).map(({ name }) => name);
  const names = new Set<string>([...known, ...otherSettings]);
  return Object.entries(env)
    .filter(([name, value]) => name.startsWith(PREFIX) && !names.has(name) && !isServiceLink(name, value ?? ''))
    .map(([name]) => {
      const nearest = nearestName(name, known);
      const shown = /^\w{1,80}$/.test(name) ? name : quote(name);
      return `${shown} is not a setting${nearest === undefined ? '' : `; did you mean ${nearest}?`}`;
    });
}

function isServiceLink(name: string, value: string): boolean {
  return SERVICE_LINK_NAME.test(name) || SERVICE_LINK_VALUE.test(value);
}

/** A service named `spanbuf-http` must not become SPANBUF_HTTP_PORT. No setting looks like `tcp://host:port`. */
function withoutServiceLink(text: string | undefined): string | undefined {
  return text !== undefined && SERVICE_LINK_VALUE.test(text) ? undefined : text;
}
