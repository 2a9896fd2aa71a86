/** What `npm run stack` and `npm run chaos` share: both run the apps as they are built, beside servers of their own. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

const APPS = ['cli', 'consumer', 'flusher'];

/**
 * Builds the apps, then runs a program with the arguments of this process and ends with its exit code. Ctrl-C stops all.
 * @param {string} program Path of a file, relative to the root.
 */
export async function runWithApps(program) {
  try {
    const env = install();
    if (spawnSync('redis-server', ['--version'], { env, stdio: 'ignore' }).status !== 0) {
      throw new CommandError('redis-server 7 or newer is needed on PATH. On Debian: apt-get install redis-server');
    }
    const filters = APPS.map((app) => `--filter=@spanbuf/${app}`);
    run('turbo', ['run', 'build', ...filters, '--output-logs=errors-only'], { env });
    // The channel tells the program when this process is gone, however it ended.
    const child = spawn('node', [join(ROOT, program), ...process.argv.slice(2)], {
      env,
      cwd: ROOT,
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    });
    // In a terminal Ctrl-C reaches both; this one waits until everything has stopped.
    process.on('SIGINT', () => undefined);
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    const [code] = await once(child, 'exit');
    process.exitCode = code ?? 1;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
