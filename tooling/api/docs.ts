/**
 * `npm run api-docs`: writes the reference of all published entry points to docs/api, as Markdown for the site. Git ignores
 * it. Ends with 1 when a link in a doc comment leads nowhere. Reads what is built.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Application, LogLevel, type TypeDocOptions } from 'typedoc';
import type { PluginOptions } from 'typedoc-plugin-markdown';
import { readManifest } from '../packed-packages.ts';
import { ROOT } from '../toolchain.mjs';
import { COMPILER_OPTIONS } from './compiler-options.ts';
import { entryPoints } from './entry-points.ts';

const SCOPE = '@spanbuf/';
const OUTPUT = join(ROOT, 'docs', 'api');
const all = entryPoints();

const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-api-'));
try {
  const tsconfig = join(scratch, 'tsconfig.json');
  const files = all.map(({ declarations }) => declarations);
  writeFileSync(tsconfig, JSON.stringify({ compilerOptions: COMPILER_OPTIONS, files }));
  const options: TypeDocOptions & Partial<PluginOptions> = {
    plugin: ['typedoc-plugin-markdown'],
    tsconfig,
    entryPoints: files,
    out: OUTPUT,
    name: 'API',
    readme: 'none',
    disableSources: true,
    // What a class inherits of Node's Error is not worth a page for each of ours.
    excludeExternals: true,
    logLevel: LogLevel.Warn,
    outputFileStrategy: 'modules',
    entryFileName: 'index',
    pageTitleTemplates: { module: ({ name }) => SCOPE + name },
    hideBreadcrumbs: true,
    hidePageHeader: true,
    parametersFormat: 'table',
    interfacePropertiesFormat: 'table',
    classPropertiesFormat: 'table',
    enumMembersFormat: 'table',
    useCodeBlocks: true,
    expandObjects: false,
  };
  const app = await Application.bootstrapWithPlugins(options);
  const project = await app.convert();
  if (!project) throw new Error('TypeDoc cannot read the declarations');
  for (const child of project.children ?? []) {
    // TypeDoc calls it by its path, from the folder that all of them are in.
    const entryPoint = all.find(({ declarations }) => moduleOf(declarations).endsWith(`/${child.name}`));
    if (!entryPoint) throw new Error(`no entry point is called ${child.name}`);
    child.name = entryPoint.name.slice(SCOPE.length);
  }
  app.validate(project);
  rmSync(OUTPUT, { recursive: true, force: true });
  await app.generateOutputs(project);
  writeFileSync(join(OUTPUT, 'index.md'), index());
  if (app.logger.hasWarnings()) process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true });
}

function moduleOf(declarations: string): string {
  return declarations.replace(/(\/index)?\.d\.ts$/, '');
}

/** In place of a list of names. */
function index(): string {
  const rows = all.map(({ name, folder, slug }) => {
    const { description } = readManifest(join(ROOT, folder));
    const about = slug === 'index' ? description : '';
    return `| [\`${name}\`](${name.slice(SCOPE.length)}.md) | ${about} |`;
  });
  const intro = 'Generated from the doc comments of what each entry point exports.';
  return ['# API', '', intro, '', '| import from | |', '|---|---|', ...rows, ''].join('\n');
}
