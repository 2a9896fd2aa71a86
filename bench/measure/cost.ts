/** Calls of one command, and the time that the nodes spent in them. */
export interface CommandCost {
  readonly calls: number;
  readonly micros: number;
}

/** What some work cost. Microseconds. */
export interface Cost {
  readonly wallMicros: number;
  /** CPU time of this process, all threads. */
  readonly clientMicros: number;
  /** CPU time of all nodes, network and parsing included (INFO cpu). */
  readonly redisMicros: number;
  /** The same of the node that had most to do. */
  readonly busiestNodeMicros: number;
  /** By command, what was sent (INFO commandstats). A script's time contains that of the commands it calls. */
  readonly commands: ReadonlyMap<string, CommandCost>;
  /** As Redis counts them: what it read, and what it wrote. */
  readonly inBytes: number;
  readonly outBytes: number;
}

const SCRIPT_CALLS = new Set(['evalsha', 'eval', 'fcall', 'evalsha_ro', 'eval_ro', 'fcall_ro']);

/** The numbers of a cost. */
export type Measure = Exclude<keyof Cost, 'commands'> | 'commandMicros' | 'scriptCalls' | 'scriptMicros';

export function totalOf(costs: readonly Cost[], measure: Measure): number {
  return costs.reduce((sum, cost) => sum + amountOf(cost, measure), 0);
}

function amountOf(cost: Cost, measure: Measure): number {
  let sum = 0;
  switch (measure) {
    case 'commandMicros':
      for (const { micros } of cost.commands.values()) sum += micros;
      return sum;
    case 'scriptCalls':
      for (const [name, { calls }] of cost.commands) if (SCRIPT_CALLS.has(name)) sum += calls;
      return sum;
    case 'scriptMicros':
      for (const [name, { micros }] of cost.commands) if (SCRIPT_CALLS.has(name)) sum += micros;
      return sum;
    default:
      return cost[measure];
  }
}
