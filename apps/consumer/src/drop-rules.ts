import { readFile } from 'node:fs/promises';
import type { Span } from '@spanbuf/buffer';
import { SpanbufError } from '@spanbuf/keys';
import { z } from 'zod';

const idSchema = z
  .union([z.int().nonnegative().transform(String), z.string().regex(/^\d{1,20}$/)], 'must be an id in decimal digits')
  .optional();

const ruleSchema = z
  .strictObject({
    name: z.string().regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 of 0-9 A-Z a-z _ . -'),
    organization: idSchema,
    project: idSchema,
    trace: z
      .string()
      .transform((id) => id.replaceAll('-', '').toLowerCase())
      .refine((id) => /^[0-9a-f]{32}$/.test(id), 'must be 32 hex digits')
      .optional(),
    partition: z.int().nonnegative().optional(),
  })
  .refine(
    ({ organization, project, trace, partition }) => (organization ?? project ?? trace ?? partition) !== undefined,
    'must name an organization, a project, a trace or a partition: without one it would drop everything',
  );

const fileSchema = z.strictObject({
  rules: z
    .array(ruleSchema)
    .max(1_000)
    .refine((rules) => new Set(rules.map(({ name }) => name)).size === rules.length, 'must have different names'),
});

/** What a span must be to be dropped: all that is named has to hold. */
export type DropRule = z.output<typeof ruleSchema>;

/** The file of drop rules cannot be used; every problem is in the message. */
export class InvalidDropRulesError extends SpanbufError {
  readonly code = 'SPANBUF_INVALID_DROP_RULES';
  readonly retriable = false;
}

/**
 * Reads `{"rules": [{"name": "noisy", "project": 7}, …]}`.
 * @throws {@link InvalidDropRulesError}
 */
export function parseDropRules(text: string): readonly DropRule[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InvalidDropRulesError(`drop rules are not JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = fileSchema.safeParse(value);
  if (!parsed.success) throw new InvalidDropRulesError(`drop rules: ${z.prettifyError(parsed.error)}`);
  return parsed.data.rules;
}

/** Name of the first rule that drops a whole partition, known before a message of it is read. */
export function findPartitionRule(rules: readonly DropRule[], partition: number): string | undefined {
  return rules.find(
    (rule) => rule.partition === partition && (rule.organization ?? rule.project ?? rule.trace) === undefined,
  )?.name;
}

/** Name of the first rule that drops the span. */
export function findRule(rules: readonly DropRule[], span: Span): string | undefined {
  return rules.find(
    ({ organization, project, trace, partition }) =>
      (organization === undefined || organization === span.organizationId) &&
      (project === undefined || project === span.projectId) &&
      (trace === undefined || trace === span.traceId) &&
      (partition === undefined || partition === span.partition),
  )?.name;
}

/** The rules of a file, read again whenever they are asked to. What cannot be used leaves the former rules in force. */
export class DropRulesFile {
  readonly #path: string;
  #text: string | undefined;
  #rules: readonly DropRule[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  get rules(): readonly DropRule[] {
    return this.#rules;
  }

  /**
   * Answers whether the rules are others than before.
   * @throws {@link InvalidDropRulesError} when the file cannot be read or used; once for the same content.
   */
  async reload(): Promise<boolean> {
    const text = await readFile(this.#path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
      throw new InvalidDropRulesError(`drop rules: cannot read ${this.#path}: ${cause.code ?? cause.message}`, {
        cause,
      });
    });
    if (text === this.#text) return false;
    this.#text = text;
    this.#rules = parseDropRules(text);
    return true;
  }
}
