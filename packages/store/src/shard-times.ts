import type { BufferState, ShardState } from './buffer-control.ts';

/** What of the state of a buffer tells its time. */
export type ClockState = Pick<BufferState, 'redisSeconds' | 'clocks'> & {
  readonly shards: readonly Pick<ShardState, 'shard' | 'clock'>[];
};

/**
 * Message time of each shard, Unix seconds: what is due by then may be flushed.
 *
 * A shard's time is what its consumer marked last, so a consumer that works off a backlog makes nothing due too early. A
 * mark is not extrapolated until it is `graceSeconds` old: consumers of idle partitions mark them all the time, so an old
 * mark is one of a consumer that died, is being replaced, or cannot store anything. After that, time goes on.
 *
 * A shard also waits for shards whose consumers are further behind, `graceSeconds` at most: spans of one trace may come
 * through several partitions. A shard that nobody has ever marked goes by the clock of Redis.
 */
export function shardTimes(state: ClockState, graceSeconds: number): ReadonlyMap<number, number> {
  const behindSeconds = Math.max(
    0,
    ...[...state.clocks.values()].map(({ behindSeconds, markedSeconds }) =>
      state.redisSeconds - markedSeconds <= graceSeconds ? behindSeconds : 0,
    ),
  );
  return new Map(
    state.shards.map(({ shard, clock }) => {
      if (clock === undefined) return [shard, state.redisSeconds];
      const elapsedSeconds = state.redisSeconds - clock.markedSeconds;
      const waitSeconds = Math.min(graceSeconds, Math.max(0, behindSeconds - clock.behindSeconds));
      return [shard, clock.messageSeconds + Math.max(0, elapsedSeconds - graceSeconds) - waitSeconds];
    }),
  );
}
