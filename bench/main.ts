/**
 * `npm run bench [-- NAME…]`: measures the named cases, or all, on a three-node Redis Cluster that it starts itself. Prints
 * tables and writes the figures to build/bench.json. Exit code 1 when an expectation does not hold. Expectations are
 * ratios of figures of the same run, so that they hold on any machine; only the longest command has a limit in time.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { balance } from './balance.ts';
import { BenchCluster } from './bench-cluster.ts';
import { chain } from './chain.ts';
import { longestCommand } from './longest-command.ts';
import { processFlush } from './process-flush.ts';
import { Report } from './report.ts';

const CASES: Readonly<Record<string, (cluster: BenchCluster, report: Report) => Promise<void>>> = {
  'process-flush': processFlush,
  chain,
  'longest-command': longestCommand,
  balance,
};

const OUTPUT = new URL('../build/bench.json', import.meta.url);

const names = process.argv.slice(2);
const unknown = names.filter((name) => !(name in CASES));
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(', ')}; there are: ${Object.keys(CASES).join(', ')}`);
  process.exit(2);
}

const report = new Report();
const startedMs = performance.now();
const cluster = await BenchCluster.start();
try {
  for (const [name, run] of Object.entries(CASES)) {
    if (names.length === 0 || names.includes(name)) await run(cluster, report);
  }
} finally {
  await cluster.stop();
}

report.heading('expectations');
const { expectations, figures, passed } = report;
report.table(
  ['what', 'found', 'expected', ''],
  expectations.map(({ what, value, limit, holds }) => [what, value.toFixed(2), limit, holds ? 'PASS' : 'FAIL']),
);
const seconds = Math.round((performance.now() - startedMs) / 1000);
report.note(`${seconds} s, Node ${process.version}, ${availableParallelism()} cores`);
mkdirSync(new URL('./', OUTPUT), { recursive: true });
writeFileSync(OUTPUT, `${JSON.stringify({ node: process.version, seconds, expectations, figures }, undefined, 2)}\n`);
process.exitCode = passed ? 0 : 1;
