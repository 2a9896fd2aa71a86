/**
 * Proves that what would be published works: packs every public package, checks the tarballs, installs them in an empty
 * project outside of the workspace and runs tooling/smoke there on the oldest and the newest supported Node.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Manifest,
  outsideEnvironment,
  PackedPackages,
  PUBLIC_PACKAGES as PUBLIC,
  readManifest,
} from '../packed-packages.ts';
import { ROOT, run } from '../toolchain.mjs';

/** Oldest supported and newest, as they are called in node_modules. */
const NODES = ['node-22', 'node'];
const tool = (name: string) => join(ROOT, 'node_modules', '.bin', name);

const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-packages-'));
const consumer = join(scratch, 'consumer');
const installed = (name: string) => join(consumer, 'node_modules', name);
const env = outsideEnvironment();
let packed: PackedPackages | undefined;
const tarball = (manifest: Manifest) => packed?.tarball(manifest) ?? expect.fail('nothing was packed');

beforeAll(() => {
  packed = PackedPackages.pack(join(scratch, 'tarballs'));
  const names = PUBLIC.map(({ name }) => name);
  packed.install(join(ROOT, 'tooling/smoke'), consumer, names);
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
