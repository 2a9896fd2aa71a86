import { SpanBuffer } from '@spanbuf/buffer';
import type { Assignment, Kafka, LogBatch, LogConsumer, LogProducer } from '@spanbuf/kafka';
import { SpanbufError } from '@spanbuf/keys';
import { type AppContext, BackgroundLoops, type RunningApp, retry, TraceLog } from '@spanbuf/service';
import {
  type BufferControl,
  type BufferState,
  createBufferControl,
  createLedger,
  createLossWatch,
  createRedisStore,
  createTraceWatch,
  type Ledger,
  type LedgerPosition,
  type LossWatch,
  shardTimes,
  type TraceWatch,
} from '@spanbuf/store';
import type { Cluster, Redis } from 'ioredis';
import { BackPressure, fullestNode, PRESSURE_CAUSES, type Pressure, roomBytes } from './back-pressure.ts';
import { BatchApplier } from './batch-applier.ts';
import { ByteBudget } from './byte-budget.ts';
import { CommitLag } from './commit-lag.ts';
import { CommitPoint } from './commit-point.ts';
import type { DropRulesFile } from './drop-rules.ts';
import { Intake } from './intake.ts';
import { InvalidShare } from './invalid-share.ts';
import type { consumerMetrics } from './metrics.ts';
import { PartitionClock } from './partition-clock.ts';
import { PartitionWorker } from './partition-worker.ts';
import type { consumerSettings } from './settings.ts';
import { storeObserver } from './trace-steps.ts';

type Context = AppContext<typeof consumerSettings, typeof consumerMetrics>;

/** What the consumer works with, opened and checked. */
export interface ConsumerConnections {
  readonly redis: Redis | Cluster;
  readonly kafka: Kafka;
  readonly dropRules: DropRulesFile | undefined;
}

const MOST_FETCH_BYTES = 8 * 1_024 * 1_024;
/** Message time moves on this often where there is nothing to read. */
const POSITIONS_MS = 1_000;
const PRESSURE_MS = 1_000;
const LOSSES_MS = 1_000;
const PRESENCE_MS = 2_000;
/** Several times the above: a consumer that is busy is not one that is gone. */
const PRESENCE_SECONDS = 10;
const DROP_RULES_MS = 5_000;
/** How soon a trace is watched that an operator names. */
const WATCHED_MS = 2_000;
/** Redis and Kafka count as away when they have not answered the loops for this long. */
const FRESH_SECONDS = 15;
/** Part of a shutdown that a send may take. */
const SEND_SHARE = 0.3;
/** Below the time that a stop may take. */
const STORE_DEADLINE_SECONDS = 10;
/** As of the store: after so many times `maxAgeSeconds` of wall time a segment is flushed whatever message time says. */
const BACKSTOP = 3;
/** For a few leases, and a busy time. */
const DOUBT_SECONDS = 600;
/** Longer than any deadline inside a loop. */
const STUCK_SECONDS = 180;

/** Where a partition begins cannot be asked. It is asked again. */
class PartitionAwayError extends SpanbufError {
  readonly code = 'SPANBUF_PARTITION_AWAY';
  readonly retriable = true;
}

/** The partitions of one assignment. */
interface Tenure {
  readonly assignment: Assignment;
  readonly workers: ReadonlyMap<number, PartitionWorker>;
  readonly committed: Map<number, bigint>;
  readonly commitLags: ReadonlyMap<number, CommitLag>;
  /** In which it was begun; 0 where nobody counts them. */
  readonly epoch: number;
  /** Of each partition, the last mark: message time and the offset that was applied by then. */
  readonly marked: Map<number, string>;
  readonly lagSeconds: Map<number, number>;
  readonly beganSeconds: number;
  /** Of the topic, when it began. */
  readonly partitionCount: number;
}

/** What has to be known of an assignment before its first message is applied. */
interface Beginning {
  readonly epoch: number;
  readonly startOffsets: ReadonlyMap<number, bigint>;
  /** By partition: what lies below was read before. */
  readonly replayUntil: ReadonlyMap<number, bigint>;
  readonly partitionCount: number;
  /** Message time up to which readers before have come. */
  readonly clockSeconds: ReadonlyMap<number, number>;
}

/** What applies batches in one epoch. */
interface EpochApplier {
  readonly epoch: number;
  readonly applier: BatchApplier;
}

/** Reads spans from Kafka into the buffer. Offsets are committed only for what is stored and scheduled, or, if asked, produced. */
export class Consumer implements RunningApp {
  readonly ended: Promise<void>;
  readonly #context: Context;
  readonly #connections: ConsumerConnections;
  readonly #control: BufferControl;
  readonly #ledger: Ledger;
  readonly #losses: LossWatch;
  readonly #watch: TraceWatch;
  readonly #traceLog: TraceLog;
  readonly #commitPoint: CommitPoint;
  readonly #invalidShare: InvalidShare;
  readonly #budget: ByteBudget;
  readonly #intake = new Intake();
  readonly #pressure: BackPressure;
  readonly #producer: LogProducer;
  readonly #loops: BackgroundLoops;
  /** Goes on until the last of the work in hand has ended: until then this process counts. */
  readonly #presence: BackgroundLoops;
  #fail: (error: Error) => void = () => undefined;
  #log: LogConsumer | undefined;
  #tenure: Tenure | undefined;
  /** One for all assignments of an epoch: batches of a partition are applied in their order across them. */
  #current: EpochApplier | undefined;
  /** At the last look, in the queues of its partitions. */
  #isAnyParked = true;
  #pausedFor: Pressure = new Map();

  private constructor(context: Context, connections: ConsumerConnections, producer: LogProducer) {
    const { settings, metrics, log, clockMs } = context;
    this.ended = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.#context = context;
    this.#connections = connections;
    this.#producer = producer;
    const { sliceId, redisTtlSeconds } = settings;
    const shared = { sliceId, deadlineSeconds: STORE_DEADLINE_SECONDS };
    this.#control = createBufferControl(connections.redis, { ...shared, redisTtlSeconds });
    this.#ledger = createLedger(connections.redis, shared);
    this.#losses = createLossWatch(connections.redis, { ...shared, redisTtlSeconds });
    this.#commitPoint = new CommitPoint({
      ledger: this.#ledger,
      losses: this.#losses,
      mode: settings.commit,
      log,
      onReceiptsLost: () => metrics.lostReceipts.inc(),
    });
    this.#watch = createTraceWatch(connections.redis, shared);
    this.#traceLog = new TraceLog(log);
    this.#invalidShare = new InvalidShare(settings.maxInvalidShare);
    this.#loops = new BackgroundLoops({ log, clockMs });
    this.#presence = new BackgroundLoops({ log, clockMs });
    this.#budget = new ByteBudget(settings.queueBytes);
    this.#pressure = new BackPressure(settings, clockMs() / 1000);
  }

  static async start(context: Context, connections: ConsumerConnections): Promise<Consumer> {
    const requestTimeoutMs = context.settings.shutdownSeconds * SEND_SHARE * 1_000;
    const producer = await connections.kafka.createProducer({ requestTimeoutMs });
    const consumer = new Consumer(context, connections, producer);
    await consumer.#begin();
    return consumer;
  }

  async #begin(): Promise<void> {
    const { settings, metrics, log } = this.#context;
    // Before anything is read, so that a full Redis is not filled further by a consumer that starts.
    await this.#watchPressure();
    await this.#announce();
    this.#log = await this.#connections.kafka.consume({
      topic: settings.inputTopic,
      groupId: settings.consumerGroup,
      sessionTimeoutMs: settings.sessionTimeoutSeconds * 1_000,
      // Compressed, spans are a tenth as long.
      maxBytesPerPartition: Math.min(settings.batchBytes, MOST_FETCH_BYTES / 8),
      maxBytes: Math.min(settings.queueBytes, MOST_FETCH_BYTES),
      onAssigned: (assignment) => this.#onAssigned(assignment),
      onBatch: (batch) => this.#onBatch(batch),
      onFatal: (error) => this.#fail(error),
    });
    if (this.#pausedFor.size > 0) this.#log.pause();
    this.#presence.start('presence', PRESENCE_MS, () => this.#announce());
    this.#loops.start('positions', POSITIONS_MS, () => this.#watchPositions());
    this.#loops.start('pressure', PRESSURE_MS, () => this.#watchPressure());
    this.#loops.start('watched', WATCHED_MS, async () => this.#traceLog.follow(await this.#watch.read()));
    this.#loops.start('commit', settings.commitSeconds * 1_000, () => this.#commit());
    if (settings.commit === 'flushed') this.#loops.start('losses', LOSSES_MS, () => this.#watchLosses());
    const { dropRules } = this.#connections;
    metrics.dropRules.set(dropRules?.rules.length ?? 0);
    if (dropRules === undefined) return;
    this.#loops.start('drop-rules', DROP_RULES_MS, async () => {
      if (!(await dropRules.reload())) return;
      metrics.dropRules.set(dropRules.rules.length);
      log.info({ rules: dropRules.rules }, 'drop rules changed');
    });
  }

  /** Before anything is written in its layout, and as long as anything may be. */
  async #announce(): Promise<void> {
    const { settings, instanceId, name, version } = this.#context;
    const { layout, maxAgeSeconds } = settings;
    const writes = { maxAgeSeconds, shards: [...(this.#tenure?.workers.keys() ?? [])] };
    const facts = { id: instanceId, app: name, version, layout, writes };
    await this.#control.announceProcess(facts, PRESENCE_SECONDS);
  }

  async #onAssigned(assignment: Assignment): Promise<void> {
    const { metrics, log, settings, clockMs } = this.#context;
    metrics.rebalances.inc();
    metrics.assignedPartitions.set(assignment.partitions.length);
    for (const gauge of [metrics.lagMessages, metrics.lagSeconds, metrics.commitLagMessages, metrics.commitLagSeconds])
      gauge.reset();
    log.info({ partitions: assignment.partitions, topic: settings.inputTopic }, 'partitions assigned');
    const beginning = await retry(() => this.#prepare(assignment), {
      signal: assignment.signal,
      isPassing: (error) => error instanceof SpanbufError,
      onRetry: (error) => log.warn({ error: (error as Error).message }, 'cannot begin to read yet, trying again'),
    });
    // Another assignment may have begun meanwhile, and must not be replaced by one that is over.
    assignment.signal.throwIfAborted();
    const workers = new Map(
      assignment.partitions.map((partition) => [partition, this.#worker(partition, assignment, beginning)]),
    );
    assignment.signal.addEventListener('abort', () => {
      for (const worker of workers.values()) void worker.stop();
    });
    this.#tenure = {
      assignment,
      workers,
      committed: new Map(beginning.startOffsets),
      commitLags: new Map(assignment.partitions.map((partition) => [partition, new CommitLag()])),
      epoch: beginning.epoch,
      marked: new Map(),
      lagSeconds: new Map(),
      beganSeconds: clockMs() / 1_000,
      partitionCount: beginning.partitionCount,
    };
  }

  /** Everything that must be so before the first message is applied. */
  async #prepare({ partitions, topicId, positions, notes }: Assignment): Promise<Beginning> {
    const { settings } = this.#context;
    const { kafka } = this.#connections;
    const known = Math.max(this.#current?.epoch ?? 0, ...[...notes.values()].map(Number).filter(Number.isInteger));
    const epoch = settings.commit === 'flushed' ? await this.#checkLosses(known) : 0;
    // Those without a leader as well, of which there are no watermarks.
    const { partitionCount } = await kafka.describeTopic(settings.inputTopic);
    const watermarks = await kafka.readWatermarks(settings.inputTopic);
    const startOffsets = new Map(
      partitions.map((partition) => {
        const offset = positions.get(partition) ?? watermarks.get(partition)?.low;
        if (offset === undefined) throw new PartitionAwayError(`nobody leads partition ${partition} at the moment`);
        return [partition, offset];
      }),
    );
    const replayUntil = await this.#commitPoint.open(
      [...startOffsets].map(([partition, offset]) => ({ partition, source: topicId, offset })),
    );
    // Message time must not begin anew with each assignment.
    const state = await this.#control.readState({ shards: partitions });
    const times = shardTimes(state, settings.clockGraceSeconds);
    const marked = state.shards.filter(({ clock }) => clock !== undefined);
    const clockSeconds = new Map(marked.map(({ shard }) => [shard, times.get(shard) as number]));
    return { epoch, startOffsets, replayUntil, partitionCount, clockSeconds };
  }

  #worker(partition: number, { topicId }: Assignment, beginning: Beginning): PartitionWorker {
    const { settings, clockMs } = this.#context;
    const { batchSpans, batchBytes, batchMs, maxAgeSeconds } = settings;
    const clock = new PartitionClock({ maxBackSeconds: maxAgeSeconds });
    const clockSeconds = beginning.clockSeconds.get(partition);
    if (clockSeconds !== undefined) clock.seed(clockSeconds, clockMs() / 1_000);
    const startOffset = beginning.startOffsets.get(partition) as bigint;
    const applier = this.#applierOf(beginning.epoch);
    const announce = async (messageSeconds: number): Promise<void> => {
      const behindSeconds = Math.max(0, clockMs() / 1_000 - messageSeconds);
      await this.#control.markClocks(new Map([[partition, { messageSeconds, behindSeconds }]]));
    };
    const replayUntil = beginning.replayUntil.get(partition) ?? startOffset;
    const origin = { partition, topicId, replayUntil, clock, announce };
    return new PartitionWorker({
      partition,
      startOffset,
      batchSpans,
      batchBytes,
      batchMs,
      clock,
      budget: this.#budget,
      intake: this.#intake,
      apply: (stretch, signal) => applier.apply(stretch, { ...origin, signal }),
      onError: (error) => this.#fail(error as Error),
    });
  }

  #applierOf(epoch: number): BatchApplier {
    if (this.#current?.epoch === epoch) return this.#current.applier;
    const { settings, metrics, log, tracing, clockMs } = this.#context;
    const { redis, dropRules } = this.#connections;
    const store = createRedisStore(redis, {
      layout: settings.layout,
      sliceId: settings.sliceId,
      redisTtlSeconds: settings.redisTtlSeconds,
      dedupeWindowSeconds: settings.dedupeWindowSeconds,
      // Payloads live for longer than any lease of theirs.
      leaseSeconds: settings.leaseSeconds,
      compression: settings.compression,
      epoch: epoch === 0 ? undefined : epoch,
      waitReplicas: settings.waitReplicas,
      waitSeconds: settings.waitSeconds,
      deadlineSeconds: STORE_DEADLINE_SECONDS,
      observer: storeObserver(this.#traceLog),
    });
    const { rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds, maxSegmentBytes } = settings;
    const applier = new BatchApplier({
      buffer: new SpanBuffer(store, { rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds, maxSegmentBytes }),
      ledger: this.#ledger,
      onSettled: (receipts) => this.#commitPoint.settled(receipts),
      producer: this.#producer,
      inputTopic: settings.inputTopic,
      deadLetterTopic: settings.deadLetterTopic,
      maxSpanBytes: settings.maxSpanBytes,
      invalidShare: this.#invalidShare,
      rules: () => dropRules?.rules ?? [],
      metrics,
      log,
      tracing,
      traceLog: this.#traceLog,
      clockMs,
    });
    this.#current = { epoch, applier };
    return applier;
  }

  /** Answers the epoch to work in: the one that is known, or another where Redis has lost something since. */
  async #checkLosses(known: number): Promise<number> {
    const { metrics, log } = this.#context;
    const { epoch, sign } = await this.#losses.check(known);
    if (epoch !== known && known !== 0) {
      metrics.redisLosses.inc();
      log.warn(
        { epoch, sign: sign ?? 'another consumer saw it' },
        'Redis has lost data: reading again what is not produced',
      );
    }
    return epoch;
  }

  async #watchLosses(): Promise<void> {
    const tenure = this.#tenure;
    if (tenure === undefined || tenure.assignment.signal.aborted) return;
    const epoch = await this.#checkLosses(tenure.epoch);
    if (epoch === tenure.epoch || tenure !== this.#tenure) return;
    // No longer appended to, and found in the next assignment as the epoch that is known.
    this.#applierOf(epoch);
    this.#log?.restart('Redis has lost data');
  }

  async #onBatch(batch: LogBatch): Promise<void> {
    const tenure = this.#tenure;
    if (tenure?.assignment === batch.assignment) await tenure.workers.get(batch.partition)?.take(batch);
  }

  /** Lag, message time, and its marks for the flushers. */
  async #watchPositions(): Promise<void> {
    const tenure = this.#tenure;
    const { settings, metrics, clockMs } = this.#context;
    metrics.queuedBytes.set(this.#budget.usedBytes);
    if (tenure === undefined || tenure.assignment.signal.aborted || tenure.workers.size === 0) return;
    const wallSeconds = clockMs() / 1_000;
    const watermarks = await this.#connections.kafka.readWatermarks(settings.inputTopic);
    if (tenure.assignment.signal.aborted) return;
    for (const { partition, clock, appliedOffset } of tenure.workers.values()) {
      const watermark = watermarks.get(partition);
      if (watermark === undefined) {
        // Nobody leads it at the moment, so nobody can say.
        clock.fellBehind();
        continue;
      }
      const { low, high } = watermark;
      // What is no longer in the log is not waited for.
      const lag = Math.max(0, Math.min(Number(high - appliedOffset), Number(high - low)));
      // When Redis fills up, time goes on though messages wait: what is held must become due, or Redis never empties.
      if (lag === 0 || this.#pausedFor.has('redis-memory')) clock.caughtUp(wallSeconds);
      else clock.fellBehind();
      const lagSeconds = lag === 0 ? 0 : Math.max(0, wallSeconds - (clock.readSeconds ?? tenure.beganSeconds));
      tenure.lagSeconds.set(partition, lagSeconds);
      metrics.lagMessages.set({ partition }, lag);
      metrics.lagSeconds.set({ partition }, lagSeconds);
    }
    // A partition that nobody reads yet may hold spans of any segment: the flushers wait until it is assigned, for a while.
    if (watermarks.size <= tenure.partitionCount) await this.#markClocks(tenure, wallSeconds);
  }

  /**
   * Only of what gets on, since a mark that is not renewed tells that a partition is stuck; time itself may stand still while
   * messages are read that are older than those before them. Or while reading is paused: then it stands still on purpose.
   */
  async #markClocks({ workers, marked, assignment }: Tenure, wallSeconds: number): Promise<void> {
    const marks = new Map<number, { messageSeconds: number; behindSeconds: number }>();
    const reached = new Map<number, string>();
    for (const { partition, clock, appliedOffset } of workers.values()) {
      const { messageSeconds } = clock;
      const now = `${messageSeconds} ${appliedOffset}`;
      if (messageSeconds === undefined || (marked.get(partition) === now && this.#pausedFor.size === 0)) continue;
      marks.set(partition, { messageSeconds, behindSeconds: clock.behindSeconds(wallSeconds) });
      reached.set(partition, now);
    }
    if (marks.size === 0 || assignment.signal.aborted) return;
    await this.#control.markClocks(marks);
    for (const [partition, now] of reached) marked.set(partition, now);
  }

  async #watchPressure(): Promise<void> {
    const { metrics, clockMs } = this.#context;
    const shards = [...(this.#tenure?.workers.keys() ?? [])];
    const state = await this.#control.readState({ shards });
    metrics.liveFlushers.set(state.liveFlushers);
    metrics.redisMemoryShare.set(fullestNode(state)?.share ?? 0);
    this.#isAnyParked = state.shards.some(({ parkedCount }) => parkedCount > 0);
    this.#follow(state, clockMs() / 1_000);
  }

  #follow(state: BufferState, wallSeconds: number): void {
    const { metrics, log } = this.#context;
    if (this.#loops.signal.aborted) return;
    const pressure = this.#pressure.judge(state, wallSeconds);
    const before = this.#pausedFor;
    this.#pausedFor = pressure;
    this.#intake.allow(pressure.size > 0 ? 0 : roomBytes(state) * this.#groupShare);
    for (const cause of PRESSURE_CAUSES) metrics.paused.set({ cause }, pressure.has(cause) ? 1 : 0);
    for (const [cause, reason] of pressure) {
      if (!before.has(cause)) log.warn({ cause }, `reading is paused: ${reason}`);
    }
    if (pressure.size > 0) {
      this.#log?.pause();
    } else if (before.size > 0) {
      this.#log?.resume();
      log.info({ causes: [...before.keys()] }, 'reading goes on');
    }
  }

  /** This consumer's part of the input, by partitions: the others fill the same Redis. */
  get #groupShare(): number {
    const { workers, partitionCount = 1 } = this.#tenure ?? {};
    return Math.max(1, workers?.size ?? 0) / Math.max(1, partitionCount);
  }

  async #commit(): Promise<void> {
    const tenure = this.#tenure;
    const { metrics } = this.#context;
    if (tenure === undefined || tenure.assignment.signal.aborted || this.#log === undefined) return;
    const applied = [...tenure.workers.values()].map(({ partition, appliedOffset }): LedgerPosition => {
      return { partition, source: tenure.assignment.topicId, offset: appliedOffset };
    });
    const ends = await this.#commitPoint.reach(applied, tenure);
    const offsets = new Map([...ends].filter(([partition, end]) => end > (tenure.committed.get(partition) as bigint)));
    if (offsets.size > 0) {
      try {
        const note = tenure.epoch === 0 ? '' : String(tenure.epoch);
        if (!(await this.#log.commit(tenure.assignment, offsets, note))) return;
      } catch (error) {
        metrics.retries.inc({ step: 'commit' });
        throw error;
      }
      metrics.commits.inc();
      for (const [partition, offset] of offsets) tenure.committed.set(partition, offset);
    }
    for (const { partition, offset } of applied) {
      const committed = tenure.committed.get(partition) as bigint;
      const lag = tenure.commitLags.get(partition) as CommitLag;
      const messageSeconds = tenure.workers.get(partition)?.clock.messageSeconds;
      const nowSeconds = performance.now() / 1_000;
      if (messageSeconds !== undefined) lag.applied(offset, messageSeconds, nowSeconds);
      metrics.commitLagMessages.set({ partition }, Number(offset - committed));
      const lagSeconds = lag.secondsBehind(committed, nowSeconds);
      metrics.commitLagSeconds.set({ partition }, lagSeconds);
      await this.#doubt(tenure, partition, lagSeconds);
    }
  }

  /**
   * What nothing holds, and nobody has produced, is lost, however that came to be; and nothing is held for longer than the
   * backstop, unless it is parked or flushers are behind. So it is read again.
   */
  async #doubt({ epoch }: Tenure, partition: number, lagSeconds: number): Promise<void> {
    const longestSeconds = BACKSTOP * this.#context.settings.maxAgeSeconds + DOUBT_SECONDS;
    if (epoch === 0 || lagSeconds <= longestSeconds || this.#pausedFor.size > 0 || this.#isAnyParked) return;
    await this.#losses.suspect(epoch, `an offset of partition ${partition} is open for ${Math.round(lagSeconds)} s`);
  }

  liveProblems(): readonly string[] {
    return [this.#loops, this.#presence].flatMap((loops) => loops.stuckProblems(STUCK_SECONDS));
  }

  readyProblems(): readonly string[] {
    const { settings, clockMs } = this.#context;
    const problems: string[] = [];
    const redisSeconds = this.#loops.secondsSinceSuccess('pressure');
    if (redisSeconds > FRESH_SECONDS) problems.push(`Redis has not answered for ${Math.round(redisSeconds)} s`);
    const commitSeconds = this.#loops.secondsSinceSuccess('commit');
    if (commitSeconds > FRESH_SECONDS + settings.commitSeconds)
      problems.push(`nothing could be committed for ${Math.round(commitSeconds)} s`);
    const tenure = this.#tenure;
    if (tenure === undefined || tenure.assignment.signal.aborted) {
      problems.push(`no partitions: joining consumer group ${settings.consumerGroup}`);
    } else {
      const heartbeatSeconds = (clockMs() - (this.#log?.lastHeartbeatMs ?? 0)) / 1_000;
      const kafkaSeconds = Math.max(heartbeatSeconds, this.#loops.secondsSinceSuccess('positions'));
      if (kafkaSeconds > FRESH_SECONDS) problems.push(`Kafka has not answered for ${Math.round(kafkaSeconds)} s`);
    }
    const lagSeconds = Math.max(0, ...(tenure?.lagSeconds.values() ?? []));
    if (lagSeconds > settings.readyMaxLagSeconds) {
      problems.push(`a partition is ${Math.round(lagSeconds)} s behind, limit ${settings.readyMaxLagSeconds} s`);
    }
    return problems;
  }

  /** Takes nothing more, finishes the batches in hand, commits them, leaves the group. */
  async stop(): Promise<void> {
    this.#log?.pause();
    await Promise.all([
      this.#loops.stop(),
      ...[...(this.#tenure?.workers.values() ?? [])].map((worker) => worker.stop()),
    ]);
    await this.#commit().catch((error: Error) =>
      this.#context.log.warn(
        { error: error.message },
        'the last offsets are not committed: their messages are replayed',
      ),
    );
    await this.#log?.stop();
    await this.#presence.stop();
    await this.#control
      .withdrawProcess(this.#context.instanceId)
      .catch((error: Error) =>
        this.#context.log.warn(
          { error: error.message },
          'could not say good-bye: this consumer counts as running for a while',
        ),
      );
    await this.#producer.close();
    await this.#connections.kafka.close();
    this.#connections.redis.disconnect();
  }
}
