import type { TraceRef } from '@spanbuf/keys';
import type {
  InspectedTrace,
  InspectLimits,
  Inspector,
  NodeFigures,
  PartitionTotals,
  QueueReport,
  QueueSample,
} from '../inspector.ts';
import { pagesOf } from '../redis/grouping.ts';
import { parseLedgerReply, readLedgerCommand } from '../redis/ledger-scripts.ts';
import type { RedisReply, RedisRunner } from '../redis/redis-runner.ts';
import { type InspectScope, type InspectSettings, sliceOf } from './inspect-scope.ts';
import { inspectTrace } from './inspected-trace.ts';
import { readNodes } from './node-figures.ts';
import { readQueues } from './queue-figures.ts';
import { sampleQueues } from './queue-sample.ts';

const DEFAULT_LIMITS: InspectLimits = { mostFields: 1_000_000, mostPayloads: 1_000, mostBytes: 64 * 2 ** 20 };
/** Books that are read at once. */
const BOOKS_AT_ONCE = 64;

export class RedisInspector implements Inspector {
  readonly #scope: InspectScope;

  constructor(runner: RedisRunner, settings: InspectSettings) {
    this.#scope = { runner, settings };
  }

  inspectTrace(trace: TraceRef, limits: Partial<InspectLimits> = {}): Promise<InspectedTrace | undefined> {
    return inspectTrace(this.#scope, trace, { ...DEFAULT_LIMITS, ...limits });
  }

  readQueues({ shards }: { readonly shards?: readonly number[] } = {}): Promise<QueueReport> {
    return readQueues(this.#scope, shards);
  }

  sampleQueues(report: QueueReport, mostEntries: number): Promise<QueueSample> {
    return sampleQueues(this.#scope, report, mostEntries);
  }

  async readTotals(partitions: readonly number[]): Promise<PartitionTotals[]> {
    const { runner, settings } = this.#scope;
    const totals: PartitionTotals[] = [];
    for (const page of pagesOf(partitions, BOOKS_AT_ONCE)) {
      const replies = await runner.run(page.map((partition) => readLedgerCommand(sliceOf(settings), partition)));
      for (const [i, partition] of page.entries())
        for (const { high: _, parts: __, ...facts } of parseLedgerReply(partition, replies[i] as RedisReply))
          totals.push(facts);
    }
    return totals;
  }

  readNodes(): Promise<NodeFigures[]> {
    return readNodes(this.#scope.runner);
  }
}
