/** One vitest project per workspace folder. Tests run on sources: what the packages export is mapped from dist to src. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const folders = ['packages', 'apps', 'tests']
  .flatMap((group) => readdirSync(`${import.meta.dirname}/${group}`).map((name) => `${group}/${name}`))
  .concat('tooling', 'simulation', 'bench', 'deploy', 'docs')
  .filter((folder) => existsSync(`${import.meta.dirname}/${folder}/package.json`));

export default defineConfig({
  test: {
    // On the root alone and not on the projects: there it would run once for each of them.
    globalSetup: `${import.meta.dirname}/tooling/vitest-servers.ts`,
    projects: folders.map((folder) => ({
      resolve: { alias: folders.flatMap(sourceAliases) },
      test: {
        name: folder,
        root: `${import.meta.dirname}/${folder}`,
        include: ['test/**/*.test.ts'],
        // The whole system, under load and by the clock: one file at a time, and not beside the others.
        ...(folder === 'tests/e2e' && { sequence: { groupOrder: 1 }, maxWorkers: 1 }),
        // A process of its own for each file: tests kill servers, sockets and clients.
        pool: 'forks' as const,
        // Real Redis servers and child processes on a busy machine.
        testTimeout: folder === 'tests/e2e' ? 300_000 : 30_000,
        hookTimeout: 60_000,
        expect: { poll: { timeout: 20_000, interval: 100 } },
      },
    })),
  },
});

/** `./dist/testing/index.js` under `./testing` becomes `@spanbuf/store/testing` -> `src/testing/index.ts`. */
function sourceAliases(folder: string): { find: RegExp; replacement: string }[] {
  const manifest = JSON.parse(readFileSync(`${import.meta.dirname}/${folder}/package.json`, 'utf8'));
  return Object.entries<string | { default?: string }>(manifest.exports ?? {}).flatMap(([subpath, target]) => {
    const built = typeof target === 'string' ? undefined : target.default;
    if (built === undefined) return [];
    const source = built.replace('./dist/', `${import.meta.dirname}/${folder}/src/`).replace(/\.js$/, '.ts');
    return { find: new RegExp(`^${manifest.name}${subpath.slice(1)}$`), replacement: source };
  });
}
