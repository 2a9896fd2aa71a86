/** `npm run bench`: see `USAGE`. Run by tooling/bench.mjs, once everything is built. */
import { execFileSync, spawnSync } from 'node:child_process';
import { CASES } from './cases.ts';
import { type BenchOptions, BenchUsageError, parseOptions, USAGE } from './options.ts';
import { checkBaseline, writeBaseline } from './report/baseline.ts';
import { Recording } from './report/recording.ts';
import { readResults, writeResult } from './report/result-files.ts';
import { takeOver, writePage } from './report/write-page.ts';

/** @returns whether everything was as expected. */
async function runCase(name: string, size: number): Promise<boolean> {
  const found = CASES.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no case ${name}`);
  const recording = new Recording(found, size);
  await found.run(recording, size);
  const version = /v=([\d.]+)/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))?.[1];
  const result = recording.finish(version ?? 'unknown');
  writeResult(result);
  return result.expectations.every(({ holds }) => holds);
}

/** Each in a process of its own, so that none inherits the heap, or the compiled code, of another. */
function runCases(names: readonly string[], size: number): boolean {
  const failed = names.filter((name) => {
    const args = [...process.execArgv, import.meta.filename, name, '--size', `${size}`];
    return spawnSync(process.execPath, args, { stdio: 'inherit' }).status !== 0;
  });
  console.log(failed.length === 0 ? '\nall as expected' : `\nnot as expected: ${failed.join(', ')}`);
  return failed.length === 0;
}

async function main({ names, size, report, check, saveBaseline }: BenchOptions): Promise<boolean> {
  let isRight = true;
  const [only] = names;
  if (names.length === 1 && only !== undefined) isRight = await runCase(only, size);
  else if (names.length > 1) isRight = runCases(names, size);
  if (report) {
    takeOver(readResults());
    writePage();
  }
  if (saveBaseline) writeBaseline(readResults());
  if (check) isRight = checkBaseline(readResults()) && isRight;
  return isRight;
}

try {
  const options = parseOptions(
    process.argv.slice(2),
    CASES.map(({ name }) => name),
  );
  if (options === undefined) console.log(USAGE(CASES));
  else process.exitCode = (await main(options)) ? 0 : 1;
} catch (error) {
  if (!(error instanceof BenchUsageError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
// ioredis goes on refreshing the slots of a cluster that was disconnected while it did so.
process.exit();
