import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CaseResult } from './result.ts';

/** Results of this machine, the latest of each case. */
export const BUILD_FOLDER = join(import.meta.dirname, '..', '..', 'build', 'bench');

export function writeResult(result: CaseResult, folder = BUILD_FOLDER): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${result.case}.json`), `${JSON.stringify(result, undefined, 2)}\n`);
}

/** By name of the file. */
export function readResults(folder = BUILD_FOLDER): CaseResult[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as CaseResult);
}
