import { CommanderError } from 'commander';
import { FileError } from './files.ts';
import { UsageError } from './settings.ts';

/** How the process ends. */
export interface Exit {
  readonly code: number;
  /** For stderr; undefined when nothing is left to say. */
  readonly message: string | undefined;
}

/** What was asked for is not there. */
export class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

const NOT_FOUND = 1;
const FAILED = 2;
/** EX_SOFTWARE of sysexits.h. */
const BUG = 70;
/** What a shell reports of a program that SIGPIPE ended. */
const BROKEN_PIPE = 141;

/** What an error that ends the program means for the one who called it. */
export function exitOf(error: unknown): Exit {
  // Commander has printed what there is to say; it ends with 0 after --help and --version.
  if (error instanceof CommanderError) return { code: error.exitCode === 0 ? 0 : FAILED, message: undefined };
  if (error instanceof FileError && error.isBrokenPipe) return { code: BROKEN_PIPE, message: undefined };
  if (error instanceof NotFoundError) return { code: NOT_FOUND, message: error.message };
  const isExpected = error instanceof UsageError || error instanceof FileError || isSpanbufError(error);
  if (isExpected) return { code: FAILED, message: (error as Error).message };
  return { code: BUG, message: `this should not happen: ${error instanceof Error ? error.message : String(error)}` };
}

function isSpanbufError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('SPANBUF_');
}
