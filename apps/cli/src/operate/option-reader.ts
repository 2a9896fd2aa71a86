import { parseText, type TextSchema } from '@spanbuf/service';
import { UsageError } from '../settings.ts';

/** Reads options one after the other, so that all that is wrong with them is told at once. */
export class OptionReader {
  readonly #problems: string[] = [];

  /** @param option - As it stands on the command line. */
  read<T>(option: string, schema: TextSchema<T>, text: string): T {
    try {
      return parseText(schema, text);
    } catch (error) {
      this.#problems.push(`${option} ${(error as Error).message}`);
      // Nobody gets it: `end` throws.
      return undefined as T;
    }
  }

  /** Something is wrong with several options together. */
  refuse(problem: string): void {
    this.#problems.push(problem);
  }

  /** @throws {@link UsageError} with every problem, on one line. */
  end(): void {
    if (this.#problems.length > 0) throw new UsageError(this.#problems.join('; '));
  }
}
