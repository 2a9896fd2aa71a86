import type { z } from 'zod';

/** One environment variable: its name, what may be in it, what it means. */
export interface Setting<S extends z.ZodType = z.ZodType> {
  readonly name: `SPANBUF_${string}`;
  /** Reads the text of the variable; with `.default(…)` or `.optional()` where it may be absent. */
  readonly schema: S;
  /** One sentence, for `--help` and docs/reference. */
  readonly description: string;
  /** What of it must never be shown. */
  readonly secret: 'whole' | 'password-in-url' | undefined;
}

/** Property name of the parsed settings -> its environment variable. */
export type SettingDefinitions = Readonly<Record<string, Setting>>;

/** What {@link parseSettings} makes of definitions. */
export type SettingsOf<D extends SettingDefinitions> = {
  readonly [K in keyof D]: z.output<D[K]['schema']>;
};

/**
 * Defines an environment variable.
 * @param schema - See `schemas.ts` for those that read text and say what is allowed.
 */
export function setting<S extends z.ZodType>(
  name: `SPANBUF_${string}`,
  schema: S,
  description: string,
  options: { readonly secret?: 'whole' | 'password-in-url' } = {},
): Setting<S> {
  return { name, schema, description, secret: options.secret };
}
