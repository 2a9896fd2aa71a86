/**
 * Proves that what would be published works: packs every public package, checks the tarballs, installs them in an empty
 * project outside of the workspace and runs tooling/smoke there on the oldest and the newest supported Node.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT, run, withPnpm, workspaceFolders } from '../toolchain.mjs';

interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  bin?: Record<string, string>;
  exports?: Record<string, unknown>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}
const readManifest = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

const PUBLIC = workspaceFolders()
  .map((folder) => ({ folder, manifest: readManifest(join(ROOT, folder)) }))
  .filter(({ manifest }) => manifest.private !== true)
  .map(({ folder, manifest }) => ({ folder, manifest, name: manifest.name }));
/** Oldest supported and newest, as they are called in node_modules. */
const NODES = ['node-22', 'node'];
const tool = (name: string) => join(ROOT, 'node_modules', '.bin', name);

const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-packages-'));
const tarballs = join(scratch, 'tarballs');
const consumer = join(scratch, 'consumer');
const installed = (name: string) => join(consumer, 'node_modules', name);
const tarball = ({ name, version }: Manifest) => join(tarballs, `${name.slice(1).replace('/', '-')}-${version}.tgz`);

/** The workspace's settings for pnpm and its NODE_PATH mean nothing in the consumer's project. */
const env = Object.fromEntries(
  Object.entries({ ...process.env, DO_NOT_TRACK: '1', TURBO_TELEMETRY_DISABLED: '1' }).filter(
    ([name]) => !/^(?:NODE_PATH|NODE_OPTIONS|VITEST.*|npm_(?:package|lifecycle)_.*)$/.test(name),
  ),
);

beforeAll(() => {
  withPnpm(['turbo', 'run', 'build', '--output-logs=errors-only'], { env });
  mkdirSync(tarballs);
  for (const { folder } of PUBLIC) {
    withPnpm(['pnpm', 'pack', `--pack-destination=${tarballs}`], { env, cwd: join(ROOT, folder) });
  }

  cpSync(join(ROOT, 'tooling/smoke'), consumer, { recursive: true });
  const project = readManifest(consumer);
  const versions: Record<string, string> = {
    ...readManifest(ROOT).devDependencies,
    ...readManifest(join(ROOT, 'packages/store')).devDependencies,
    ...Object.fromEntries(PUBLIC.map(({ name, manifest }) => [name, `file:${tarball(manifest)}`])),
  };
  const wanted = [...Object.keys(project.dependencies ?? {}), ...PUBLIC.map(({ name }) => name)];
  const dependencies = Object.fromEntries(wanted.map((name) => [name, versions[name]]));
  // What the packages want of each other comes from the tarballs too, never from a registry.
  const overrides = Object.fromEntries(PUBLIC.map(({ name }) => [name, `$${name}`]));
  writeFileSync(join(consumer, 'package.json'), JSON.stringify({ ...project, dependencies, overrides }));
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts'], { env, cwd: consumer });
}, 300_000);

afterAll(() => rmSync(scratch, { recursive: true }));

describe.each(PUBLIC)('the tarball of $name', ({ folder, manifest, name }) => {
  it('is what publint and attw expect of an ESM package', () => {
    run(tool('publint'), ['run', tarball(manifest), '--strict'], { env });
    run(tool('attw'), [tarball(manifest), '--profile=esm-only', '--no-color'], { env });
  });

  it('carries licence, README and everything else the package needs at run time', () => {
    for (const file of ['LICENSE', 'README.md']) {
      expect(readFileSync(join(installed(name), file), 'utf8').length, file).toBeGreaterThan(100);
    }
    const lua = join(ROOT, folder, 'lua');
    if (existsSync(lua)) expect(readdirSync(join(installed(name), 'lua')).sort()).toEqual(readdirSync(lua).sort());
    expect(existsSync(join(installed(name), 'dist', '.tsbuildinfo'))).toBe(false);
  });

  it('asks for the other packages in the versions packed with it', () => {
    const { dependencies = {} } = readManifest(installed(name));
    for (const other of PUBLIC.filter((each) => each.name in dependencies)) {
      expect(dependencies[other.name]).toBe(`^${other.manifest.version}`);
    }
  });
});

describe('in an empty project', () => {
  const entryPoints = PUBLIC.flatMap(({ manifest }) =>
    Object.keys(manifest.exports ?? {})
      .filter((subpath) => subpath !== './package.json')
      .map((subpath) => manifest.name + subpath.slice(1)),
  );

  describe.each(NODES)('on %s', (name) => {
    const bin = join(ROOT, 'node_modules', name, 'bin');

    it('every entry point can be imported, and spans become a segment', () => {
      expect(run(join(bin, 'node'), ['smoke.mjs', ...entryPoints], { env, cwd: consumer })).toContain('1 segment');
    });

    it('the example of the README runs', () => {
      const [, example] = /```js\n(.*?)```/s.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
      writeFileSync(join(consumer, 'readme.mjs'), example ?? '');
      const output = run(join(bin, 'node'), ['readme.mjs'], { env, cwd: consumer });
      expect(output).toMatch(/^root-idle 2 \{"flush_id":"[0-9a-f]{32}","spans":\[/);
    });

    it('every command answers', () => {
      const path = [bin, env['PATH']].join(delimiter);
      for (const command of PUBLIC.flatMap(({ manifest }) => Object.keys(manifest.bin ?? {}))) {
        const program = join(consumer, 'node_modules', '.bin', command);
        expect(run(program, ['--help'], { env: { ...env, PATH: path }, cwd: consumer })).toContain(command);
      }
    });
  });

  it('TypeScript accepts the declarations', () => {
    const options = ['--strict', '--exactOptionalPropertyTypes', '--noEmit', '--types', 'node'];
    run(tool('tsc'), [...options, '--module', 'nodenext', '--target', 'es2023', 'types.ts'], { env, cwd: consumer });
  });
});
