/**
 * `npm run bench [-- NAME…]`: builds the packages and measures them on a Redis Cluster of its own; see bench/main.ts for
 * the names. Needs redis-server 7 or newer on PATH.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

try {
  const env = install();
  if (spawnSync('redis-server', ['--version'], { env, stdio: 'ignore' }).status !== 0) {
    throw new CommandError(
      'The benchmark needs redis-server 7 or newer on PATH. On Debian: apt-get install redis-server',
    );
  }
  run('turbo', ['run', 'build', '--filter=@spanbuf/buffer', '--output-logs=errors-only'], { env });
  const args = ['--expose-gc', join(ROOT, 'bench', 'main.ts'), ...process.argv.slice(2)];
  // Its own output says which expectation failed.
  process.exitCode = spawnSync('node', args, { env, cwd: ROOT, stdio: 'inherit' }).status ?? 1;
} catch (error) {
  if (!(error instanceof CommandError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
