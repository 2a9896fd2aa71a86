/** `npm run api-reports [-- --check]` and `npm run api-docs`: build the packages, then run the file of that name in tooling/api. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

const [name = '', ...args] = process.argv.slice(2);

try {
  const env = install();
  run('turbo', ['run', 'build', '--filter=./packages/*', '--output-logs=errors-only'], { env });
  const program = join(ROOT, 'tooling', 'api', `${name}.ts`);
  process.exitCode = spawnSync('node', [program, ...args], { env, cwd: ROOT, stdio: 'inherit' }).status ?? 1;
} catch (error) {
  if (!(error instanceof CommandError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
