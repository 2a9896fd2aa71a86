import type { PartitionBooks } from './ledger.ts';

/** What an audit looks for. docs/audit.md says what each one means and how it comes about. */
export const FINDING_KINDS = [
  'unqueued-segment',
  'stale-entry',
  'unreferenced-payload',
  'missing-payload',
  'unregistered-shard',
  'endless-lease',
  'key-without-ttl',
  'held-without-entry',
  'entry-without-held',
  'unknown-key',
  'unaccounted-offsets',
] as const;

export type FindingKind = (typeof FINDING_KINDS)[number];

/** One thing that is not as it should be. Fields that its kind has no use for are left out. */
export interface Finding {
  readonly kind: FindingKind;
  /** Redis key that it is about. */
  readonly key: string;
  /** What is wrong, in a few words. */
  readonly detail: string;
  readonly projectId?: string;
  readonly traceId?: string;
  readonly segmentId?: string;
  readonly shard?: number;
  /** Spans that are concerned, as the record says. */
  readonly spanCount?: number;
  /** Of a segment that lost payloads: spans whose payload is there. */
  readonly foundSpanCount?: number;
  /** The log that `offsets` count in. */
  readonly source?: string;
  /** Of a partition, which is `shard`: offsets that are concerned; the first thousand ranges. */
  readonly offsets?: readonly OffsetRange[];
  /** Memory that it takes, where it takes any for nothing. */
  readonly bytes?: number;
}

/** Offsets from `from` up to, not including, `to`. */
export interface OffsetRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** A finding, and what became of it. */
export interface AuditFinding extends Finding {
  /** `found`: no repair was asked for; `repaired`; `left`: this audit cannot or must not mend it. */
  readonly outcome: 'found' | 'repaired' | 'left';
  /** What was done, or why nothing was. Empty for `found`. */
  readonly done: string;
}

/** What the buffer holds of one shard. Counts of a moment, each trace at its own. */
export interface ShardHoldings {
  readonly shard: number;
  readonly heldSpanCount: number;
  readonly parkedSpanCount: number;
  readonly generationCount: number;
}

/**
 * The books of one partition and source, with where the open offsets are: `openCount` = `heldCount` + `parkedCount` +
 * `missingCount` + `movingCount`.
 */
export interface AuditedBooks extends PartitionBooks {
  readonly heldCount: number;
  readonly parkedCount: number;
  /** Read, not produced, and held by nothing: lost, unless they are read again. */
  readonly missingCount: number;
  /** What came, less what was produced, while the audit looked: 0 where nothing runs. */
  readonly movingCount: number;
  /** Whether nothing is missing. */
  readonly isBalanced: boolean;
}

export interface AuditReport {
  /** Whether nothing was found, or everything found was repaired. */
  readonly isClean: boolean;
  /** By kind, in the order of {@link FINDING_KINDS}; kinds of which there is nothing are left out. */
  readonly counts: readonly { readonly kind: FindingKind; readonly found: number; readonly repaired: number }[];
  /** By number. */
  readonly shards: readonly ShardHoldings[];
  /** Of all partitions that have books. */
  readonly books: readonly AuditedBooks[];
  /** What was looked at. */
  readonly swept: {
    readonly keys: number;
    readonly traces: number;
    readonly payloads: number;
    readonly queueEntries: number;
  };
}

export interface AuditCall {
  /** Mends what can be mended. Without it nothing is written. */
  readonly repair?: boolean;
  /**
   * Writes offsets off as lost that nothing holds. Not where a consumer is to read them again, as it does after a loss where
   * offsets are committed on flush: it would pass over them.
   */
  readonly writeOff?: boolean;
  /** Told of each finding, once it is certain and has been dealt with. The audit goes on when what it returns is settled. */
  readonly onFinding?: (finding: AuditFinding) => void | Promise<void>;
}

/** Checks that what is in Redis hangs together, beside consumers and flushers that go on. */
export interface Auditor {
  /**
   * Looks at every key of spanbuf in Redis, twice at what looks wrong.
   * @throws {@link StoreUnavailableError} when Redis does not answer in time; what was repaired by then stays repaired.
   * @remarks Cost: two passes of SCAN over all keys, two commands a key, one read of each trace, and of each payload where there
   * are books; the last two again where offsets are missing. No command takes a node more than some 5 ms. In memory: a page
   * of keys with what their traces list, a bit for each offset that is held, 10,000 suspicions.
   */
  audit(call?: AuditCall): Promise<AuditReport>;
}
