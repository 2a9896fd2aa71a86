/** Case `decode`: reading a message of the input topic as a span, with all checks, beside only parsing its JSON. */
import { parseIngestSpan } from '@spanbuf/buffer';
import type { BenchCase } from '../bench-case.ts';
import { bar } from '../report/statistics.ts';
import { recordedPayloads, scaled } from '../workload/spans.ts';
import { typicalStreams } from './typical.ts';

const ROUNDS = 15;
const WARM_UP_ROUNDS = 5;
/** Messages of one round, of either side. */
const MESSAGES = 20_000;
const MOST_RATIO = 1.3;

export const decode: BenchCase = {
  name: 'decode',
  title: 'Reading an ingest span',
  floor: 'JSON.parse(payload.toString()) of the same message',
  run: async (recording, size) => {
    const count = scaled(MESSAGES, size, 1_000);
    const kinds = {
      'typical spans': typicalStreams(1).flatMap(({ batches }) =>
        batches.flat().map(({ payload }) => payload as Buffer),
      ),
      'recorded spans': recordedPayloads,
    };
    const rows: string[][] = [];
    const bars = [];
    for (const [kind, payloads] of Object.entries(kinds)) {
      const messages = Array.from({ length: count }, (_, i) => payloads[i % payloads.length] as Buffer);
      const bytes = messages.reduce((sum, { length }) => sum + length, 0) / count;
      recording.workload(`${kind}: ${count} messages a round, ${Math.round(bytes)} bytes on average, ${ROUNDS} rounds`);
      const rounds: { ours: number; floor: number }[] = [];
      for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
        globalThis.gc?.();
        const oursFirst = round % 2 === 0;
        const first = microsOf(oursFirst ? parseAsSpans : parseAsJson, messages);
        const second = microsOf(oursFirst ? parseAsJson : parseAsSpans, messages);
        if (round >= 0) rounds.push(oursFirst ? { ours: first, floor: second } : { ours: second, floor: first });
      }
      const values = rounds.map(({ ours, floor }) => ours / floor);
      const ours = bar(
        `${kind}: parseIngestSpan`,
        rounds.map((round) => round.ours / count),
      );
      const floor = bar(
        `${kind}: JSON.parse`,
        rounds.map((round) => round.floor / count),
      );
      bars.push(ours, floor);
      const ratio = recording.ratio(
        { name: `parseIngestSpan / JSON.parse: ${kind}`, values, better: 'lower' },
        { acceptance: 7, atMost: MOST_RATIO },
      );
      rows.push([kind, ours.value.toFixed(2), floor.value.toFixed(2), ratio]);
      if (kind === 'typical spans') recording.figure('decodeMicros', ours.value);
    }
    recording.table('Microseconds a message', ['', 'parseIngestSpan', 'JSON.parse', 'ratio'], rows);
    recording.chart({ id: 'decode', title: 'Reading an ingest span', unit: 'microseconds a span', bars });
  },
};

/** CPU time of this process would count the collector's threads as well; both sides make the same garbage. */
function microsOf(parse: (messages: readonly Buffer[]) => number, messages: readonly Buffer[]): number {
  const startedMs = performance.now();
  if (parse(messages) !== messages.length) throw new Error('a message was not parsed');
  return (performance.now() - startedMs) * 1_000;
}

function parseAsSpans(messages: readonly Buffer[]): number {
  let count = 0;
  for (const message of messages) {
    const span = parseIngestSpan(message, { partition: 0, offset: BigInt(count) });
    if (span.spanId.length === 16) count++;
  }
  return count;
}

function parseAsJson(messages: readonly Buffer[]): number {
  let count = 0;
  for (const message of messages) {
    const span = JSON.parse(message.toString()) as { span_id: string };
    if (span.span_id.length === 16) count++;
  }
  return count;
}
