/** What is generated of docs/performance.md, block by block. */
import { extrapolation } from './extrapolation.ts';
import { markdownTable } from './markdown-table.ts';
import type { CaseResult, Machine, Table } from './result.ts';
import { spread } from './statistics.ts';

/** A chart's file, as docs/performance.md links it. */
export const chartPath = (id: string) => `performance/${id}.svg`;

const BLOCK = /(<!-- generated: (.+?) -->\n)[\s\S]*?(<!-- end of generated -->)/g;

/**
 * Fills the blocks between `<!-- generated: NAME -->` and `<!-- end of generated -->`; all else stays as it is.
 * @throws Error when there is a block that nobody knows, or none at all.
 */
export function fillBlocks(page: string, results: readonly CaseResult[]): string {
  let count = 0;
  const filled = page.replace(BLOCK, (_, begin: string, name: string, end: string) => {
    count++;
    return `${begin}\n${blockOf(name, results)}\n\n${end}`;
  });
  if (count === 0) throw new Error('the page has no block to fill');
  return filled;
}

function blockOf(name: string, results: readonly CaseResult[]): string {
  if (name === 'machine') return machines(results);
  if (name === 'expectations') return expectations(results);
  if (name === 'extrapolation') return extrapolation(results);
  const [kind, caseName] = name.split(' ');
  if (kind !== 'case') throw new Error(`no block is called ${name}`);
  const result = results.find((each) => each.case === caseName);
  return result === undefined ? '*Not measured yet.*' : caseText(result);
}

function caseText({ workload, floor, charts, tables, notes, ratios, seconds }: CaseResult): string {
  return [
    `*Workload:* ${workload.join('. ')}.`,
    `*Floor:* ${floor}.`,
    ...charts.map(({ id, title }) => `![${title}](${chartPath(id)})`),
    ...notes,
    ...tables.map((table) => `${table.title}:\n\n${markdownTable(table)}`),
    ...(ratios.length > 0 && tables.length === 0 ? [markdownTable(ratioTable(ratios))] : []),
    `Took ${seconds} s.`,
  ].join('\n\n');
}

function ratioTable(ratios: CaseResult['ratios']): Table {
  return {
    title: '',
    header: ['ratio', 'median (min-max)'],
    rows: ratios.map(({ name, values }) => [name, spread(values)]),
  };
}

/** What of the list of expectations holds, by its items. */
function expectations(results: readonly CaseResult[]): string {
  const all = results.flatMap((result) => result.expectations.map((each) => ({ ...each, case: result.case })));
  if (all.length === 0) return '*Not measured yet.*';
  const rows = all
    .sort((a, b) => a.acceptance - b.acceptance)
    .map(({ case: name, what, value, limit, holds }) => [
      name,
      what,
      value.toFixed(2),
      limit,
      holds ? 'yes' : '**no**',
    ]);
  return markdownTable({ title: '', header: ['case', 'what', 'found', 'expected', 'holds'], rows });
}

function machines(results: readonly CaseResult[]): string {
  const texts = new Map<string, string[]>();
  for (const { machine, case: name } of results) {
    const text = machineText(machine);
    texts.set(text, [...(texts.get(text) ?? []), name]);
  }
  if (texts.size === 0) return '*Not measured yet.*';
  if (texts.size === 1) return `Everything on this page was measured on: ${[...texts.keys()][0]}.`;
  return [...texts].map(([text, names]) => `- ${text}: ${names.join(', ')}`).join('\n');
}

function machineText({ cpu, cores, memoryGib, node, redis }: Machine): string {
  return `${cpu}, ${cores} cores, ${memoryGib} GiB, Node ${node}, Redis ${redis}`;
}
