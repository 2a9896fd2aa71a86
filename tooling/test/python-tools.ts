/** Checkers that exist on PyPI and not on npm, in a virtual environment of their own. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CommandError, ROOT, run } from '../toolchain.mjs';

const REQUIREMENTS = join(import.meta.dirname, 'python-tools.txt');

/** The tools cannot be had on this machine; the message says in one line why. */
export class PythonToolsMissingError extends Error {
  override readonly name = 'PythonToolsMissingError';
  readonly code = 'PYTHON_TOOLS_MISSING';
}

/**
 * Installs python-tools.txt, once for the same text. In node_modules: Git ignores it, and it goes when they go.
 * @returns The environment's `bin`. Only `python` and real programs work from there: it was moved after installing, so
 * that nobody sees one that is half done.
 * @throws PythonToolsMissingError where there is no Python 3.10 or newer with venv, or PyPI cannot be reached.
 */
export function pythonTools(): string {
  const digest = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 16);
  const folder = join(ROOT, 'node_modules', '.cache', 'python-tools', digest);
  if (!existsSync(folder)) installInto(folder);
  return join(folder, 'bin');
}

function installInto(folder: string): void {
  mkdirSync(dirname(folder), { recursive: true });
  const scratch = mkdtempSync(`${folder}-`);
  try {
    run('python3', ['-m', 'venv', scratch]);
    // Wheels alone, all of them pinned: nothing is built, and nothing else comes along.
    const options = ['--quiet', '--disable-pip-version-check', '--only-binary=:all:', '--no-deps'];
    run(join(scratch, 'bin', 'python'), ['-m', 'pip', 'install', ...options, '--requirement', REQUIREMENTS]);
    renameSync(scratch, folder);
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true });
    if (!(error instanceof CommandError)) throw error;
    // The last line is the command, the one before it the last word of what it printed.
    const lines = error.message.split('\n').filter((line) => line.trim() !== '');
    throw new PythonToolsMissingError(`no Python tools: ${lines.at(-2) ?? lines.at(-1)}`);
  }
}
