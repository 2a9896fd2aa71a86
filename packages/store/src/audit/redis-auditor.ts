import { setTimeout as sleep } from 'node:timers/promises';
import { formatEpochKey, type SpanRef, type TraceRef } from '@spanbuf/keys';
import {
  type AuditCall,
  type AuditFinding,
  type Auditor,
  type AuditReport,
  FINDING_KINDS,
  type FindingKind,
} from '../auditor.ts';
import { entryOf, pagesOf } from '../redis/grouping.ts';
import type { RedisRunner } from '../redis/redis-runner.ts';
import type { AuditScope } from './audit-scope.ts';
import type { AuditSettings } from './audit-settings.ts';
import {
  auditedBooks,
  findOpen,
  type HeldOffsets,
  missingInBoth,
  missingOffsets,
  type OpenOffsets,
  readBooks,
} from './books.ts';
import { KEY_PREFIX } from './key-kinds.ts';
import { inspectKeys } from './keys.ts';
import { OffsetSets } from './offset-sets.ts';
import { readSpans } from './payload-spans.ts';
import { inspectPayloads, type PlacedPayload, payloadsIn } from './payloads.ts';
import { inspectEntries, inspectShards, type QueueKey, scanEntries } from './queues.ts';
import { SecondLook } from './second-look.ts';
import { type Suspicion, suspectsAmong } from './suspicion.ts';
import { type Holding, inspectTraces } from './traces.ts';

/** Keys that one SCAN looks at. */
const SCAN_COUNT = 1_000;
/** Traces that are read at once. */
const TRACES_AT_ONCE = 64;

/** What there is that does not belong to a trace. */
interface Survey {
  /** Of the audited slice. */
  readonly queues: readonly QueueKey[];
  /** That have books, in the audited slice. */
  readonly partitions: readonly number[];
  /** Of anybody, the audited one first. */
  readonly slices: readonly (number | undefined)[];
}

export class RedisAuditor implements Auditor {
  readonly #runner: RedisRunner;
  readonly #settings: AuditSettings;

  constructor(runner: RedisRunner, settings: AuditSettings) {
    this.#runner = runner;
    this.#settings = settings;
  }

  async audit(call: AuditCall = {}): Promise<AuditReport> {
    const findings = new FindingLog(call);
    const room = new SecondLook(this.#settings.minAgeSeconds, (suspicion) => findings.certain(suspicion));
    const { queues, partitions, slices } = await this.#survey();
    const base = { runner: this.#runner, settings: this.#settings };
    const books = await readBooks(base, partitions);
    const beforeMs = performance.now();
    const scope: AuditScope = { ...base, slices, books, epoch: await this.#readEpoch() };
    const sweep = new Sweep(scope, room);
    await sweep.queues(queues);
    for await (const page of this.#runner.scan(`${KEY_PREFIX}*`, SCAN_COUNT)) await sweep.keys(page);
    const open = await findOpen(scope, sweep.offsets);
    await room.end();
    const certain = await this.#lookAgain(scope, open, beforeMs);
    for (const one of certain)
      if (one.missing.length > 0) await findings.certain(missingOffsets(scope, one, call.writeOff === true));
    const left = call.writeOff === true ? certain.map((one) => ({ ...one, missing: [] })) : certain;
    const audited = auditedBooks(await readBooks(base, partitions), left);
    return { ...findings.report(), ...sweep.report(), books: audited };
  }

  /** Which of the offsets that nothing seems to hold are held by nothing in a second sweep either. */
  async #lookAgain(scope: AuditScope, open: readonly OpenOffsets[], beforeMs: number): Promise<readonly OpenOffsets[]> {
    if (open.every(({ missing }) => missing.length === 0)) return open;
    const leftMs = beforeMs + this.#settings.minAgeSeconds * 1000 - performance.now();
    if (leftMs > 0) await sleep(leftMs);
    const offsets = emptyOffsets();
    for await (const page of this.#runner.scan(`${KEY_PREFIX}ssr:*`, SCAN_COUNT)) {
      const traces = (await inspectKeys(scope, page)).flatMap(({ known }) =>
        known?.kind === 'trace' ? known.trace : [],
      );
      for (const some of pagesOf(traces, TRACES_AT_ONCE))
        for (const { holdings } of await inspectTraces(scope, some)) await noteOffsets(this.#runner, holdings, offsets);
    }
    return missingInBoth(open, await findOpen(scope, offsets));
  }

  async #readEpoch(): Promise<number | undefined> {
    const { sliceId } = this.#settings;
    const key = formatEpochKey(sliceId === undefined ? {} : { sliceId });
    const [epoch] = await this.#runner.run([{ key, name: 'hget', args: [key, 'epoch'] }]);
    return epoch === null ? undefined : Number(epoch);
  }

  async #survey(): Promise<Survey> {
    const { sliceId } = this.#settings;
    const queues: QueueKey[] = [];
    const partitions: number[] = [];
    const slices = new Set([sliceId]);
    const scope: AuditScope = {
      runner: this.#runner,
      settings: this.#settings,
      slices: [],
      books: [],
      epoch: undefined,
    };
    for await (const page of this.#runner.scan(`${KEY_PREFIX}[ql]*`, SCAN_COUNT)) {
      for (const { known } of await inspectKeys(scope, page)) {
        if (known?.kind !== 'queue' && known?.kind !== 'ledger') continue;
        slices.add(known.ref.sliceId);
        if (known.ref.sliceId !== sliceId) continue;
        if (known.kind === 'queue') queues.push(known.ref);
        else partitions.push(known.ref.shard);
      }
    }
    return { queues, partitions: [...new Set(partitions)].sort((a, b) => a - b), slices: [...slices] };
  }
}

function emptyOffsets(): HeldOffsets {
  return { held: new OffsetSets(), parked: new OffsetSets() };
}

/** Cost: every payload is read. */
async function noteOffsets(runner: RedisRunner, holdings: readonly Holding[], to: HeldOffsets): Promise<void> {
  for (const { members, isParked } of holdings) {
    const offsets = isParked ? to.parked : to.held;
    for await (const spans of readSpans(runner, members))
      for (const { partition, source = '', offset } of spans ?? [])
        if (offset !== undefined) offsets.add(partition, source, offset);
  }
}

/** A first look at everything. */
class Sweep {
  readonly #scope: AuditScope;
  readonly #room: SecondLook;
  readonly #shards = new Map<number, { held: number; parked: number; generations: number }>();
  readonly #swept = { keys: 0, traces: 0, payloads: 0, queueEntries: 0 };

  /** What is held, where there are books. */
  readonly offsets = emptyOffsets();

  constructor(scope: AuditScope, room: SecondLook) {
    this.#scope = scope;
    this.#room = room;
  }

  async queues(queues: readonly QueueKey[]): Promise<void> {
    const shards = [...new Set(queues.map(({ shard }) => shard))];
    await this.#room.add(await suspectsAmong(shards, (some) => inspectShards(this.#scope, some)));
    for (const queue of queues) {
      // Names of traces, not entries.
      if (queue.part === 'forgotten') continue;
      for await (const page of scanEntries(this.#scope, queue)) {
        this.#swept.queueEntries += page.length;
        await this.#room.add(await suspectsAmong(page, (some) => inspectEntries(this.#scope, some)));
      }
    }
  }

  async keys(page: readonly string[]): Promise<void> {
    const inspected = await inspectKeys(this.#scope, page);
    await this.#room.add(
      inspected.flatMap(({ suspicions }, i) => {
        const again = async () => (await inspectKeys(this.#scope, [page[i] as string]))[0]?.suspicions ?? [];
        return suspicions.length > 0 ? [{ suspicions, again }] : [];
      }),
    );
    const traces: TraceRef[] = [];
    const payloads: PlacedPayload[] = [];
    const hashes: SpanRef[] = [];
    for (const { known } of inspected) {
      if (known?.kind === 'trace') traces.push(known.trace);
      if (known?.kind === 'payload') payloads.push({ place: 'distributed', ref: known.ref });
      if (known?.kind === 'colocated') hashes.push(known.ref);
    }
    payloads.push(...(await payloadsIn(this.#scope, hashes)));
    this.#swept.keys += page.length;
    this.#swept.traces += traces.length;
    this.#swept.payloads += payloads.length;
    for (const some of pagesOf(traces, TRACES_AT_ONCE)) await this.#traces(some);
    await this.#room.add(await suspectsAmong(payloads, (some) => inspectPayloads(this.#scope, some)));
  }

  async #traces(traces: readonly TraceRef[]): Promise<void> {
    const suspects = await suspectsAmong(traces, async (some) => {
      const inspected = await inspectTraces(this.#scope, some);
      if (some === traces) for (const { holdings } of inspected) await this.#count(holdings);
      return inspected.map(({ suspicions }) => suspicions);
    });
    await this.#room.add(suspects);
  }

  async #count(holdings: readonly Holding[]): Promise<void> {
    if (this.#scope.books.length > 0) await noteOffsets(this.#scope.runner, holdings, this.offsets);
    for (const { shard, spanCount, isParked } of holdings) {
      const counts = entryOf(this.#shards, shard, () => ({ held: 0, parked: 0, generations: 0 }));
      counts[isParked ? 'parked' : 'held'] += spanCount;
      counts.generations++;
    }
  }

  report(): Pick<AuditReport, 'shards' | 'swept'> {
    const shards = [...this.#shards].toSorted(([a], [b]) => a - b);
    return {
      shards: shards.map(([shard, { held, parked, generations }]) => ({
        shard,
        heldSpanCount: held,
        parkedSpanCount: parked,
        generationCount: generations,
      })),
      swept: { ...this.#swept },
    };
  }
}

/** What is certain: repaired where that was asked for, told, counted. */
class FindingLog {
  readonly #call: AuditCall;
  readonly #counts = new Map<FindingKind, { found: number; repaired: number }>();

  constructor(call: AuditCall) {
    this.#call = call;
  }

  async certain({ finding, repair }: Suspicion): Promise<void> {
    const counts = entryOf(this.#counts, finding.kind, () => ({ found: 0, repaired: 0 }));
    counts.found++;
    const isAsked = finding.kind === 'unaccounted-offsets' ? this.#call.writeOff : this.#call.repair;
    let end: Pick<AuditFinding, 'outcome' | 'done'> = { outcome: 'found', done: '' };
    if (isAsked === true && typeof repair !== 'string') {
      end = { outcome: 'repaired', done: await repair() };
      counts.repaired++;
    } else if (this.#call.repair === true) {
      end = { outcome: 'left', done: typeof repair === 'string' ? repair : '' };
    }
    await this.#call.onFinding?.({ ...finding, ...end });
  }

  report(): Pick<AuditReport, 'isClean' | 'counts'> {
    const counts = FINDING_KINDS.flatMap((kind) => {
      const count = this.#counts.get(kind);
      return count === undefined ? [] : [{ kind, ...count }];
    });
    return { isClean: counts.every(({ found, repaired }) => found === repaired), counts };
  }
}
