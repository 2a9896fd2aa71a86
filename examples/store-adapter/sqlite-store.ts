/**
 * A store in an SQLite file: what is held outlives the process, and several processes of one machine may share it. A
 * whole adapter of `SegmentStore`, to show what one takes; the conformance suite says whether it is right.
 *
 * Every call is one transaction. That makes most of it easy: what the Redis adapters need several steps and a protocol for
 * is here all there, or not at all.
 */
import { randomUUID } from 'node:crypto';
import { DatabaseSync, type SQLInputValue, type SQLOutputValue } from 'node:sqlite';
import {
  type AddResult,
  type ClaimQuery,
  MAX_REASON_CHARACTERS,
  type ParkedContents,
  type ParkedGeneration,
  type ParkedQuery,
  type SealedGeneration,
  type SealReason,
  type SegmentPolicy,
  type SegmentStore,
  type StoredSpan,
  StoreUnavailableError,
  type Subsegment,
  type TraceAddition,
} from '@spanbuf/store';
import { SCHEMA } from './schema.ts';

export interface SqliteStoreOptions {
  /** How long a trace without spans stays known, so that late spans and replays are recognised; default 120. */
  readonly dedupeWindowSeconds?: number;
  /** How long a flusher has a segment before another may take it; default 60. */
  readonly leaseSeconds?: number;
  /** Wall time, Unix seconds; default the clock of the machine. */
  readonly clock?: () => number;
}

type Row = Record<string, SQLOutputValue>;
const SQLITE_BUSY = 5;

interface Claim {
  readonly id: number;
  readonly lease: string;
}

interface Segment {
  readonly id: number;
  readonly name: string;
  readonly rootSeen: boolean;
  readonly nextGeneration: number;
}

interface Live {
  readonly id: number;
  readonly shard: number;
  readonly spans: number;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

/** Close it when nothing uses it any more. Calls block the process while SQLite reads and writes. */
export class SqliteStore implements SegmentStore {
  readonly #db: DatabaseSync;
  readonly #dedupeWindowSeconds: number;
  readonly #leaseSeconds: number;
  readonly #clock: () => number;
  readonly #statements = new Map<string, ReturnType<DatabaseSync['prepare']>>();
  /** Another shard is the first each time, so that none is left over for ever. */
  #turn = 0;

  /** @param path - Of the file, made where there is none; `:memory:` for none. */
  constructor(path: string, options: SqliteStoreOptions = {}) {
    this.#dedupeWindowSeconds = options.dedupeWindowSeconds ?? 120;
    this.#leaseSeconds = options.leaseSeconds ?? 60;
    this.#clock = options.clock ?? (() => Date.now() / 1000);
    this.#db = new DatabaseSync(path);
    this.#db.exec(SCHEMA);
  }

  close(): void {
    this.#db.close();
  }

  async add(
    additions: readonly TraceAddition[],
    policy: SegmentPolicy,
    at: { readonly now: number },
  ): Promise<AddResult> {
    return this.#transaction(() => {
      this.#forgetTraces();
      const result = { added: 0, replayed: 0 };
      for (const addition of additions)
        this.#addTo(this.#traceOf(addition), addition.subsegments, policy, at.now, result);
      return result;
    });
  }

  #addTo(
    trace: number,
    subsegments: readonly Subsegment[],
    policy: SegmentPolicy,
    now: number,
    result: { added: number; replayed: number },
  ): void {
    const isTaken = this.#replaysOf(trace);
    const tops = new Set<string>();
    for (const subsegment of subsegments) {
      const spans = subsegment.spans.filter((span) => !isTaken(span));
      result.added += spans.length;
      result.replayed += subsegment.spans.length - spans.length;
      if (spans.length === 0) continue;
      this.#apply(trace, { ...subsegment, spans }, policy, now);
      tops.add(subsegment.topId);
    }
    // Only now: they may have become one.
    for (const top of tops) this.#setDue(this.#segmentOf(trace, top), policy);
  }

  #traceOf({ projectId, traceId }: TraceAddition): number {
    this.#run('INSERT INTO traces (project, trace) VALUES (?, ?) ON CONFLICT DO NOTHING', projectId, traceId);
    return Number(this.#get('SELECT id FROM traces WHERE project = ? AND trace = ?', projectId, traceId)?.['id']);
  }

  /** Of what the trace has taken before: the subsegments of an addition are no replays of each other. */
  #replaysOf(trace: number): (span: StoredSpan) => boolean {
    const sql = 'SELECT source, partition, CAST(offset AS TEXT) AS offset FROM taken WHERE trace = ?';
    const taken = new Map(
      this.#all(sql, trace).map(({ source, partition, offset }) => [`${source}/${partition}`, BigInt(String(offset))]),
    );
    return ({ source, partition, offset }) =>
      offset !== undefined && offset <= (taken.get(`${source ?? ''}/${partition}`) ?? -1n);
  }

  #apply(trace: number, { topId, hasRoot, spans }: Subsegment, policy: SegmentPolicy, now: number): void {
    const { id: segment, name } = this.#segmentOf(trace, topId);
    if (hasRoot && name === topId && spans.some(({ spanId }) => spanId === topId)) {
      this.#run('UPDATE segments SET root_seen = 1 WHERE id = ?', segment);
    }
    for (const { spanId } of spans) {
      const other = this.#findSegment(trace, spanId);
      if (other === undefined) {
        this.#run('INSERT INTO places (trace, span, segment) VALUES (?, ?, ?)', trace, spanId, segment);
      } else if (other.id !== segment && other.name === spanId && !other.rootSeen) {
        this.#unite(segment, other, policy);
      }
    }
    const bytes = spans.reduce((sum, { payload }) => sum + payload.length, 0);
    const before = this.#findLive(segment);
    if (before && before.bytes + bytes > policy.maxSegmentBytes) this.#seal(segment, 'max-bytes');
    const live = this.#findLive(segment) ?? this.#begin(trace, segment, spans[0]?.partition ?? 0, policy, now);
    for (const span of spans) this.#insert(trace, live.id, span);
    this.#run(
      'UPDATE generations SET spans = spans + ?, bytes = bytes + ?, first = min(first, ?), last = max(last, ?) WHERE id = ?',
      ...[spans.length, bytes, now, now, live.id],
    );
    if (live.bytes + bytes >= policy.maxSegmentBytes) this.#seal(segment, 'max-bytes');
  }

  #findSegment(trace: number, span: string): Segment | undefined {
    const sql =
      'SELECT segments.* FROM places JOIN segments ON segments.id = segment WHERE places.trace = ? AND span = ?';
    const row = this.#get(sql, trace, span);
    return row && toSegment(row);
  }

  #segmentOf(trace: number, topId: string): Segment {
    const known = this.#findSegment(trace, topId);
    if (known) return known;
    const row = this.#get('INSERT INTO segments (trace, name) VALUES (?, ?) RETURNING *', trace, topId) as Row;
    this.#run('INSERT INTO places (trace, span, segment) VALUES (?, ?, ?)', trace, topId, row['id'] as number);
    return toSegment(row);
  }

  #findLive(segment: number): Live | undefined {
    return this.#get('SELECT * FROM generations WHERE segment = ? AND number IS NULL', segment) as Live | undefined;
  }

  #begin(trace: number, segment: number, shard: number, policy: SegmentPolicy, now: number): Live {
    this.#run('UPDATE traces SET forget_at = NULL WHERE id = ?', trace);
    const sql =
      'INSERT INTO generations (trace, segment, shard, first, last, held_until) VALUES (?, ?, ?, ?, ?, ?) RETURNING *';
    const heldUntil = this.#clock() + 3 * policy.maxAgeSeconds;
    return this.#get(sql, trace, segment, shard, now, now, heldUntil) as unknown as Live;
  }

  #insert(trace: number, generation: number, span: StoredSpan): void {
    const { spanId, parentId, partition, offset, source, payload, places } = span;
    this.#run(
      'INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      ...[generation, spanId, parentId, partition, offset ?? null, source ?? null],
      ...[payload, places?.[0] ?? null, places?.[1] ?? null],
    );
    if (offset === undefined) return;
    this.#run(
      'INSERT INTO taken VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET offset = max(offset, excluded.offset)',
      ...[trace, source ?? '', partition, offset],
    );
  }

  /** The segment `child` turns out to be part of `top`. */
  #unite(top: number, child: Segment, policy: SegmentPolicy): void {
    const [mine, other] = [this.#findLive(top), this.#findLive(child.id)];
    this.#run(
      'UPDATE segments SET next_generation = max(next_generation, ?) WHERE id = ?',
      ...[child.nextGeneration, top],
    );
    if (mine && other && mine.bytes + other.bytes > policy.maxSegmentBytes) {
      // Both do not fit into one: the larger goes out as it is, the other one stays the live one.
      const [larger, smaller] = other.bytes > mine.bytes ? [other, mine] : [mine, other];
      this.#sealAs(larger.id, top, 'max-bytes');
      this.#run('UPDATE generations SET segment = ? WHERE id = ?', top, smaller.id);
    } else if (mine && other) {
      this.#run('UPDATE spans SET generation = ? WHERE generation = ?', mine.id, other.id);
      this.#run(
        `UPDATE generations SET (shard, spans, bytes, first, last, held_until) = (
           SELECT ?, a.spans + b.spans, a.bytes + b.bytes, min(a.first, b.first), max(a.last, b.last),
             min(a.held_until, b.held_until) FROM generations a, generations b WHERE a.id = ? AND b.id = ?
         ) WHERE id = ?`,
        ...[other.spans > mine.spans ? other.shard : mine.shard, mine.id, other.id, mine.id],
      );
      this.#run('DELETE FROM generations WHERE id = ?', other.id);
    } else if (other) {
      this.#run('UPDATE generations SET segment = ? WHERE id = ?', top, other.id);
    }
    this.#run('UPDATE places SET segment = ? WHERE segment = ?', top, child.id);
    this.#run('DELETE FROM segments WHERE id = ?', child.id);
  }

  #seal(segment: number, reason: SealReason): void {
    const live = this.#findLive(segment);
    if (live) this.#sealAs(live.id, segment, reason);
  }

  #sealAs(generation: number, segment: number, reason: SealReason): void {
    this.#run(
      `UPDATE generations SET reason = ?, (number, name, root_seen) = (
         SELECT next_generation, segments.name, segments.root_seen FROM segments WHERE id = ?
       ) WHERE id = ?`,
      ...[reason, segment, generation],
    );
    this.#run('UPDATE segments SET next_generation = next_generation + 1 WHERE id = ?', segment);
  }

  #setDue({ id, rootSeen }: Segment, policy: SegmentPolicy): void {
    const live = this.#findLive(id);
    if (live === undefined) return;
    const idle = live.last + (rootSeen ? policy.rootTimeoutSeconds : policy.timeoutSeconds);
    const oldest = live.first + policy.maxAgeSeconds;
    const reason: SealReason = oldest < idle ? 'max-age' : rootSeen ? 'root-idle' : 'idle';
    const sql = 'UPDATE generations SET due = ?, due_reason = ? WHERE id = ?';
    this.#run(sql, Math.min(idle, oldest), reason, live.id);
  }

  async claim(query: ClaimQuery): Promise<SealedGeneration[]> {
    return this.#transaction(() => {
      const wall = this.#clock();
      const all = query.shards ?? this.#all('SELECT DISTINCT shard FROM generations').map(({ shard }) => Number(shard));
      const turn = this.#turn++ % Math.max(1, all.length);
      const ready = [...all.slice(turn), ...all.slice(0, turn)].map((shard) => this.#ready(shard, query, wall));
      const claimed: SealedGeneration[] = [];
      let bytes = 0;
      // One of each shard, then a second one of each, and so on.
      for (let i = 0; ready.some((queue) => i < queue.length); i += 1) {
        for (const queue of ready) {
          const next = queue[i];
          if (next === undefined) continue;
          if (claimed.length >= query.limit) return claimed;
          bytes += next.bytes;
          if (query.maxBytes !== undefined && claimed.length > 0 && bytes > query.maxBytes) return claimed;
          claimed.push(this.#hand(next.id, query, wall));
        }
      }
      return claimed;
    });
  }

  /** What may be taken from a shard: one generation of each project, then a second one; of one project by due time. */
  #ready(shard: number, { now, drain = false, limit }: ClaimQuery, wall: number): { id: number; bytes: number }[] {
    const rows = this.#all(
      `SELECT * FROM (
         SELECT g.id, g.bytes, project, row_number() OVER (PARTITION BY project ORDER BY due, g.id) AS round
         FROM generations g JOIN traces ON traces.id = g.trace
         WHERE shard = ? AND parked_at IS NULL AND (leased_until IS NULL OR leased_until <= ?)
           AND (number IS NOT NULL OR ? OR due <= ? OR held_until <= ?)
       ) WHERE round <= ? ORDER BY project`,
      ...[shard, wall, Number(drain), now, wall, limit],
    );
    const taken = Number(this.#get('SELECT taken FROM turns WHERE shard = ?', shard)?.['taken'] ?? 0);
    const projects = [...new Set(rows.map(({ project }) => project))];
    const first = taken % Math.max(1, projects.length);
    const turns = new Map(projects.map((project, i) => [project, (i - first + projects.length) % projects.length]));
    const turnOf = (row: Row) => turns.get(row['project'] as string) ?? 0;
    return rows
      .sort((a, b) => Number(a['round']) - Number(b['round']) || turnOf(a) - turnOf(b))
      .map(({ id, bytes }) => ({ id: Number(id), bytes: Number(bytes) }));
  }

  #hand(id: number, query: ClaimQuery, wall: number): SealedGeneration {
    const live = this.#get('SELECT * FROM generations WHERE id = ? AND number IS NULL', id);
    if (live) {
      const forced: SealReason = Number(live['held_until']) <= wall ? 'max-age' : 'drain';
      const reason = Number(live['due']) <= query.now ? (live['due_reason'] as SealReason) : forced;
      this.#sealAs(id, Number(live['segment']), reason);
    }
    const lease = randomUUID();
    this.#run('UPDATE generations SET lease = ?, leased_until = ? WHERE id = ?', lease, wall + this.#leaseSeconds, id);
    const row = this.#get(`${GENERATIONS} WHERE g.id = ?`, id) as Row;
    const sql = 'INSERT INTO turns VALUES (?, 1) ON CONFLICT DO UPDATE SET taken = taken + 1';
    this.#run(sql, row['shard'] as number);
    const claim: Claim = { id, lease };
    return {
      ...placeOf(row),
      reason: row['reason'] as SealReason,
      rootSeen: row['root_seen'] === 1,
      firstSeconds: Number(row['first']),
      lastSeconds: Number(row['last']),
      isOfEpoch: false,
      claim,
    };
  }

  async read(generations: readonly SealedGeneration[]): Promise<(StoredSpan[] | undefined)[]> {
    return this.#transaction(() => generations.map(({ claim }) => this.#spansOf((claim as Claim).id)));
  }

  #spansOf(id: number): StoredSpan[] | undefined {
    if (!this.#get('SELECT id FROM generations WHERE id = ?', id)) return undefined;
    // As text, since an offset may be larger than a number can tell.
    return this.#all('SELECT *, CAST(offset AS TEXT) AS exact FROM spans WHERE generation = ?', id).map((row) => ({
      spanId: String(row['span']),
      parentId: String(row['parent']),
      partition: Number(row['partition']),
      payload: Buffer.from(row['payload'] as Uint8Array),
      ...(row['exact'] !== null && { offset: BigInt(String(row['exact'])) }),
      ...(row['source'] !== null && { source: String(row['source']) }),
      ...(row['place_a'] !== null && { places: [Number(row['place_a']), Number(row['place_b'])] as const }),
    }));
  }

  async complete(generations: readonly SealedGeneration[]): Promise<void> {
    this.#transaction(() => {
      for (const { claim } of generations) this.#delete((claim as Claim).id);
      this.#forgetTraces();
    });
  }

  /** @returns Whether it was there. */
  #delete(id: number): boolean {
    const trace = this.#get('DELETE FROM generations WHERE id = ? RETURNING trace', id)?.['trace'];
    if (trace === undefined) return false;
    this.#run(
      'UPDATE traces SET forget_at = ? WHERE id = ? AND NOT EXISTS (SELECT 1 FROM generations WHERE trace = traces.id)',
      ...[this.#clock() + this.#dedupeWindowSeconds, trace as number],
    );
    return true;
  }

  #forgetTraces(): void {
    this.#run('DELETE FROM traces WHERE forget_at <= ?', this.#clock());
  }

  async release(generations: readonly SealedGeneration[]): Promise<void> {
    this.#transaction(() => {
      for (const { claim } of generations) {
        const { id, lease } = claim as Claim;
        this.#run('UPDATE generations SET lease = NULL, leased_until = NULL WHERE id = ? AND lease = ?', id, lease);
      }
    });
  }

  async park(
    parked: readonly { readonly generation: SealedGeneration; readonly reason: string }[],
    { tries = 1 }: { readonly tries?: number } = {},
  ): Promise<boolean[]> {
    return this.#transaction(() =>
      parked.map(({ generation, reason }) => {
        const { id, lease } = generation.claim as Claim;
        // However often it is told of one try, it counts it once.
        this.#run(
          'UPDATE generations SET tries = tries + 1, tried_with = lease WHERE id = ? AND lease = ? AND tried_with IS NOT lease',
          ...[id, lease],
        );
        this.#run(
          `UPDATE generations SET tries = 0, lease = NULL, leased_until = NULL, parked_reason = ?, parked_at = ?
           WHERE id = ? AND lease = ? AND tries >= ?`,
          ...[reason.slice(0, MAX_REASON_CHARACTERS), this.#clock(), id, lease, tries],
        );
        return this.#isParked(id);
      }),
    );
  }

  #isParked(id: number): boolean {
    return this.#get('SELECT id FROM generations WHERE id = ? AND parked_at IS NOT NULL', id) !== undefined;
  }

  /** Nothing expires here. */
  async *keepParked(): AsyncGenerator<number> {
    const [row] = this.#transaction(() =>
      this.#all('SELECT count(*) AS n FROM generations WHERE parked_at IS NOT NULL'),
    );
    yield Number(row?.['n']);
  }

  async listParked({ shards, projectId, traceId, limit }: ParkedQuery): Promise<ParkedGeneration[]> {
    const rows = this.#transaction(() =>
      this.#all(
        `${GENERATIONS} WHERE parked_at IS NOT NULL AND project = ifnull(?, project) AND traces.trace = ifnull(?, traces.trace)
         AND (? IS NULL OR shard IN (SELECT value FROM json_each(?))) LIMIT ?`,
        ...[projectId ?? null, traceId ?? null],
        ...[shards ? 1 : null, JSON.stringify(shards ?? []), limit],
      ),
    );
    return rows.map((row) => ({
      ...placeOf(row),
      reason: String(row['parked_reason']),
      parkedSeconds: Number(row['parked_at']),
      ref: { id: Number(row['id']) },
    }));
  }

  async readParked(parked: readonly ParkedGeneration[]): Promise<(ParkedContents | undefined)[]> {
    return this.#transaction(() =>
      parked.map(({ ref }) => {
        const spans = this.#spansOf((ref as Claim).id);
        return spans && { spans, unreadable: [] };
      }),
    );
  }

  async retryParked(parked: readonly ParkedGeneration[]): Promise<void> {
    this.#transaction(() => {
      for (const { ref } of parked) {
        this.#run('UPDATE generations SET parked_reason = NULL, parked_at = NULL WHERE id = ?', (ref as Claim).id);
      }
    });
  }

  async deleteParked(parked: readonly ParkedGeneration[]): Promise<ParkedGeneration[]> {
    return this.#transaction(() => {
      const deleted = parked.filter(({ ref }) => {
        const { id } = ref as Claim;
        return this.#isParked(id) && this.#delete(id);
      });
      this.#forgetTraces();
      return deleted;
    });
  }

  /** @throws StoreUnavailableError when another process has the file for longer than 10 seconds. */
  #transaction<T>(action: () => T): T {
    try {
      // At once, and not with the first write: two that read first could not both go on to write.
      this.#db.exec('BEGIN IMMEDIATE');
      const result = action();
      this.#db.exec('COMMIT');
      return result;
    } catch (cause) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      if (!isBusy(cause)) throw cause;
      throw new StoreUnavailableError('another process has the SQLite file for too long', { cause });
    }
  }

  #statement(sql: string): ReturnType<DatabaseSync['prepare']> {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#statement(sql).run(...values);
  }

  #get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values);
  }

  #all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values);
  }
}

const GENERATIONS =
  'SELECT g.*, project, traces.trace AS trace_id FROM generations g JOIN traces ON traces.id = g.trace';

function placeOf(row: Row) {
  return {
    projectId: String(row['project']),
    traceId: String(row['trace_id']),
    segmentId: String(row['name']),
    generation: Number(row['number']),
    shard: Number(row['shard']),
    spanCount: Number(row['spans']),
    payloadBytes: Number(row['bytes']),
  };
}

function toSegment(row: Row): Segment {
  return {
    id: Number(row['id']),
    name: String(row['name']),
    rootSeen: row['root_seen'] === 1,
    nextGeneration: Number(row['next_generation']),
  };
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
}
