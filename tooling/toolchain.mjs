/**
 * What `npm start` and `npm test` share: installs the pinned packages and says with which environment to run them.
 * Plain JavaScript, because it runs on the machine's own Node before anything is installed.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MIN_NODE_MAJOR = 20;
const NODE_MODULES = join(ROOT, 'node_modules');
/** Where the pinned versions of Node are, by major: what tests run on by default, and the oldest that is supported. */
const NODES = new Map([
  ['24', 'node'],
  ['22', 'node-22'],
]);
/** Holds the digest of what was installed last. In node_modules, so that it goes when they go. */
const STAMP = join(NODE_MODULES, '.installed');

/** A command did not end with 0; its output is in the message where it was not shown already. */
export class CommandError extends Error {
  /** @param {string} message @param {number} [exitCode] of the command, 1 where it had none. */
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** @param {string} name */
const read = (name) => readFileSync(join(ROOT, name), 'utf8');

/** Folders of the workspace, relative to the root: `packages/keys`, …, `tooling`. */
export function workspaceFolders() {
  const patterns = [...read('pnpm-workspace.yaml').matchAll(/^ {2}- (\S+)$/gm)].map((match) => match[1] ?? '');
  return patterns
    .flatMap((pattern) =>
      pattern.endsWith('/*')
        ? readdirSync(join(ROOT, pattern.slice(0, -2))).map((name) => pattern.replace('*', name))
        : [pattern],
    )
    .filter((folder) => existsSync(join(ROOT, folder, 'package.json')));
}

/**
 * Runs a command, by default without showing what it prints unless it fails.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, show?: boolean }} [options] `show` passes the output through.
 * @returns {string} What it printed on stdout; empty with `show`.
 * @throws {CommandError}
 */
export function run(command, args, { env = process.env, cwd = ROOT, show = false } = {}) {
  const maxBuffer = 256 * 1024 * 1024;
  const result = spawnSync(command, args, { cwd, env, encoding: 'utf8', stdio: show ? 'inherit' : 'pipe', maxBuffer });
  if (result.error) throw new CommandError(`${command}: ${result.error.message}`);
  if (result.status === 0) return result.stdout ?? '';
  const how = result.signal ?? `exit code ${result.status}`;
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}\n${[command, ...args].join(' ')}: ${how}`;
  throw new CommandError(output.trim(), result.status ?? 1);
}

/**
 * Runs a command with the pinned pnpm on PATH, wherever this machine has one or none.
 * @param {readonly string[]} command
 * @param {Parameters<typeof run>[2]} [options]
 */
export function withPnpm(command, options) {
  const { packageManager } = JSON.parse(read('package.json'));
  return run('npm', ['exec', '--yes', `--package=${packageManager}`, '--', ...command], options);
}

/**
 * Installs what the lockfile pins, unless it is there already.
 * @returns {NodeJS.ProcessEnv} An environment in which `node` is the pinned Node and all tools, pnpm too, are on PATH. With
 * `TEST_NODE_MAJOR=22` it is the oldest Node that is supported instead.
 * @throws {CommandError}
 */
export function install() {
  if (Number.parseInt(process.versions.node, 10) < MIN_NODE_MAJOR) {
    throw new CommandError(
      `Node ${MIN_NODE_MAJOR} or newer is needed to begin with; this is ${process.versions.node}.`,
    );
  }
  const env = quietEnvironment();
  const major = env['TEST_NODE_MAJOR'] ?? '24';
  const node = NODES.get(major);
  if (node === undefined) throw new CommandError(`TEST_NODE_MAJOR must be one of ${[...NODES.keys()]}, not ${major}`);
  const wanted = digestOfManifests();
  if (!existsSync(STAMP) || readFileSync(STAMP, 'utf8') !== wanted) {
    // Without a terminal pnpm would otherwise refuse to replace a node_modules that another version made.
    withPnpm(['pnpm', 'install', '--frozen-lockfile', '--config.confirmModulesPurge=false'], { env });
    writeFileSync(STAMP, wanted);
  }
  // turbo starts every task through the package manager, so pnpm has to be on PATH and not only within reach of npm.
  const path = withPnpm(['node', '-p', 'process.env.PATH'], { env }).trim();
  return { ...env, PATH: [join(NODE_MODULES, node, 'bin'), join(NODE_MODULES, '.bin'), path].join(delimiter) };
}

/** Changes when a dependency may have. */
function digestOfManifests() {
  const manifests = ['.', ...workspaceFolders()].map((folder) => join(folder, 'package.json'));
  const hash = createHash('sha256');
  for (const name of ['pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests]) hash.update(`${name}\n${read(name)}\n`);
  return hash.digest('hex');
}

/** No telemetry, no questions, no escape sequences where nobody sees colours. */
function quietEnvironment() {
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1', DO_NOT_TRACK: '1' };
  // pnpm's launchers set it, which lets CommonJS find packages that nobody declared.
  delete env['NODE_PATH'];
  if (!process.stdout.isTTY) {
    env['NO_COLOR'] = '1';
    delete env['FORCE_COLOR'];
  }
  return env;
}
