/**
 * `npm run bench [-- NAME… options]`: builds what is measured, and measures it; `--help` lists the names and options. Needs
 * redis-server 7 or newer on PATH; the cases with Kafka also Java 17 and Maven.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

const MEASURED = ['buffer', 'consumer', 'flusher'];

try {
  const env = install();
  if (spawnSync('redis-server', ['--version'], { env, stdio: 'ignore' }).status !== 0) {
    throw new CommandError(
      'The benchmark needs redis-server 7 or newer on PATH. On Debian: apt-get install redis-server',
    );
  }
  const filters = MEASURED.map((name) => `--filter=@spanbuf/${name}`);
  run('turbo', ['run', 'build', ...filters, '--output-logs=errors-only'], { env });
  const args = ['--expose-gc', join(ROOT, 'bench', 'main.ts'), ...process.argv.slice(2)];
  // Its own output says which expectation failed.
  process.exitCode = spawnSync('node', args, { env, cwd: ROOT, stdio: 'inherit' }).status ?? 1;
} catch (error) {
  if (!(error instanceof CommandError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
