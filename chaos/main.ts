/** `npm run chaos`: see `USAGE`. Run by tooling/chaos.mjs, once everything is built. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { runProgram } from '@spanbuf/stack/run-program';
import { formatReport } from './format-report.ts';
import { ChaosUsageError, parseOptions, USAGE } from './options.ts';
import { runChaos } from './run-chaos.ts';
import { planSchedule } from './schedule.ts';

const LATE_SHARE = 0.01;
const ROOT = `${import.meta.dirname}/..`;
const stop = new AbortController();
const startedMs = performance.now();

function say(text: string): void {
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  process.stdout.write(`${seconds.padStart(7)} ${text}\n`);
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2), ROOT);
  if (options === undefined) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  const { folder } = options;
  mkdirSync(folder, { recursive: true });
  try {
    const groups = planSchedule(options);
    const report = await runChaos({
      ...options,
      lateShare: LATE_SHARE,
      groups,
      folder: `${folder}/logs`,
      say,
      signal: stop.signal,
    });
    writeFileSync(`${folder}/report.json`, `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(`${folder}/report.md`, formatReport(report));
    say(report.verification);
    for (const failure of report.failures) say(`FAILED: ${failure}`);
    say(`${report.isPassed ? 'passed' : 'FAILED'}: ${relative(process.cwd(), `${folder}/report.md`)}`);
    return report.isPassed ? 0 : 1;
  } catch (error) {
    say(stop.signal.aborted ? 'stopped' : `error: ${(error as Error).stack}`);
    return 1;
  }
}

await runProgram(main, stop, ChaosUsageError);
