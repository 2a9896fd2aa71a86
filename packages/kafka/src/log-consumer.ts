import { Brokers } from './brokers.ts';
import { KafkaRefusedError, KafkaUnreadableBatchError } from './errors.ts';
import { GroupMember, isOfTopic, isStaleMembership } from './group-member.ts';
import { GroupSession } from './group-session.ts';
import { errorLine, toKafkaError } from './kafka-error.ts';
import { TopicChangedError } from './leader-watch.ts';
import type { Assignment, ConsumeOptions, KafkaConnection, KafkaLog, LogBatch, LogConsumer } from './log.ts';
import { PartitionReader } from './partition-reader.ts';
import { sleep, untilAborted, withDeadline } from './waiting.ts';

/** Between attempts to join; doubled each time. */
const FIRST_BACKOFF_MS = 250;
const LAST_BACKOFF_MS = 5_000;
/** A broker that has just started may refuse what it permits a moment later: it has not read its users and ACLs yet. */
const REFUSALS_UNTIL_FATAL = 3;
/** How long stopping waits for commits under way; and for a join under way, so that the group can be left. */
const LEAVE_PATIENCE_MS = 5_000;
/** Below what a broker would like to send at once; above it answers are held back for `maxWaitMs`. */
const MIN_FETCH_BYTES = 64 * 1024;

/** Reading is to begin anew. */
class RestartError extends Error {}

/**
 * Member of a group and reader of its partitions. kafkajs' own consumer is not used: it fetches again only when all
 * partitions of an answer are done, sends heartbeats only in between, commits for partitions it has lost when it
 * repeats a commit, and stays alive after `stop()` while it joins.
 */
export class GroupConsumer implements LogConsumer {
  lastHeartbeatMs = 0;
  #isPaused = false;
  #isStopping = false;
  #session: GroupSession | undefined;
  #assignment: Assignment | undefined;
  #reader: PartitionReader | undefined;
  /** Of joining and reading, since the last heartbeat that was acknowledged. */
  #failures = 0;
  #refusals = 0;
  readonly #options: Required<Omit<ConsumeOptions, 'onAssigned'>> & Pick<ConsumeOptions, 'onAssigned'>;
  readonly #log: KafkaLog;
  readonly #brokers: Brokers;
  readonly #member: GroupMember;
  readonly #stopping = new AbortController();
  /** By partition, the last delivery, settled or not: the next one waits for it, in a new assignment too. */
  readonly #deliveries = new Map<number, Promise<void>>();
  #commits: Promise<unknown> = Promise.resolve();
  #joining: Promise<unknown> = Promise.resolve();
  #running: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(connection: KafkaConnection, options: ConsumeOptions) {
    const { sessionTimeoutMs = 30_000 } = options;
    this.#options = {
      sessionTimeoutMs,
      heartbeatIntervalMs: Math.min(3_000, sessionTimeoutMs / 3),
      rebalanceTimeoutMs: 60_000,
      maxBytesPerPartition: 1024 * 1024,
      maxBytes: 8 * 1024 * 1024,
      maxWaitMs: 100,
      ...options,
    };
    this.#log = connection.log ?? (() => {});
    this.#brokers = new Brokers(connection);
    this.#member = new GroupMember(this.#brokers, this.#options);
  }

  /** Joins and reads until `stop()`. */
  start(): void {
    this.#running = this.#run();
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get assignment(): Assignment | undefined {
    return this.#session?.isAlive ? this.#assignment : undefined;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#reader?.wake();
  }

  commit(assignment: Assignment, nextOffsets: ReadonlyMap<number, bigint>, note = ''): Promise<boolean> {
    // One after the other: a commit that overtakes another would be undone by it.
    const commit = this.#commits.then(() => this.#commit(assignment, nextOffsets, note));
    this.#commits = commit.catch(() => {});
    return commit;
  }

  async #commit(assignment: Assignment, nextOffsets: ReadonlyMap<number, bigint>, note: string): Promise<boolean> {
    const session = this.#session;
    if (session === undefined || this.#assignment !== assignment || !session.isAlive) return false;
    const foreign = [...nextOffsets.keys()].find((partition) => !assignment.partitions.includes(partition));
    if (foreign !== undefined) throw new RangeError(`partition ${foreign} is not in the assignment`);
    if (nextOffsets.size === 0) return true;
    try {
      // The member id and generation of this very assignment: the broker refuses them when they are not of now.
      await this.#member.commit(session.membership, assignment.topicId, nextOffsets, note);
    } catch (error) {
      if (!isStaleMembership(error)) throw toKafkaError(error, `commit offsets of group ${this.#options.groupId}`);
      session.end(error);
      return false;
    }
    return true;
  }

  restart(reason: string): void {
    this.#session?.end(new RestartError(reason));
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    // Nothing more is delivered, but what was committed before is still committed as a member.
    this.#isStopping = true;
    await withDeadline(this.#commits, LEAVE_PATIENCE_MS, 'committing').catch(() => {});
    this.#stopping.abort(new Error('the consumer was stopped'));
    this.#session?.end(this.#stopping.signal.reason);
    await this.#running;
    await Promise.all(this.#deliveries.values());
    const leave = async (): Promise<void> => {
      await this.#joining;
      await this.#member.leave();
    };
    await withDeadline(leave(), LEAVE_PATIENCE_MS, 'leaving the group').catch(() => {});
    this.#brokers.close();
  }

  async #run(): Promise<void> {
    const { topic, groupId, onFatal } = this.#options;
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#runSession();
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        const isRebalance =
          error instanceof RestartError || error instanceof TopicChangedError || isStaleMembership(error);
        const problem = toKafkaError(error, `read ${topic} as group ${groupId}`);
        if (problem instanceof KafkaRefusedError) this.#refusals++;
        if (problem instanceof KafkaUnreadableBatchError || this.#refusals === REFUSALS_UNTIL_FATAL) {
          this.#log('error', problem.message, { topic, groupId });
          this.stop();
          onFatal(problem);
          return;
        }
        // The first failure is often a coordinator that has only just started.
        const level = isRebalance || this.#failures === 0 ? 'info' : 'warn';
        this.#log(level, isRebalance ? errorLine(error) : problem.message, { topic, groupId });
        const backoffMs = isRebalance && this.#failures === 0 ? 0 : FIRST_BACKOFF_MS * 2 ** this.#failures;
        this.#failures++;
        await sleep(Math.min(backoffMs, LAST_BACKOFF_MS), this.#stopping.signal);
      }
    }
  }

  /** Rejects with what ended it. */
  async #runSession(): Promise<void> {
    const join = this.#member.join();
    this.#joining = join.catch(() => {});
    const membership = await untilAborted(join, this.#stopping.signal);
    const session = new GroupSession({
      ...this.#options,
      member: this.#member,
      membership,
      onHeartbeat: () => {
        this.lastHeartbeatMs = Date.now();
        [this.#failures, this.#refusals] = [0, 0];
      },
    });
    this.#session = session;
    this.lastHeartbeatMs = Date.now();
    try {
      await untilAborted(this.#read(session), session.signal);
    } catch (error) {
      session.end(error);
      throw error;
    } finally {
      this.#session = undefined;
      this.#assignment = undefined;
      this.#reader = undefined;
    }
  }

  async #read(session: GroupSession): Promise<void> {
    const { topic, groupId, onAssigned, maxWaitMs, maxBytes, maxBytesPerPartition } = this.#options;
    const { membership, signal } = session;
    const { topicId } = await this.#brokers.topic(topic);
    const committed = await this.#member.committed(membership);
    signal.throwIfAborted();
    const positions = new Map<number, bigint>();
    const notes = new Map<number, string>();
    for (const [partition, last] of committed) {
      if (isOfTopic(last, topicId)) {
        positions.set(partition, last.nextOffset);
        notes.set(partition, last.note);
      } else {
        this.#log('warn', 'the topic was created anew; it is read from its beginning', { topic, partition });
      }
    }
    const assignment: Assignment = { partitions: membership.partitions, topicId, positions, notes, signal };
    this.#assignment = assignment;
    const { partitions } = assignment;
    this.#log('info', 'joined the group', { topic, groupId, partitions, generation: membership.generationId });
    await onAssigned?.(assignment);
    signal.throwIfAborted();
    const reader = new PartitionReader({
      brokers: this.#brokers,
      topic,
      topicId,
      positions: new Map(partitions.map((partition) => [partition, positions.get(partition)])),
      limits: { maxWaitMs, minBytes: MIN_FETCH_BYTES, maxBytes, maxBytesPerPartition },
      partitionCount: membership.partitionCount,
      isPaused: () => this.#isPaused || this.#isStopping,
      deliver: (batch) => this.#deliver(session, { ...batch, assignment }),
      signal,
      log: this.#log,
    });
    this.#reader = reader;
    await reader.run();
  }

  #deliver(session: GroupSession, batch: LogBatch): Promise<void> {
    const last = this.#deliveries.get(batch.partition) ?? Promise.resolve();
    const delivery = last.then(async () => {
      if (session.isAlive) await this.#options.onBatch(batch);
      if (!session.isAlive) throw new Error('the assignment has ended');
    });
    this.#deliveries.set(
      batch.partition,
      delivery.catch(() => {}),
    );
    return delivery;
  }
}
