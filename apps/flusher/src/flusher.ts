import { type FlushedSegment, SpanBuffer, type SpanLoss, type UnreadableSegment } from '@spanbuf/buffer';
import type { Kafka, LogProducer } from '@spanbuf/kafka';
import { type AppContext, BackgroundLoops, type RunningApp, TraceLog } from '@spanbuf/service';
import {
  type BufferControl,
  type BufferState,
  createBufferControl,
  createLedger,
  createLossWatch,
  createRedisStore,
  createTraceWatch,
  type LossWatch,
  OverdueWatch,
  ReceiptsKeeper,
  type SegmentStore,
  shardTimes,
  type TraceWatch,
} from '@spanbuf/store';
import type { Cluster, Redis } from 'ioredis';
import { Delivery } from './delivery.ts';
import type { flusherMetrics } from './metrics.ts';
import { setAside } from './set-aside.ts';
import type { flusherSettings } from './settings.ts';
import { noteClaimed, noteEach } from './trace-steps.ts';

type Context = AppContext<typeof flusherSettings, typeof flusherMetrics>;

/** What the flusher works with, opened and checked. */
export interface FlusherConnections {
  readonly redis: Redis | Cluster;
  readonly kafka: Kafka;
  /** Longest message that the output topic takes, or that was asked for. */
  readonly maxMessageBytes: number;
}

/** Shards that are flushed at once. Each has an equal part of what may be in hand. */
const SHARDS_AT_ONCE = 4;
const PRESENCE_MS = 2_000;
/** Several times the above: a flusher that is busy is not one that is gone. */
const PRESENCE_SECONDS = 10;
const KAFKA_CHECK_MS = 5_000;
/** For so long a receipt may be known to the flusher alone that gave it, where no consumer copies the books. */
const RECEIPTS_MS = 3_000;
/** How soon a trace is watched that an operator names. */
const WATCHED_MS = 2_000;
/** A thirtieth of the life of what is parked: many turns may fail before anything expires. */
const KEEP_PARKED_MS = 24 * 3_600_000;
/** Redis and Kafka count as away when they have not answered for this long. */
const FRESH_SECONDS = 15;
/** Messages that go to a partition together. A longer one goes alone. */
const REQUEST_BYTES = 1_024 * 1_024;
const SEND_SECONDS = 30;
/** Part of a shutdown, and of a lease, that a send may take; the rest is for noting how it ended. */
const SEND_SHARE = 0.4;
/** Below the time that a stop may take. */
const STORE_DEADLINE_SECONDS = 10;
/** Part of a lease in which segments are produced; the rest is for noting how it ended. */
const DELIVERY_SHARE = 0.5;
/** Longer than any deadline inside a loop, leases apart. */
const STUCK_SECONDS = 120;

/** A store, and what it was made for. */
interface EpochStore {
  /** `undefined`: nobody counts them. */
  readonly epoch: number | undefined;
  readonly store: SegmentStore;
}

/** Takes due segments out of the buffer and produces them. Any number of flushers may run; none owns a shard. */
export class Flusher implements RunningApp {
  /** Everything that can go wrong here passes, or is parked. */
  readonly ended: Promise<void> = new Promise(() => undefined);
  readonly #context: Context;
  readonly #connections: FlusherConnections;
  readonly #losses: LossWatch;
  readonly #control: BufferControl;
  readonly #receipts: ReceiptsKeeper;
  readonly #watch: TraceWatch;
  readonly #traceLog: TraceLog;
  readonly #delivery: Delivery;
  readonly #producer: LogProducer;
  readonly #loops: BackgroundLoops;
  /** Goes on until the last of the work in hand has ended: until then this process counts. */
  readonly #presence: BackgroundLoops;
  readonly #overdue = new OverdueWatch();
  /** Which shard is the first of a turn. */
  #turn = 0;
  #overdueSeconds = 0;
  #current: EpochStore | undefined;
  /** Wall time since which Kafka has not taken what was sent, and when that was seen last; undefined while it does. */
  #refusing: { readonly sinceMs: number; readonly lastMs: number } | undefined;
  /** Wall time when a shard was last flushed, or there was none. */
  #flushedMs: number;

  private constructor(context: Context, connections: FlusherConnections, producer: LogProducer) {
    const { settings, metrics, log, tracing, clockMs } = context;
    const { sliceId, redisTtlSeconds } = settings;
    this.#context = context;
    this.#connections = connections;
    this.#producer = producer;
    this.#flushedMs = clockMs();
    const shared = { sliceId, redisTtlSeconds, deadlineSeconds: STORE_DEADLINE_SECONDS };
    this.#control = createBufferControl(connections.redis, shared);
    this.#losses = createLossWatch(connections.redis, shared);
    this.#receipts = new ReceiptsKeeper(
      createLedger(connections.redis, { sliceId, deadlineSeconds: STORE_DEADLINE_SECONDS }),
    );
    const { outputTopic } = settings;
    this.#watch = createTraceWatch(connections.redis, { sliceId, deadlineSeconds: STORE_DEADLINE_SECONDS });
    const traceLog = new TraceLog(log);
    this.#traceLog = traceLog;
    const told = { metrics, log, tracing, traceLog };
    this.#delivery = new Delivery({ producer, outputTopic, receipts: this.#receipts, ...told, clockMs });
    this.#loops = new BackgroundLoops({ log, clockMs });
    this.#presence = new BackgroundLoops({ log, clockMs });
  }

  static async start(context: Context, connections: FlusherConnections): Promise<Flusher> {
    const { outputCompression, shutdownSeconds, leaseSeconds } = context.settings;
    const { maxMessageBytes } = connections;
    const producer = await connections.kafka.createProducer({
      compression: outputCompression,
      maxRequestBytes: Math.min(maxMessageBytes, REQUEST_BYTES),
      requestTimeoutMs: Math.min(SEND_SECONDS, shutdownSeconds * SEND_SHARE, leaseSeconds * SEND_SHARE) * 1_000,
    });
    const flusher = new Flusher(context, connections, producer);
    await flusher.#begin();
    return flusher;
  }

  async #begin(): Promise<void> {
    const { settings } = this.#context;
    await this.#announce();
    this.#presence.start('presence', PRESENCE_MS, () => this.#announce());
    this.#loops.start('kafka', KAFKA_CHECK_MS, () => this.#connections.kafka.check());
    this.#loops.start('receipts', RECEIPTS_MS, () => this.#watchReceipts());
    this.#loops.start('watched', WATCHED_MS, async () => this.#traceLog.follow(await this.#watch.read()));
    this.#loops.start('parked', KEEP_PARKED_MS, () => this.#keepParked());
    this.#loops.start('flush', settings.pollSeconds * 1_000, () => this.#flushShards());
  }

  async #announce(): Promise<void> {
    const { settings, instanceId, name, version } = this.#context;
    const { layout, leaseSeconds } = settings;
    const facts = { id: instanceId, app: name, version, layout, reads: { leaseSeconds } };
    await Promise.all([
      this.#control.announceFlusher(instanceId, PRESENCE_SECONDS),
      this.#control.announceProcess(facts, PRESENCE_SECONDS),
    ]);
  }

  /** Gives again those that Redis has lost. */
  async #watchReceipts(): Promise<void> {
    const { log } = this.#context;
    const back = await this.#receipts.look();
    if (back.length > 0) log.warn({ back }, 'Redis has lost receipts: they are given again');
  }

  /** What is parked expires only when no flusher has run for a month. */
  async #keepParked(): Promise<void> {
    const { store } = await this.#storeOfNow();
    for await (const _ of store.keepParked()) {
      if (this.#loops.signal.aborted) break;
      this.#loops.progress('parked');
    }
  }

  /** One turn over all shards. Answers how long to wait until the next one, where that is shorter than usual. */
  async #flushShards(): Promise<number | undefined> {
    const { settings, clockMs } = this.#context;
    const current = await this.#storeOfNow();
    const state = await this.#control.readState();
    const times = shardTimes(state, settings.clockGraceSeconds);
    this.#show(state, times);
    const { shards } = state;
    // Another shard is the first each time, so that none is always the last.
    const first = this.#turn++ % Math.max(1, shards.length);
    const waiting = [...shards.slice(first), ...shards.slice(0, first)].map(({ shard }) => shard);
    let isMore = false;
    const errors: unknown[] = [];
    const work = async (): Promise<void> => {
      for (let shard = waiting.shift(); shard !== undefined; shard = waiting.shift()) {
        if (this.#loops.signal.aborted) return;
        // One shard that fails keeps nothing from the others.
        const hasMore = this.#flushShard(current, shard, times.get(shard) as number);
        await hasMore.then(
          (more) => {
            isMore ||= more;
            this.#flushedMs = clockMs();
          },
          (error: unknown) => errors.push(error),
        );
        this.#loops.progress('flush');
      }
    };
    await Promise.all(Array.from({ length: SHARDS_AT_ONCE }, work));
    if (errors.length > 0) throw errors[0];
    this.#flushedMs = clockMs();
    return isMore ? 0 : undefined;
  }

  /** A store for the epoch there is. One of an epoch before is what a node remembers that has missed the latest. */
  async #storeOfNow(): Promise<EpochStore> {
    const epoch = await this.#losses.readEpoch();
    const isOlder = epoch !== undefined && epoch < (this.#current?.epoch ?? 0);
    if (this.#current === undefined || (this.#current.epoch !== epoch && !isOlder)) this.#current = this.#open(epoch);
    return this.#current;
  }

  #open(epoch: number | undefined): EpochStore {
    const { settings } = this.#context;
    const { layout, sliceId, redisTtlSeconds, dedupeWindowSeconds, leaseSeconds, compression } = settings;
    const store = createRedisStore(this.#connections.redis, {
      layout,
      sliceId,
      redisTtlSeconds,
      dedupeWindowSeconds,
      leaseSeconds,
      compression,
      epoch,
      deadlineSeconds: STORE_DEADLINE_SECONDS,
    });
    return { epoch, store };
  }

  /** Answers whether the shard may have more that is due. */
  async #flushShard({ epoch, store }: EpochStore, shard: number, now: number): Promise<boolean> {
    const { settings, metrics, log, clockMs } = this.#context;
    const limit = Math.ceil(settings.flushSegments / SHARDS_AT_ONCE);
    const maxBytes = Math.ceil(settings.flushBytes / SHARDS_AT_ONCE);
    const startMs = clockMs();
    const patience = {
      sendUntilMs: startMs + settings.leaseSeconds * DELIVERY_SHARE * 1_000,
      leaseEndMs: startMs + settings.leaseSeconds * 1_000,
      signal: this.#loops.signal,
    };
    const unreadable: UnreadableSegment[] = [];
    const losses: SpanLoss[] = [];
    const buffer = new SpanBuffer(store, {
      maxMessageBytes: this.#connections.maxMessageBytes,
      holdIncomplete: epoch !== undefined,
      onLoss: (loss) => losses.push(loss),
      onUnreadable: (segment) => unreadable.push(segment),
    });
    const segments = await buffer.flush({ now, shards: [shard], limit, maxBytes });
    const traceLog = this.#traceLog;
    if (traceLog.isOn) noteClaimed(traceLog, [...segments, ...unreadable], losses, now);
    await this.#noteLosses(losses, epoch);
    // Read from what may have lacked something since: it comes again, whole, in the epoch that follows.
    if (epoch !== undefined && segments.length > 0 && !(await this.#losses.isWhole(epoch))) {
      if (traceLog.isOn) noteEach(traceLog, 'held-back', segments, { epoch });
      log.warn({ epoch, segments: segments.length }, 'held back: Redis may have lost data');
      return false;
    }
    const reasons = new Map(unreadable.map((segment) => [segment, segment.error.message] as const));
    await setAside(buffer, reasons, 'unreadable', { metrics, log, traceLog });
    if (segments.length === 0) return false;
    for (const { lastSeconds } of segments) metrics.idleSeconds.observe(Math.max(0, now - lastSeconds));
    const bytes = segments.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
    metrics.inHandBytes.inc(bytes);
    try {
      // Of what was found alone: an empty queue is looked at several times a second.
      const attributes = {
        'spanbuf.shard': shard,
        'spanbuf.segments': segments.length,
        'spanbuf.payload_bytes': bytes,
      };
      const isTaken = await this.#context.tracing.span('flush segments', { attributes, startMs }, () =>
        this.#delivery.deliver(buffer, segments, patience),
      );
      const nowMs = clockMs();
      this.#refusing = isTaken ? undefined : { sinceMs: this.#refusing?.sinceMs ?? nowMs, lastMs: nowMs };
      return isTaken && isCutShort(segments, bytes, { limit, maxBytes });
    } finally {
      metrics.inHandBytes.dec(bytes);
    }
  }

  /** With an epoch, what is incomplete is held back, and whoever reads the input is told, and reads it again. */
  async #noteLosses(losses: readonly SpanLoss[], epoch: number | undefined): Promise<void> {
    const { metrics, log } = this.#context;
    const held = losses.filter(({ isHeld }) => isHeld);
    for (const { lostSpanCount, ...segment } of losses.filter(({ isHeld }) => !isHeld)) {
      metrics.lostSpans.inc(lostSpanCount);
      log.error({ ...segment, lostSpanCount }, 'spans are lost: Redis no longer has them');
    }
    if (epoch === undefined || held.length === 0) return;
    const { segmentId, spanCount, lostSpanCount } = held[0] as SpanLoss;
    const sign = `${lostSpanCount} of ${spanCount} spans of segment ${segmentId} are missing`;
    log.warn({ epoch, segments: held.length, sign }, 'held back: Redis no longer has all of their spans');
    await this.#losses.suspect(epoch, sign);
  }

  #show(state: BufferState, times: ReadonlyMap<number, number>): void {
    const { metrics } = this.#context;
    metrics.liveFlushers.set(state.liveFlushers);
    // Shards come and go.
    metrics.queuedSegments.reset();
    metrics.overdueSeconds.reset();
    const overdue = this.#overdue.observe(state, times);
    this.#overdueSeconds = Math.max(0, ...overdue.values());
    for (const { shard, dueCount, inFlightCount, parkedCount } of state.shards) {
      metrics.queuedSegments.set({ shard, state: 'due' }, dueCount);
      metrics.queuedSegments.set({ shard, state: 'in-flight' }, inFlightCount);
      metrics.queuedSegments.set({ shard, state: 'parked' }, parkedCount);
      metrics.overdueSeconds.set({ shard }, overdue.get(shard) as number);
    }
  }

  liveProblems(): readonly string[] {
    const limitSeconds = STUCK_SECONDS + this.#context.settings.leaseSeconds;
    return [this.#loops, this.#presence].flatMap((loops) => loops.stuckProblems(limitSeconds));
  }

  readyProblems(): readonly string[] {
    const { settings, clockMs } = this.#context;
    const nowMs = clockMs();
    const problems: string[] = [];
    const redisSeconds = this.#presence.secondsSinceSuccess('presence');
    if (redisSeconds > FRESH_SECONDS) problems.push(`Redis has not answered for ${Math.round(redisSeconds)} s`);
    // Whatever was refused is due again after a lease. When nothing is sent then, another flusher has got rid of it.
    const isRefusing = this.#refusing !== undefined && nowMs - this.#refusing.lastMs < 2_000 * settings.leaseSeconds;
    const refusingSeconds = isRefusing ? (nowMs - (this.#refusing?.sinceMs ?? nowMs)) / 1_000 : 0;
    const kafkaSeconds = Math.max(refusingSeconds, this.#loops.secondsSinceSuccess('kafka'));
    if (kafkaSeconds > FRESH_SECONDS) problems.push(`Kafka has not answered for ${Math.round(kafkaSeconds)} s`);
    const idleSeconds = (nowMs - this.#flushedMs) / 1_000;
    if (idleSeconds > FRESH_SECONDS + settings.leaseSeconds)
      problems.push(`no shard could be flushed for ${Math.round(idleSeconds)} s`);
    if (this.#overdueSeconds > settings.readyMaxOverdueSeconds) {
      problems.push(
        `the oldest segment is due for ${Math.round(this.#overdueSeconds)} s, limit ${settings.readyMaxOverdueSeconds} s`,
      );
    }
    return problems;
  }

  /** Claims nothing more, finishes what is being produced or gives it back, says good-bye. */
  async stop(): Promise<void> {
    const { log, instanceId } = this.#context;
    await this.#loops.stop();
    await this.#presence.stop();
    const failed = (what: string) => (error: Error) => log.warn({ error: error.message }, what);
    await Promise.all([
      this.#watchReceipts().catch(failed('could not look for receipts that were lost a moment ago')),
      Promise.all([this.#control.withdrawFlusher(instanceId), this.#control.withdrawProcess(instanceId)]).catch(
        failed('could not say good-bye: this flusher counts as alive for a while'),
      ),
    ]);
    await this.#producer.close();
    await this.#connections.kafka.close();
    this.#connections.redis.disconnect();
  }
}

/** Whether a flush may have left something that is due. */
function isCutShort(
  segments: readonly FlushedSegment[],
  bytes: number,
  { limit, maxBytes }: { readonly limit: number; readonly maxBytes: number },
): boolean {
  return segments.length >= limit || bytes > maxBytes / 2;
}
