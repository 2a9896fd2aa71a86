import type { PartitionBooks } from '../ledger.ts';
import { type Queue, queueOf } from '../redis/queue-scripts.ts';
import type { RedisRunner } from '../redis/redis-runner.ts';
import type { AuditSettings } from './audit-settings.ts';

/** What the parts of an audit share. */
export interface AuditScope {
  readonly runner: RedisRunner;
  readonly settings: AuditSettings;
  /** Slices that have queues in this Redis, the audited one first. Traces do not say whose they are. */
  readonly slices: readonly (number | undefined)[];
  /** What traces of an epoch before hold counts for nothing: it is read again. `undefined`: nobody counts epochs. */
  readonly epoch: number | undefined;
  /** Of the audited slice, as they were before anything else was read. */
  readonly books: readonly PartitionBooks[];
}

/** A queue of the audited slice. */
export function ownQueue({ settings: { sliceId } }: AuditScope, shard: number): Queue {
  return queueOf(sliceId === undefined ? { shard } : { shard, sliceId });
}
