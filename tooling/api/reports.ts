/**
 * `npm run api-reports [-- --check]`: writes what each published entry point exports to its report, beside the package;
 * with `--check` compares instead, prints what differs, and ends with 1 when anything does. Reads what is built.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from '../toolchain.mjs';
import { apiReport } from './api-report.ts';
import { entryPoints } from './entry-points.ts';

const isCheck = process.argv.includes('--check');
const all = entryPoints();
const problems: string[] = [];
/** What the packages themselves export, without what is below them: `packages/store` -> text. */
const exportedByPackage = new Map<string, string>();

for (const entryPoint of all.sort((a, b) => Number(a.slug !== 'index') - Number(b.slug !== 'index'))) {
  const { text, unexported } = apiReport(entryPoint);
  if (entryPoint.slug === 'index') exportedByPackage.set(entryPoint.folder, text);
  const ofPackage = exportedByPackage.get(entryPoint.folder) ?? '';
  for (const name of unexported) {
    if (new RegExp(`^export .*\\b${name}\\b`, 'm').test(ofPackage)) continue;
    problems.push(`${entryPoint.name} needs the type ${name}, and does not export it.`);
  }
  if (isCheck) compare(entryPoint.report, text);
  else write(entryPoint.report, text);
}

const reports = new Set(all.map(({ report }) => report));
for (const stale of globSync('{packages,apps}/*/api/*.api.md', { cwd: ROOT }).filter((path) => !reports.has(path))) {
  if (isCheck) problems.push(`${stale} is of an entry point that is not there.`);
  else rmSync(join(ROOT, stale));
}

for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else console.log(`${all.length} API reports ${isCheck ? 'agree with the code' : 'written'}`);

function write(report: string, text: string): void {
  mkdirSync(dirname(join(ROOT, report)), { recursive: true });
  writeFileSync(join(ROOT, report), text);
}

function compare(report: string, text: string): void {
  const path = join(ROOT, report);
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-api-'));
  writeFileSync(join(scratch, 'now'), text);
  const checkedIn = existsSync(path) ? path : '/dev/null';
  const { stdout } = spawnSync(
    'diff',
    ['-u', '--label', report, '--label', 'the code', checkedIn, join(scratch, 'now')],
    {
      encoding: 'utf8',
    },
  );
  rmSync(scratch, { recursive: true });
  console.error(stdout);
  problems.push(`${report} is not what the code exports. If the change is meant: npm run api-reports`);
}
