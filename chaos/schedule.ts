/** Which faults, when, whom and for how long: decided by a seed alone. */

/** What a fault is about. Of faults that overlap, no two are about the same. */
type Area = 'consumer' | 'flusher' | 'redis' | 'scripts' | 'kafka' | 'network' | 'clock';

interface FaultKind {
  readonly area: Area;
  readonly targets: readonly string[];
  /** Shortest and longest. What must happen before it may end (a replica takes over) can make it longer. */
  readonly seconds: readonly [number, number];
  /** Whether Redis loses what it had acknowledged. */
  readonly destroys?: boolean;
  /** Milliseconds for a delay, seconds for a clock: one of them. */
  readonly amounts?: readonly number[];
}

export const CONSUMERS = ['consumer-1', 'consumer-2'] as const;
export const FLUSHERS = ['flusher-1', 'flusher-2'] as const;
const APPS = [...CONSUMERS, ...FLUSHERS];
export const SHARDS: readonly string[] = ['redis-1', 'redis-2', 'redis-3'];
/** `app~server`; of a shard the connection to whoever is its master then. */
const LINKS = APPS.flatMap((app) => [...SHARDS, 'kafka'].map((server) => `${app}~${server}`));
export const SESSION_SECONDS = 6;
export const LEASE_SECONDS = 8;
/** Silence after which the nodes of the cluster take one of them for dead. */
export const NODE_TIMEOUT_SECONDS = 2;

export const FAULTS = {
  /** kill -9; started again after so long. */
  'consumer-kill': { area: 'consumer', targets: CONSUMERS, seconds: [0, 8] },
  /** SIGSTOP, SIGCONT; for less than, or more than, Kafka waits for its heartbeat. */
  'consumer-freeze': { area: 'consumer', targets: CONSUMERS, seconds: [1, 2.5 * SESSION_SECONDS] },
  'flusher-kill': { area: 'flusher', targets: FLUSHERS, seconds: [0, 8] },
  'flusher-freeze': { area: 'flusher', targets: FLUSHERS, seconds: [1, LEASE_SECONDS - 2] },
  'flusher-freeze-past-lease': { area: 'flusher', targets: FLUSHERS, seconds: [LEASE_SECONDS + 2, 2 * LEASE_SECONDS] },
  /** kill -9 of a replica. */
  'redis-replica-kill': { area: 'redis', targets: SHARDS, seconds: [1, 8] },
  /** kill -9 of a master; its replica takes over, and it comes back as a replica. */
  'redis-failover': { area: 'redis', targets: SHARDS, seconds: [5, 12] },
  /** SIGSTOP of a master, too short for its replica to take over. */
  'redis-freeze': { area: 'redis', targets: SHARDS, seconds: [0.3, NODE_TIMEOUT_SECONDS / 2] },
  /** SIGSTOP of a master until its replica has taken over and no client waits for its answer any more. */
  'redis-freeze-failover': { area: 'redis', targets: SHARDS, seconds: [9, 14] },
  /** The connection between a replica and its master is cut. */
  'redis-replication-cut': { area: 'redis', targets: SHARDS, seconds: [3, 10] },
  /** The same, then the master is killed and the replica takes over without what it has missed. */
  'redis-lost-writes': { area: 'redis', targets: SHARDS, seconds: [2, 5], destroys: true },
  'redis-flushall-one': { area: 'redis', targets: SHARDS, seconds: [0, 0], destroys: true },
  'redis-flushall-all': { area: 'redis', targets: ['redis'], seconds: [0, 0], destroys: true },
  /** maxmemory below what is in use, with noeviction. */
  'redis-full': { area: 'redis', targets: [...SHARDS, 'redis'], seconds: [3, 12] },
  /** Of all nodes. */
  'script-flush': { area: 'scripts', targets: ['redis'], seconds: [0, 0] },
  'kafka-kill': { area: 'kafka', targets: ['kafka'], seconds: [0, 6] },
  /** SIGTERM. */
  'kafka-restart': { area: 'kafka', targets: ['kafka'], seconds: [0, 4] },
  'kafka-freeze': { area: 'kafka', targets: ['kafka'], seconds: [2, 12] },
  /** Connections are reset, and so are new ones. */
  'link-cut': { area: 'network', targets: LINKS, seconds: [2, 12] },
  /** Connections stay open and nothing passes. */
  'link-silence': { area: 'network', targets: LINKS, seconds: [2, 12] },
  'link-delay': { area: 'network', targets: LINKS, seconds: [5, 15], amounts: [20, 100, 400] },
  /** The clock of an app is wrong for so long, then right again. */
  'clock-jump': { area: 'clock', targets: APPS, seconds: [5, 15], amounts: [-3_600, -90, 90, 3_600] },
} as const satisfies Readonly<Record<string, FaultKind>>;

export type FaultName = keyof typeof FAULTS;
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

export interface PlannedFault {
  readonly fault: FaultName;
  readonly target: string;
  /** After the beginning of its group. */
  readonly delaySeconds: number;
  readonly seconds: number;
  readonly amount?: number;
}

/** Faults that may overlap. The system recovers before the next group begins. */
export interface FaultGroup {
  /** After the beginning, at the earliest. */
  readonly atSeconds: number;
  readonly faults: readonly PlannedFault[];
}

/** Between the beginnings of two groups, unless it takes longer to recover. */
const GROUP_SECONDS = 40;
const WARM_UP_SECONDS = 15;
const MAX_OVERLAPPING = 3;
const MAX_DELAY_SECONDS = 6;

export interface ScheduleOptions {
  /** An integer from 0 to 2^32 - 1. */
  readonly seed: number;
  readonly minutes: number;
  /** At least one. */
  readonly faults: readonly FaultName[];
}

/** Deals all faults before any comes again, so that each comes about as often as every other. */
export function planSchedule({ seed, minutes, faults }: ScheduleOptions): FaultGroup[] {
  const random = new Dice(seed);
  const groups: FaultGroup[] = [];
  let deck: FaultName[] = [];
  for (let atSeconds = WARM_UP_SECONDS; atSeconds < minutes * 60; atSeconds += GROUP_SECONDS) {
    const size = random.integer(2, MAX_OVERLAPPING);
    const group: PlannedFault[] = [];
    if (deck.length === 0) deck = random.shuffled(faults);
    for (const fault of deck) {
      const isFree = !group.some((other) => areaOf(other.fault) === areaOf(fault));
      if (group.length < size && isFree) group.push(planFault(fault, group.length === 0, random));
    }
    deck = deck.filter((fault) => !group.some((planned) => planned.fault === fault));
    groups.push({ atSeconds, faults: group });
  }
  return groups;
}

export function destroys(fault: FaultName): boolean {
  const kind: FaultKind = FAULTS[fault];
  return kind.destroys === true;
}

function areaOf(fault: FaultName): Area {
  return FAULTS[fault].area;
}

function planFault(fault: FaultName, isFirst: boolean, random: Dice): PlannedFault {
  const { targets, seconds, amounts = [] }: FaultKind = FAULTS[fault];
  const [least, most] = seconds;
  const amount = amounts.length === 0 ? undefined : random.oneOf(amounts);
  return {
    fault,
    target: random.oneOf(targets),
    delaySeconds: isFirst ? 0 : random.tenths(0, MAX_DELAY_SECONDS),
    seconds: random.tenths(least, most),
    ...(amount !== undefined && { amount }),
  };
}

/** The same throws for the same seed: mulberry32. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, and not, 1. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  integer(least: number, most: number): number {
    return least + Math.floor(this.#next() * (most - least + 1));
  }

  /** A number with one decimal. */
  tenths(least: number, most: number): number {
    return this.integer(Math.round(10 * least), Math.round(10 * most)) / 10;
  }

  oneOf<T>(all: readonly T[]): T {
    return all[this.integer(0, all.length - 1)] as T;
  }

  shuffled<T>(all: readonly T[]): T[] {
    const rest = [...all];
    return all.map(() => rest.splice(this.integer(0, rest.length - 1), 1)[0] as T);
  }
}
