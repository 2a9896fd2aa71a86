/**
 * `npm run docs [-- dev | build | preview] [options of vitepress]`: serves docs/ while it is being written; builds it into
 * docs/dist, with the reference of the packages, and `--base /path/` for a site that is not at the root of its host; serves
 * what was built.
 * DOCS_SOURCE_URL is where the other files of the repository can be read, for the pages' links to them.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

try {
  const [command = 'dev', ...options] = process.argv.slice(2);
  const env = install();
  if (command === 'build') run('node', [join('tooling', 'api.mjs'), 'docs'], { env });
  const vitepress = join(ROOT, 'docs', 'node_modules', '.bin', 'vitepress');
  const { status } = spawnSync(vitepress, [command, 'docs', ...options], {
    env: install(),
    cwd: ROOT,
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
} catch (error) {
  if (!(error instanceof CommandError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}
