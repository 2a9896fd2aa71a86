/**
 * `npm test [-- vitest filters]`: everything that has to hold before a change is merged. Runs every step even when one
 * before it failed, then prints one line per step and, last, how many tests passed and failed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandError, install, ROOT, run } from './toolchain.mjs';

const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-test-'));
const report = join(scratch, 'vitest.json');
/** Debian's packages that want to run as soon as they are installed. */
const SERVICES = ['redis-server', 'prometheus'];
/** @type {{ name: string, ok: boolean, seconds: number }[]} */
const done = [];

/**
 * @param {string} name
 * @param {() => void} action
 */
function step(name, action) {
  const start = performance.now();
  let ok = true;
  console.log(`== ${name}`);
  try {
    action();
  } catch (error) {
    ok = false;
    console.error(error instanceof CommandError ? error.message : error);
  }
  done.push({ name, ok, seconds: (performance.now() - start) / 1000 });
  return ok;
}

/** @type {NodeJS.ProcessEnv} */
let env = process.env;
const prepared = step('install', () => {
  env = install();
});
if (prepared) {
  step('redis-server', () => ensurePrograms({ 'redis-server': 'redis-server', openssl: 'openssl', cc: 'gcc' }));
  step('kafka', () => ifPossible('Kafka', ensureKafka));
  step('prometheus', () =>
    ifPossible('Prometheus', () => ensurePrograms({ prometheus: 'prometheus', promtool: 'prometheus' })),
  );
  step('chromium', () => ifPossible('Chromium', () => ensurePrograms({ chromium: 'chromium' })));
  step('biome check', () => run('biome', ['check', '--error-on-warnings', '--max-diagnostics=100', '.'], { env }));
  step('layering', () => run('turbo', ['boundaries'], { env }));
  step('build', () => run('turbo', ['run', 'build', '--output-logs=errors-only'], { env }));
  step('API reports and docs', () => {
    run('node', ['tooling/api/reports.ts', '--check'], { env });
    run('node', ['tooling/api/docs.ts'], { env });
  });
  step('types of tests, tooling and bench', () => run('tsc', ['-p', 'tsconfig.test.json'], { env }));
  step('vitest', () => {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    run('vitest', ['run', ...reporters, ...process.argv.slice(2)], { env, show: true });
  });
}

console.log();
for (const { name, ok, seconds } of done) {
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name.padEnd(36)} ${seconds.toFixed(1).padStart(6)} s`);
}
const { passed, failed } = vitestCounts();
console.log(`${passed} passed, ${failed} failed`);
rmSync(scratch, { recursive: true, force: true });
process.exitCode = failed === 0 && done.every(({ ok }) => ok) ? 0 : 1;

/** A file that could not even be loaded counts as one failure; it has no tests that could. */
function vitestCounts() {
  if (!existsSync(report)) return { passed: 0, failed: 0 };
  const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
  const unloadable = testResults.filter(
    (/** @type {{ status: string, assertionResults: { status: string }[] }} */ file) =>
      file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed'),
  );
  return { passed: numPassedTests, failed: numFailedTests + unloadable.length };
}

/** A broker and an independent client. */
function ensureKafka() {
  ensurePrograms({ kcat: 'kcat', java: 'default-jre-headless', mvn: 'maven' });
  run('node', ['tooling/kafka/prepare.ts'], { env });
}

/**
 * The tests that need it are left out where it cannot be had, which only in CI is a failure.
 * @param {string} name
 * @param {() => void} ensure
 */
function ifPossible(name, ensure) {
  try {
    ensure();
  } catch (error) {
    if (env['CI'] || !(error instanceof CommandError)) throw error;
    console.log(`${error.message}\n${name} cannot be had: the tests that need it will be left out.`);
  }
}

/**
 * The tests start their own servers; they only need the programs. Installs Debian's where they are missing.
 * @param {Readonly<Record<string, string>>} packages Debian's name of the package, by program.
 * @throws {CommandError}
 */
function ensurePrograms(packages) {
  const missing = Object.keys(packages).filter((program) => !isOnPath(program));
  if (missing.length === 0) return;
  const names = [...new Set(missing.map((program) => packages[program] ?? program))];
  if (process.getuid?.() !== 0 || !isOnPath('apt-get')) {
    const wanted = `The tests need ${missing.join(', ')} on PATH.`;
    throw new CommandError(`${wanted} On Debian: apt-get install ${names.join(' ')}`);
  }
  // Debian asks this file whether a package may start its service; 101 means no.
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const apt = { env: { ...env, DEBIAN_FRONTEND: 'noninteractive' } };
    run('apt-get', ['update'], apt);
    run('apt-get', ['install', '-y', '--no-install-recommends', ...names], apt);
    // Nor at the next boot. Fails where no systemd runs, and then there is nothing to switch off.
    for (const service of SERVICES.filter((name) => names.includes(name)))
      spawnSync('systemctl', ['disable', service], { stdio: 'ignore' });
    const absent = missing.filter((program) => !isOnPath(program));
    if (absent.length > 0) throw new CommandError(`Installed, and still not on PATH: ${absent.join(', ')}`);
  } finally {
    if (ours) rmSync(policy, { force: true });
  }
}

/** @param {string} program */
function isOnPath(program) {
  return spawnSync('sh', ['-c', 'command -v "$0"', program], { env, cwd: ROOT }).status === 0;
}
