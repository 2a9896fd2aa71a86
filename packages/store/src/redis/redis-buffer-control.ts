import { formatClocksKey, formatFlushersKey } from '@spanbuf/keys';
import type { BufferControl, BufferState, ClockMark, NodeMemory, ProcessFacts, ShardState } from '../buffer-control.ts';
import {
  announceFlusherCommand,
  announceProcessCommand,
  BACKSTOP,
  countFlushersCommand,
  markClocksCommand,
  parseClocksReply,
  parseQueueStateReply,
  parseTimeReply,
  queueStateCommand,
  readClocksCommand,
  timeCommand,
  withdrawFlusherCommand,
  withdrawProcessCommand,
} from './control-scripts.ts';
import { entryOf, pagesOf } from './grouping.ts';
import { DAY_SECONDS } from './open-runner.ts';
import { forgetShardsCommand, parseShardsReply, type Queue, queueOf, readShardsCommand } from './queue-scripts.ts';
import type { RedisReply, RedisRunner } from './redis-runner.ts';

export interface ControlSettings {
  readonly sliceId: number | undefined;
  readonly redisTtlSeconds: number;
}

/** Shards that one call marks at most. */
const MARKS_PAGE = 1_024;

export class RedisBufferControl implements BufferControl {
  readonly #runner: RedisRunner;
  readonly #slice: { readonly sliceId?: number };
  readonly #ttlSeconds: number;
  readonly #queues = new Map<number, Queue>();

  constructor(runner: RedisRunner, { sliceId, redisTtlSeconds }: ControlSettings) {
    this.#runner = runner;
    this.#slice = sliceId === undefined ? {} : { sliceId };
    this.#ttlSeconds = Math.max(redisTtlSeconds, DAY_SECONDS);
  }

  async markClocks(marks: ReadonlyMap<number, ClockMark>): Promise<void> {
    const pages = pagesOf([...marks], MARKS_PAGE);
    await this.#runner.run(pages.map((page) => markClocksCommand(this.#slice, this.#ttlSeconds, page)));
  }

  async announceFlusher(flusherId: string, presenceSeconds: number): Promise<void> {
    const ttlSeconds = Math.max(this.#ttlSeconds, Math.ceil(presenceSeconds));
    await this.#runner.run([announceFlusherCommand(this.#slice, ttlSeconds, flusherId, presenceSeconds)]);
  }

  async withdrawFlusher(flusherId: string): Promise<void> {
    await this.#runner.run([withdrawFlusherCommand(this.#slice, flusherId)]);
  }

  async announceProcess(process: ProcessFacts, presenceSeconds: number): Promise<void> {
    // What it says of what is held must not be forgotten before that has come out.
    const heldSeconds = BACKSTOP * (process.writes?.maxAgeSeconds ?? 0);
    const ttlSeconds = Math.max(this.#ttlSeconds, Math.ceil(presenceSeconds + heldSeconds));
    await this.#runner.run([announceProcessCommand(this.#slice, ttlSeconds, process, presenceSeconds)]);
  }

  async withdrawProcess(processId: string): Promise<void> {
    await this.#runner.run([withdrawProcessCommand(this.#slice, processId)]);
  }

  async readState(query: { readonly shards?: readonly number[] } = {}): Promise<BufferState> {
    const memory = readMemory(this.#runner);
    const known = await this.#runner.run([
      readClocksCommand(this.#slice),
      timeCommand(formatClocksKey(this.#slice)),
      timeCommand(formatFlushersKey(this.#slice)),
      ...(query.shards ? [] : [readShardsCommand(this.#slice.sliceId)]),
    ]);
    const [clockReply, time, flushersTime, shardsReply] = known as [RedisReply, RedisReply, RedisReply, RedisReply?];
    const clocks = parseClocksReply(clockReply);
    const tokens = shardsReply === undefined ? undefined : parseShardsReply(shardsReply);
    const asked = query.shards ?? [...(tokens?.keys() ?? [])];
    const queues = asked.toSorted((a, b) => a - b).map((shard) => this.#queue(shard));
    const [liveFlushers, ...replies] = await this.#runner.run([
      countFlushersCommand(this.#slice, parseTimeReply(flushersTime)),
      ...queues.map(queueStateCommand),
    ]);
    const found = queues.map((queue, i) => parseQueueStateReply(queue, replies[i] as RedisReply));
    const states = await this.#withoutEmpty(found, tokens);
    return {
      redisSeconds: parseTimeReply(time),
      liveFlushers: liveFlushers as number,
      clocks,
      shards: states.map((state) => ({ ...state, clock: clocks.get(state.shard) })),
      memory: await memory,
    };
  }

  /** Shards that were listed, and have nothing, are listed no longer: flushers that are told their shards leave that to others. */
  async #withoutEmpty(
    found: readonly ReturnType<typeof parseQueueStateReply>[],
    tokens: ReadonlyMap<number, string> | undefined,
  ): Promise<Omit<ShardState, 'clock'>[]> {
    if (tokens === undefined) return found.map(({ state }) => state);
    const empty = found.filter(({ isEmpty }) => isEmpty).map(({ state }) => state.shard);
    if (empty.length > 0) {
      const forgotten = new Map(empty.map((shard) => [shard, tokens.get(shard) as string]));
      await this.#runner.run([forgetShardsCommand(this.#slice.sliceId, forgotten)]);
    }
    return found.filter(({ isEmpty }) => !isEmpty).map(({ state }) => state);
  }

  #queue(shard: number): Queue {
    return entryOf(this.#queues, shard, () => queueOf({ ...this.#slice, shard }));
  }
}

/** Of the masters that answer at once, and let this user ask. */
export async function readMemory(runner: RedisRunner): Promise<NodeMemory[]> {
  const replies = await runner.askMasters('info', ['memory']);
  return replies.flatMap(({ node, reply }) => {
    if (reply === undefined) return [];
    const field = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(String(reply))?.[1] ?? 0);
    return [{ node, usedBytes: field('used_memory'), maxBytes: field('maxmemory') }];
  });
}
