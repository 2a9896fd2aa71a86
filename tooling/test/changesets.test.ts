/** Proves that a release can be made from the changesets as they are: `changeset version` in a copy of the workspace. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT, run, workspaceFolders } from '../toolchain.mjs';

interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  dependencies?: Record<string, string>;
}
const readManifest = (root: string, folder: string): Manifest =>
  JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));

const isPublic = (folder: string) => readManifest(ROOT, folder).private !== true;
const PUBLIC = workspaceFolders().filter(isPublic);
const PRIVATE = workspaceFolders().filter((folder) => !isPublic(folder));
const SENTENCE = 'A change that this test made up.';

describe('changeset version', () => {
  const copy = mkdtempSync(join(tmpdir(), 'spanbuf-changesets-'));
  afterAll(() => rmSync(copy, { recursive: true }));

  beforeAll(() => {
    const manifests = workspaceFolders().map((folder) => `${folder}/package.json`);
    for (const file of ['.changeset', 'package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests]) {
      mkdirSync(dirname(join(copy, file)), { recursive: true });
      cpSync(join(ROOT, file), join(copy, file), { recursive: true });
    }
    // On top of what is pending, so that the test says the same the day after a release.
    const releases = PUBLIC.map((folder) => `"${readManifest(ROOT, folder).name}": minor\n`);
    writeFileSync(join(copy, '.changeset', 'made-up.md'), `---\n${releases.join('')}---\n\n${SENTENCE}\n`);
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    run('git', ['init', '--quiet', '--initial-branch=main'], { cwd: copy });
    run('git', ['add', '.changeset'], { cwd: copy });
    run('git', ['-c', 'user.name=test', '-c', 'user.email=test@localhost', 'commit', '--quiet', '--message=base'], {
      cwd: copy,
    });
    run(join(ROOT, 'node_modules', '.bin', 'changeset'), ['version'], { cwd: copy });
  });

  it.each(PUBLIC)('gives %s the next minor version and a changelog', (folder) => {
    const [major, minor] = readManifest(ROOT, folder).version.split('.').map(Number);
    const { version } = readManifest(copy, folder);
    expect(version).toBe(`${major}.${Number(minor) + 1}.0`);
    const changelog = readFileSync(join(copy, folder, 'CHANGELOG.md'), 'utf8');
    expect(changelog).toContain(`## ${version}`);
    expect(changelog).toContain(SENTENCE);
  });

  it.each(PUBLIC)('moves %s to the new versions of what it depends on', (folder) => {
    const changelog = readFileSync(join(copy, folder, 'CHANGELOG.md'), 'utf8');
    const after = new Map(PUBLIC.map((other) => [readManifest(copy, other).name, readManifest(copy, other).version]));
    for (const [name, range] of Object.entries(readManifest(copy, folder).dependencies ?? {})) {
      if (!after.has(name)) continue;
      // pnpm writes the version in place of `workspace:^` when it packs; packages.test.ts looks at the result.
      expect(range).toBe('workspace:^');
      expect(changelog).toContain(`${name}@${after.get(name)}`);
    }
  });

  it.each(PRIVATE)('leaves %s, which is private, as it is', (folder) => {
    expect(readManifest(copy, folder)).toEqual(readManifest(ROOT, folder));
  });
});
