/**
 * `npm start [-- FILE] [-- options of spanbuf assemble]`: builds the command line tool and lets it assemble FILE, or
 * the sample, into segments. They go to build/segments.ndjson unless `--output` says otherwise; the summary to stderr.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

const SAMPLE = join(ROOT, 'samples', 'spans.ndjson');
const OUTPUT = join(ROOT, 'build', 'segments.ndjson');

const given = process.argv.slice(2);
// npm moves to the root; paths on the command line are meant from where it was called.
const cwd = process.env['INIT_CWD'] ?? process.cwd();
const hasFile = given[0] !== undefined && (given[0] === '-' || !given[0].startsWith('-'));
const hasOutput = given.some((arg) => /^(?:-o|--output(?:=|$))/.test(arg));
const args = [...(hasFile ? [] : [SAMPLE]), ...given, ...(hasOutput ? [] : ['--output', OUTPUT])];

try {
  const env = install();
  run('turbo', ['run', 'build', '--filter=@spanbuf/cli', '--output-logs=errors-only'], { env });
  mkdirSync(dirname(OUTPUT), { recursive: true });
  // What an earlier call left must not pass for the result of this one.
  if (!hasOutput) rmSync(OUTPUT, { force: true });
  const program = join(ROOT, 'apps', 'cli', 'dist', 'main.js');
  // It says itself what it had to refuse, and its exit code says so too.
  const { status, error } = spawnSync('node', [program, 'assemble', ...args], { env, cwd, stdio: 'inherit' });
  if (error) throw new CommandError(`node: ${error.message}`);
  process.exitCode = status ?? 1;
  if (!hasOutput && existsSync(OUTPUT)) console.error(`Segment messages: ${relative(cwd, OUTPUT)}`);
} catch (error) {
  if (!(error instanceof CommandError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}
