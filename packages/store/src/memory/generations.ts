import type { TraceRef } from '@spanbuf/keys';
import type { ClaimQuery, SealedGeneration, SealReason, SegmentPolicy, StoredSpan } from '../segment-store.ts';

/** Whose generation it is, and until when by wall time. */
export interface Lease {
  readonly until: number;
}

/** Spans of a segment that leave together: live until it is sealed, then immutable. */
export interface Generation {
  readonly trace: Trace;
  segment: Segment;
  shard: number;
  spans: StoredSpan[];
  bytes: number;
  first: number;
  last: number;
  due: number;
  byAge: boolean;
  /** Wall time at which it is taken whatever message time says. */
  heldUntil: number;
  sealed: Pick<SealedGeneration, 'segmentId' | 'generation' | 'reason' | 'rootSeen'> | undefined;
  /** End of the lease by wall time; `undefined` while nobody has it. A new object for each lease. */
  lease: Lease | undefined;
  /** Leases that ended without a message, and the last of them. */
  tries: number;
  triedWith: Lease | undefined;
  /** Why and when it was set aside. */
  parked: { readonly reason: string; readonly seconds: number } | undefined;
  isCompleted: boolean;
}

/** A segment as long as its trace is known. */
export interface Segment {
  name: string;
  rootSeen: boolean;
  nextGeneration: number;
  /** As in the scripts: which of two segments' shards a union is queued in depends on it. */
  rank: number;
  live: Generation | undefined;
  mergedInto: Segment | undefined;
}

/** Of one shard. */
export interface Queue {
  /** In the order in which they began. */
  readonly generations: Set<Generation>;
  /** Generations that were taken from it: moves on whose turn it is. */
  taken: number;
}

export interface Trace {
  readonly ref: TraceRef;
  readonly segments: Map<string, Segment>;
  readonly taken: Map<string, bigint>;
  /** Generations with spans, live or sealed. */
  waiting: number;
  forgetAt: number;
}

export function findOrCreate(trace: Trace, id: string): Segment {
  const known = trace.segments.get(id);
  if (known) return resolve(known);
  const segment: Segment = {
    name: id,
    rootSeen: false,
    nextGeneration: 1,
    rank: 0,
    live: undefined,
    mergedInto: undefined,
  };
  trace.segments.set(id, segment);
  return segment;
}

export function resolve(segment: Segment): Segment {
  let at = segment;
  while (at.mergedInto) at = at.mergedInto;
  if (segment !== at) segment.mergedInto = at;
  return at;
}

export function seal(segment: Segment, reason: SealReason): void {
  const generation = segment.live as Generation;
  const { name, rootSeen, nextGeneration } = segment;
  generation.sealed = { segmentId: name, generation: nextGeneration, reason, rootSeen };
  segment.live = undefined;
  segment.nextGeneration += 1;
}

export function setDue({ live, rootSeen }: Segment, policy: SegmentPolicy): void {
  if (live === undefined) return;
  const idle = live.last + (rootSeen ? policy.rootTimeoutSeconds : policy.timeoutSeconds);
  const oldest = live.first + policy.maxAgeSeconds;
  live.byAge = oldest < idle;
  live.due = Math.min(idle, oldest);
}

export function isReady(generation: Generation, query: ClaimQuery, wall: number): boolean {
  if (generation.parked) return false;
  if (generation.lease && generation.lease.until > wall) return false;
  if (generation.sealed || query.drain) return true;
  return generation.due <= query.now || generation.heldUntil <= wall;
}

/**
 * What is ready in a queue: one generation of each project that has any, then a second one, and so on; of one project by due
 * time. `turn` says whose comes first.
 */
export function inTurn(queue: Iterable<Generation>, turn: number, query: ClaimQuery, wall: number): Generation[] {
  const byProject = new Map<string, Generation[]>();
  for (const generation of queue) {
    if (!isReady(generation, query, wall)) continue;
    const { projectId } = generation.trace.ref;
    const own = byProject.get(projectId);
    if (own === undefined) byProject.set(projectId, [generation]);
    else own.push(generation);
  }
  const all = [...byProject.values()];
  const first = turn % Math.max(1, all.length);
  const rounds: Generation[][] = [];
  for (const own of [...all.slice(first), ...all.slice(0, first)]) {
    own.sort((a, b) => a.due - b.due);
    for (const [round, generation] of own.entries()) {
      if (rounds[round] === undefined) rounds.push([generation]);
      else rounds[round].push(generation);
    }
  }
  return rounds.flat();
}

export function positionOf({ source, partition }: StoredSpan): string {
  return `${source ?? ''}/${partition}`;
}

export function isTaken(taken: ReadonlyMap<string, bigint>, span: StoredSpan): boolean {
  if (span.offset === undefined) return false;
  const highest = taken.get(positionOf(span));
  return highest !== undefined && span.offset <= highest;
}
