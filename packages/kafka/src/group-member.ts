import type { Brokers } from './brokers.ts';
import { brokerErrorType, throwIfError } from './kafka-error.ts';
import { MemberAssignment, MemberMetadata } from './kafkajs.ts';
import type { Broker, JoinedGroup } from './kafkajs-broker.ts';

export interface MemberOptions {
  readonly topic: string;
  readonly groupId: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
}

/** One generation of the group, as this member knows it. */
export interface Membership {
  readonly memberId: string;
  readonly generationId: number;
  readonly isLeader: boolean;
  readonly partitions: readonly number[];
  /** How many partitions the leader has shared out; for the leader alone. */
  readonly partitionCount: number | undefined;
}

/** Committed offsets carry the topic's id: a topic created anew under the same name is another log. */
export interface Committed {
  readonly nextOffset: bigint;
  readonly topicId: string;
  /** What was committed along with it. */
  readonly note: string;
}

/** False when it was committed in another topic of that name. Tools commit without an id, and not all brokers know ids. */
export function isOfTopic(committed: Committed, topicId: string): boolean {
  return committed.topicId === '' || topicId === '' || committed.topicId === topicId;
}

/** The name and format of Java's RoundRobinAssignor, so that other clients can be in the group. */
const PROTOCOL = 'roundrobin';
const PROTOCOL_VERSION = 0;

/** These say that the coordinator is another broker by now, or not yet one. */
const COORDINATOR_MOVED = /^(NOT_COORDINATOR_FOR_GROUP|GROUP_COORDINATOR_NOT_AVAILABLE|GROUP_LOAD_IN_PROGRESS)$/;

/** These say that the member or its generation is not of now. */
const STALE = /^(ILLEGAL_GENERATION|UNKNOWN_MEMBER_ID|REBALANCE_IN_PROGRESS|FENCED_INSTANCE_ID)$/;

/** Whether a coordinator said with it that the membership is over. */
export function isStaleMembership(error: unknown): boolean {
  return STALE.test(brokerErrorType(error) ?? '');
}

/** A member of a consumer group: the requests, not when to make them. */
export class GroupMember {
  readonly #brokers: Brokers;
  readonly #options: MemberOptions;
  #coordinator: Broker | undefined;
  /** Given by the coordinator, and kept from one generation to the next. */
  #memberId = '';

  constructor(brokers: Brokers, options: MemberOptions) {
    this.#brokers = brokers;
    this.#options = options;
  }

  /** Joins the group, again if it is a member. Takes until all other members have joined, at most their rebalance timeout. */
  async join(): Promise<Membership> {
    try {
      const joined = await this.#joinGroup();
      this.#memberId = joined.memberId;
      return await this.#syncGroup(joined);
    } catch (error) {
      if (brokerErrorType(error) === 'UNKNOWN_MEMBER_ID') this.#memberId = '';
      throw error;
    }
  }

  async #joinGroup(): Promise<JoinedGroup> {
    const { topic, groupId, sessionTimeoutMs, rebalanceTimeoutMs } = this.#options;
    const metadata = MemberMetadata.encode({ version: PROTOCOL_VERSION, topics: [topic], userData: Buffer.alloc(0) });
    const request = {
      groupId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      memberId: this.#memberId,
      groupProtocols: [{ name: PROTOCOL, metadata }],
    };
    const timeoutMs = rebalanceTimeoutMs + this.#brokers.requestTimeoutMs;
    return this.#ask((coordinator) => coordinator.joinGroup(request), timeoutMs);
  }

  async #syncGroup({ generationId, memberId, leaderId, members }: JoinedGroup): Promise<Membership> {
    const { topic, groupId } = this.#options;
    const isLeader = memberId === leaderId;
    const partitionCount = isLeader ? (await this.#brokers.topic(topic)).leaders.size : undefined;
    const groupAssignment = partitionCount === undefined ? [] : shareOut(topic, partitionCount, members);
    const request = { groupId, generationId, memberId, groupAssignment };
    // The coordinator answers when the leader has sent what it shared out; a leader that does not is put out.
    const timeoutMs = this.#options.sessionTimeoutMs + this.#brokers.requestTimeoutMs;
    const { memberAssignment } = await this.#ask((coordinator) => coordinator.syncGroup(request), timeoutMs);
    const partitions = MemberAssignment.decode(memberAssignment)?.assignment[topic] ?? [];
    return { memberId, generationId, isLeader, partitionCount, partitions: partitions.toSorted((a, b) => a - b) };
  }

  /** @throws an error for which {@link isStaleMembership} holds when the membership is over. */
  async heartbeat({ memberId, generationId }: Membership): Promise<void> {
    const { groupId } = this.#options;
    await this.#ask((coordinator) => coordinator.heartbeat({ groupId, groupGenerationId: generationId, memberId }));
  }

  /** Of the partitions of a membership; absent where nothing is committed. */
  async committed({ partitions }: Membership): Promise<Map<number, Committed>> {
    return readCommitted(this.#options.groupId, this.#options.topic, partitions, (run) => this.#ask(run));
  }

  /** @throws an error for which {@link isStaleMembership} holds when the membership is over. */
  async commit(
    { memberId, generationId }: Membership,
    topicId: string,
    nextOffsets: ReadonlyMap<number, bigint>,
    note: string,
  ): Promise<void> {
    const { groupId, topic } = this.#options;
    const partitions = [...nextOffsets].map(([partition, offset]) => ({
      partition,
      offset: `${offset}`,
      metadata: note === '' ? topicId : `${topicId} ${note}`,
    }));
    const request = { groupId, memberId, groupGenerationId: generationId, topics: [{ topic, partitions }] };
    await this.#ask((coordinator) => coordinator.offsetCommit(request));
  }

  /** Leaves the group, if it is a member. */
  async leave(): Promise<void> {
    const [groupId, memberId] = [this.#options.groupId, this.#memberId];
    if (memberId === '') return;
    await this.#ask((coordinator) => coordinator.leaveGroup({ groupId, memberId }));
    this.#memberId = '';
  }

  async #ask<T>(run: (coordinator: Broker) => Promise<T>, timeoutMs?: number): Promise<T> {
    try {
      const coordinator = this.#coordinator ?? (await this.#brokers.coordinator(this.#options.groupId));
      this.#coordinator = coordinator;
      return await this.#brokers.call(coordinator, () => run(coordinator), timeoutMs);
    } catch (error) {
      const type = brokerErrorType(error);
      if (type === undefined || COORDINATOR_MOVED.test(type)) this.#coordinator = undefined;
      throw error;
    }
  }
}

/** `ask` runs a request at the group's coordinator. */
export async function readCommitted(
  groupId: string,
  topic: string,
  partitions: readonly number[],
  ask: <T>(run: (coordinator: Broker) => Promise<T>) => Promise<T>,
): Promise<Map<number, Committed>> {
  if (partitions.length === 0) return new Map();
  const topics = [{ topic, partitions: partitions.map((partition) => ({ partition })) }];
  const answer = await ask(async (coordinator) => {
    const answer = await coordinator.offsetFetch({ groupId, topics });
    // kafkajs looks at the partitions alone; with an error of the group there are none.
    throwIfError(answer.errorCode ?? 0);
    return answer;
  });
  const found = answer.responses.flatMap((response) => (response.topic === topic ? response.partitions : []));
  if (found.length !== partitions.length) throw new Error('the coordinator did not answer for all partitions');
  const committed = found.filter(({ offset }) => BigInt(offset) >= 0n);
  return new Map(
    committed.map((each) => {
      const [topicId = '', note = ''] = (each.metadata ?? '').split(' ');
      return [each.partition, { nextOffset: BigInt(each.offset), topicId, note }];
    }),
  );
}

/** Partitions in turn, to those who read the topic. */
function shareOut(topic: string, partitionCount: number, members: JoinedGroup['members']) {
  const readers = members
    .filter(({ memberMetadata }) => MemberMetadata.decode(memberMetadata)?.topics.includes(topic))
    .map(({ memberId }) => memberId)
    .sort();
  return members.map(({ memberId }) => {
    const turn = readers.indexOf(memberId);
    const all = Array.from({ length: partitionCount }, (_, partition) => partition);
    const own = turn < 0 ? [] : all.filter((partition) => partition % readers.length === turn);
    const assignment = { version: PROTOCOL_VERSION, assignment: { [topic]: own }, userData: Buffer.alloc(0) };
    return { memberId, memberAssignment: MemberAssignment.encode(assignment) };
  });
}
