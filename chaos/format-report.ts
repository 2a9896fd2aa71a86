import type { ChaosReport, FaultEvent } from './judge.ts';

/** The report as Markdown. */
export function formatReport(report: ChaosReport): string {
  const { isPassed, failures, mode, startedMs, endedMs, versions, settings, load, counts, events, apps } = report;
  const minutes = ((endedMs - startedMs) / 60_000).toFixed(1);
  const pairs = (values: Readonly<Record<string, string | number>>): string =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ');
  const ends = apps.flatMap(({ unexpectedEnds }) => unexpectedEnds);
  const lost = Object.entries(report.lostByFault);
  return [
    `# Chaos, \`SPANBUF_COMMIT=${mode}\`: ${isPassed ? 'passed' : 'FAILED'}`,
    ...(failures.length === 0 ? [] : ['', ...failures.map((failure) => `- ${failure}`)]),
    '',
    `${new Date(startedMs).toISOString()}, ${minutes} minutes. Versions: ${pairs(versions)}. Load: ${pairs(load)}.`,
    `Settings: ${Object.entries(settings)
      .map(([name, value]) => `\`${name}=${value}\``)
      .join(', ')}.`,
    '',
    '## What came out',
    '',
    '| | |',
    '|---|---|',
    ...[
      ['messages sent', counts.messagesSent],
      ['spans sent', counts.spansSent],
      ['spans received', counts.spansReceived],
      ['spans lost', counts.spansLost],
      ['segments parked', counts.parkedSegments],
      ['spans received again, same flush id', counts.spansInCopies],
      ['spans received again, another flush id', counts.spansDuplicated],
      ['invalid messages sent', counts.invalidSent],
      ['dead letters', counts.deadLettered],
      ['copies of dead letters', counts.deadLetterCopies],
      ['segments', counts.segments],
      ['segments in several generations', counts.splitSegments],
      ['generations with spans that Redis lost', counts.partialGenerations],
    ].map(([what, count]) => `| ${what} | ${count?.toLocaleString('en-US')} |`),
    '',
    '```text',
    report.verification,
    '```',
    '',
    '## What the ledger says',
    '',
    ...ledgerLines(report),
    ...(lost.length === 0 ? [] : ['', '## Lost spans', '', ...lostLines(report)]),
    '',
    '## What was done',
    '',
    '| group | at, s | fault | target | for, s | recovery, s | |',
    '|---|---|---|---|---|---|---|',
    ...events.map((event) => eventLine(event, startedMs)),
    '',
    '## Apps',
    '',
    ...apps.map(({ name, startCount }) => `- ${name}: started ${startCount} times`),
    ...ends.map(({ app, atMs, code, lastWords }) => {
      const at = ((atMs - startedMs) / 1_000).toFixed(1);
      return `- ${app} ended by itself at ${at} s with ${code}: \`${lastWords.split('\n').at(-1)?.slice(0, 300)}\``;
    }),
    '',
  ].join('\n');
}

function ledgerLines({ ledger, counts: { spansLost } }: ChaosReport): string[] {
  const { readCount, counts, openCount, againCount, partitions, isBalanced, agrees, forgotten } = ledger;
  const text = (count: number): string => count.toLocaleString('en-US');
  const ends = Object.entries(counts).map(([fate, count]) => `${fate} ${text(count)}`);
  const balance = `read ${text(readCount)} = ${[...ends, `open ${text(openCount)}`].join(' + ')}`;
  const known = agrees
    ? `It agrees with the topics: ${text(openCount)} offsets are open, ${text(spansLost)} spans are lost, and they are the same`
    : `It does NOT AGREE with the topics: ${text(openCount)} offsets are open, ${text(spansLost)} spans are lost`;
  const rest = forgotten.length === 0 ? '.' : `, but for ${text(forgotten.length)} that came out:`;
  return [
    `${balance}: ${isBalanced ? 'balanced' : 'NOT BALANCED'}. Receipts told again: ${text(againCount)}.`,
    '',
    `${known}${rest}`,
    ...forgottenLines(ledger),
    '',
    '| partition | books begin at | read up to | log ends at | open | lost | came out, and open |',
    '|---|---|---|---|---|---|---|',
    ...partitions.map(
      ({ partition, baseOffset, takenOffset, highOffset, openCount: open, lostCount, forgottenCount }) =>
        `| ${[partition, baseOffset, takenOffset, highOffset, open, lostCount, forgottenCount].join(' | ')} |`,
    ),
  ];
}

/** Each offset, with the reason. */
function forgottenLines({ forgotten }: ChaosReport['ledger']): string[] {
  if (forgotten.length === 0) return [];
  const reasons = new Map<string, string[]>();
  for (const { partition, offset, atMs, reason } of forgotten) {
    const at = atMs === undefined ? 'found in no topic' : new Date(atMs).toISOString();
    const offsets = reasons.get(reason) ?? [];
    offsets.push(`${partition}/${offset} (${at})`);
    reasons.set(reason, offsets);
  }
  return [
    '',
    '| why nobody knows of it | count | partition/offset (when it came out) |',
    '|---|---|---|',
    ...[...reasons].map(
      ([reason, offsets]) => `| ${reason === '' ? 'NO REASON' : reason} | ${offsets.length} | ${offsets.join(', ')} |`,
    ),
  ];
}

function lostLines({ lostByFault, lostSamples }: ChaosReport): string[] {
  return [
    'Each is counted to the first fault after it that destroys what Redis has.',
    '',
    '| fault | spans |',
    '|---|---|',
    ...Object.entries(lostByFault).map(([fault, count]) => `| ${fault} | ${count.toLocaleString('en-US')} |`),
    '',
    '| span | partition/offset | sent | destroying faults since |',
    '|---|---|---|---|',
    ...lostSamples.map(
      ({ projectId, traceId, spanId, partition, offset, timestampMs, faults }) =>
        `| ${projectId}:${traceId}:${spanId} | ${partition}/${offset} | ${new Date(timestampMs).toISOString()} | ${faults.join(', ')} |`,
    ),
  ];
}

function eventLine(event: FaultEvent, startMs: number): string {
  const { group, fault, target, startedMs, endedMs, recoverySeconds, detail, error, amount } = event;
  const tenths = (milliseconds: number): string => (milliseconds / 1_000).toFixed(1);
  const what = amount === undefined ? fault : `${fault} (${amount})`;
  const cells = [group, tenths(startedMs - startMs), what, target, tenths(endedMs - startedMs), recoverySeconds];
  return `| ${[...cells, error === '' ? detail : `NOT DONE: ${error}`].join(' | ')} |`;
}
