/**
 * Proves that `biome check` and `turbo boundaries`, with the workspace's own configuration, refuse what crosses a
 * layer: each test plants one violation in a small copy of the workspace.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ROOT, workspaceFolders } from '../toolchain.mjs';

const ROOT_FILES = ['.gitignore', 'biome.json', 'package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', 'turbo.json'];

/** One file of each layer, and of two apps. */
const SOURCES = {
  'packages/keys/src/index.ts': "export { id } from './ids.ts';\n",
  'packages/keys/src/ids.ts': 'export const id = 1;\n',
  'packages/store/src/index.ts': "export { memory } from './memory/memory.ts';\n",
  'packages/store/src/segment-store.ts': "export { id } from '@spanbuf/keys';\n",
  'packages/store/src/memory/memory.ts': "export { id as memory } from '../segment-store.ts';\n",
  'packages/store/src/colocated/colocated.ts': "export { shared } from '../redis/shared.ts';\n",
  'packages/store/src/distributed/distributed.ts': "export { shared } from '../redis/shared.ts';\n",
  'packages/store/src/redis/shared.ts': "export { Redis as shared } from 'ioredis';\n",
  'packages/store/src/testing/index.ts': "export { it as contract } from 'vitest';\n",
  'packages/store/test/store.test.ts':
    "import '@spanbuf/tooling/redis-servers';\nimport 'vitest';\nimport '../src/index.ts';\n",
  'packages/buffer/src/index.ts': "export { memory } from '@spanbuf/store';\n",
  'packages/buffer/test/buffer.test.ts': "import '@spanbuf/store/testing';\nimport 'fast-check';\n",
  'packages/kafka/src/index.ts': "export { default as client } from 'kafkajs';\n",
  'packages/service/src/index.ts': "export { pino as log } from 'pino';\n",
  'apps/cli/src/main.ts': "export { memory } from '@spanbuf/buffer';\n",
  'apps/consumer/src/main.ts': "import '@spanbuf/kafka';\nimport '@spanbuf/service';\n",
  'stack/main.ts': "import '@spanbuf/kafka';\n",
};

function manifest(fields: Record<string, unknown>): string {
  return `${JSON.stringify({ version: '0.0.0', type: 'module', ...fields }, null, 2)}\n`;
}

/** The manifest of a workspace folder with one more dependency. */
function manifestWith(folder: string, dependency: string): string {
  const current = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
  return manifest({ ...current, dependencies: { ...current.dependencies, [dependency]: 'workspace:^' } });
}

/** Runs both tools on a copy of the workspace in which `planted` is added or replaced. */
function check(planted: Record<string, string> = {}): { biome: string; turbo: string; passed: boolean } {
  const copy = mkdtempSync(join(tmpdir(), 'spanbuf-layering-'));
  onTestFinished(() => rmSync(copy, { recursive: true }));
  const configs = workspaceFolders().flatMap((folder) => [`${folder}/package.json`, `${folder}/turbo.json`]);
  for (const file of [...ROOT_FILES, ...configs]) cpSync(join(ROOT, file), join(copy, file));
  for (const [file, text] of Object.entries({ ...SOURCES, ...planted })) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    writeFileSync(join(copy, file), text);
  }
  const run = (tool: string, ...args: string[]) => {
    const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1', NO_COLOR: '1' };
    const bin = join(ROOT, 'node_modules', '.bin', tool);
    const { status, stdout, stderr } = spawnSync(bin, args, { cwd: copy, env, encoding: 'utf8' });
    return { passed: status === 0, output: stdout + stderr };
  };
  const biome = run('biome', 'lint', '--error-on-warnings', '.');
  const turbo = run('turbo', '--skip-infer', 'boundaries');
  // Otherwise a copy in which turbo finds nothing to look at would pass.
  if (turbo.passed) expect(turbo.output).toContain(`in ${workspaceFolders().length} packages, no issues found`);
  return { biome: biome.output, turbo: turbo.output, passed: biome.passed && turbo.passed };
}

describe('the layering check', () => {
  it('passes when every import goes down', () => {
    const result = check();
    expect(result.passed, result.biome + result.turbo).toBe(true);
  });

  it('knows the layer of every workspace folder', () => {
    const layers = Object.keys(JSON.parse(readFileSync(join(ROOT, 'turbo.json'), 'utf8')).boundaries.tags);
    for (const folder of workspaceFolders()) {
      const config = join(ROOT, folder, 'turbo.json');
      const tags = existsSync(config) ? JSON.parse(readFileSync(config, 'utf8')).tags : undefined;
      expect(tags, `${folder}/turbo.json`).toHaveLength(1);
      expect(layers).toContain(tags[0]);
    }
  });

  it.each<[what: string, planted: Record<string, string>, tool: 'biome' | 'turbo', message: RegExp]>([
    [
      'an import from a layer above',
      { 'packages/keys/src/ids.ts': "import '@spanbuf/buffer';\n" },
      'turbo',
      /cannot import package `@spanbuf\/buffer`.*keys\/src\/ids\.ts/s,
    ],
    [
      'a declared dependency on a layer above',
      { 'packages/store/package.json': manifestWith('packages/store', '@spanbuf/buffer') },
      'turbo',
      /Circular package dependency.*@spanbuf\/buffer/s,
    ],
    [
      'a declared dependency on a layer that may not be used, without a cycle',
      { 'packages/keys/package.json': manifestWith('packages/keys', '@spanbuf/tooling') },
      'turbo',
      /`@spanbuf\/tooling` found without any tag listed in allowlist for.*`@spanbuf\/keys`/s,
    ],
    [
      'an app that depends on another app',
      { 'apps/cli/package.json': manifestWith('apps/cli', '@spanbuf/consumer') },
      'turbo',
      /`@spanbuf\/consumer` found without any tag listed in allowlist for.*`@spanbuf\/cli`/s,
    ],
    ...(
      [
        ['packages/kafka', '@spanbuf/store'],
        ['packages/kafka', '@spanbuf/service'],
        ['packages/service', '@spanbuf/kafka'],
        ['packages/service', '@spanbuf/store'],
        ['packages/buffer', '@spanbuf/kafka'],
        ['stack', '@spanbuf/consumer'],
        ['chaos', '@spanbuf/flusher'],
        ['tests/e2e', '@spanbuf/flusher'],
      ] as const
    ).map(([folder, dependency]): [string, Record<string, string>, 'turbo', RegExp] => [
      `${folder} depending on ${dependency}`,
      { [`${folder}/package.json`]: manifestWith(folder, dependency) },
      'turbo',
      new RegExp(`\`${dependency}\` found without any tag listed in allowlist for|Circular package dependency`, 's'),
    ]),
    ...['kafkajs', '@spanbuf/flusher'].map((module): [string, Record<string, string>, 'biome', RegExp] => [
      `the consumer importing ${module}`,
      { 'apps/consumer/src/main.ts': `import '${module}';\n` },
      'biome',
      new RegExp(`consumer/src/main\\.ts.*noUndeclaredDependencies.*${module}`, 's'),
    ]),
    [
      'an app that imports another app',
      { 'apps/cli/src/main.ts': "import '@spanbuf/consumer';\n" },
      'biome',
      /cli\/src\/main\.ts.*noUndeclaredDependencies.*@spanbuf\/consumer/s,
    ],
    [
      'a deep import by name',
      { 'packages/buffer/src/index.ts': "import '@spanbuf/keys/src/ids.ts';\n" },
      'biome',
      /buffer\/src\/index\.ts.*noRestrictedImports.*Import what the package exports/s,
    ],
    [
      'a deep import by name in a test',
      { 'packages/buffer/test/buffer.test.ts': "import '@spanbuf/keys/dist/ids.js';\n" },
      'biome',
      /buffer\.test\.ts.*noRestrictedImports.*Import what the package exports/s,
    ],
    [
      'a deep import by path',
      { 'packages/buffer/src/index.ts': "import '../../keys/src/ids.ts';\n" },
      'turbo',
      /`\.\.\/\.\.\/keys\/src\/ids\.ts` leaves the package/,
    ],
    [
      'a deep import by path in a test',
      { 'packages/buffer/test/buffer.test.ts': "await import('../../keys/src/ids.ts');\n" },
      'turbo',
      /`\.\.\/\.\.\/keys\/src\/ids\.ts` leaves the package/,
    ],
    [
      'an import cycle',
      { 'packages/keys/src/ids.ts': "import './index.ts';\nexport const id = 1;\n" },
      'biome',
      /keys\/src\/ids\.ts.*noImportCycles/s,
    ],
    [
      'an import cycle of types alone',
      { 'packages/keys/src/ids.ts': "export type { id as self } from './index.ts';\nexport const id = 1;\n" },
      'biome',
      /keys\/src\/ids\.ts.*noImportCycles/s,
    ],
    [
      'an undeclared dependency',
      { 'packages/buffer/src/index.ts': "import 'ms';\n" },
      'biome',
      /buffer\/src\/index\.ts.*noUndeclaredDependencies.*Dependency ms/s,
    ],
    ...['memory', 'colocated', 'distributed'].flatMap((adapter) =>
      ['memory', 'colocated', 'distributed']
        .filter((other) => other !== adapter)
        .map((other): [string, Record<string, string>, 'biome', RegExp] => [
          `the ${adapter} adapter importing the ${other} one`,
          { [`packages/store/src/${adapter}/${adapter}.ts`]: `import '../${other}/${other}.ts';\n` },
          'biome',
          new RegExp(`${adapter}/${adapter}\\.ts.*noRestrictedImports.*One adapter never imports another`, 's'),
        ]),
    ),
    ...['./errors.ts', './redis/shared.ts', 'zod', 'ioredis', 'node:fs', '@spanbuf/keys/src/ids.ts'].map(
      (module): [string, Record<string, string>, 'biome', RegExp] => [
        `the store interface importing ${module}`,
        { 'packages/store/src/segment-store.ts': `import '${module}';\n` },
        'biome',
        /segment-store\.ts.*noRestrictedImports.*knows @spanbuf\/keys and nothing else/s,
      ],
    ),
    ...['@spanbuf/tooling/redis-servers', '@spanbuf/store/testing', 'fast-check', 'vitest'].map(
      (module): [string, Record<string, string>, 'biome', RegExp] => [
        `published code importing ${module}`,
        { 'packages/buffer/src/index.ts': `import '${module}';\n` },
        'biome',
        /buffer\/src\/index\.ts.*noRestrictedImports.*Only tests may import it/s,
      ],
    ),
    [
      'published code importing the contract suite by path',
      { 'packages/store/src/index.ts': "import './testing/index.ts';\n" },
      'biome',
      /store\/src\/index\.ts.*noRestrictedImports.*Only tests may import it/s,
    ],
    [
      'a tool for development alone in published code',
      {
        'packages/buffer/src/index.ts': "import 'ioredis';\n",
      },
      'biome',
      /ioredis is part of your devDependencies/,
    ],
    [
      'the published contract suite importing tooling',
      { 'packages/store/src/testing/index.ts': "import '@spanbuf/tooling/redis-servers';\n" },
      'biome',
      /testing\/index\.ts.*noRestrictedImports.*published, the tooling is not/s,
    ],
  ])('refuses %s', (_what, planted, tool, message) => {
    const result = check(planted);
    expect(result[tool]).toMatch(message);
    expect(result.passed).toBe(false);
  });
});
