/** What a look at one thing came to. */
export interface Finding {
  /** What was looked at; the name of a check, as in docs/doctor.md. */
  readonly check: CheckName;
  readonly level: Level;
  /** The node, topic or setting, when there may be several. */
  readonly subject?: string | undefined;
  /** What is so. */
  readonly detail: string;
  /** Why it matters; of what is wrong, and of what could not be looked at. */
  readonly why?: string | undefined;
  /** How to mend it; likewise. */
  readonly remedy?: string | undefined;
}

/**
 * `fault`: spans would be lost, or the services would not start or would stop. `warning`: it works, and worse than it could.
 * `unknown`: it could not be looked at, and may be a fault.
 */
export type Level = 'ok' | 'warning' | 'fault' | 'unknown';

export const CHECKS = [
  'redis-reach',
  'redis-kind',
  'redis-version',
  'redis-coverage',
  'redis-eviction',
  'redis-maxmemory',
  'redis-lazyfree',
  'redis-replicas',
  'redis-rights',
  'redis-clock',
  'redis-ttl',
  'kafka-reach',
  'kafka-topic',
  'kafka-partitions',
  'kafka-message-size',
  'kafka-span-size',
  'kafka-dead-letters',
  'kafka-cleanup',
  'kafka-retention',
] as const;

export type CheckName = (typeof CHECKS)[number];
