/**
 * `npm run simulate [-- options]`: builds the packages and runs seeds of the simulation; `--help` lists the options. Needs
 * redis-server 7 or newer and a C compiler on PATH.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

try {
  const env = install();
  for (const [program, debian] of Object.entries({ 'redis-server': 'redis-server', cc: 'gcc' })) {
    if (spawnSync(program, ['--version'], { env, stdio: 'ignore' }).status !== 0) {
      throw new CommandError(`The simulation needs ${program} on PATH. On Debian: apt-get install ${debian}`);
    }
  }
  run('turbo', ['run', 'build', '--filter=@spanbuf/buffer', '--output-logs=errors-only'], { env });
  const args = [join(ROOT, 'simulation', 'main.ts'), ...process.argv.slice(2)];
  process.exitCode = spawnSync('node', args, { env, cwd: ROOT, stdio: 'inherit' }).status ?? 1;
} catch (error) {
  if (!(error instanceof CommandError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
