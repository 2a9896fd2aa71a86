import { checkId, formatWatchedKey, type TraceRef } from '@spanbuf/keys';
import { MAX_WATCHED_TRACES, type TraceWatch, type WatchedTrace } from '../trace-watch.ts';
import { parseTimeReply, timeCommand } from './control-scripts.ts';
import { evalsha, type RedisReply, type RedisRunner } from './redis-runner.ts';
import { loadScript } from './script.ts';

const watchTrace = loadScript('watch-trace');

export class RedisTraceWatch implements TraceWatch {
  readonly #runner: RedisRunner;
  readonly #key: string;

  constructor(runner: RedisRunner, sliceId: number | undefined) {
    this.#runner = runner;
    this.#key = formatWatchedKey(sliceId === undefined ? {} : { sliceId });
  }

  async read(): Promise<WatchedTrace[]> {
    const key = this.#key;
    const [time, reply] = await this.#runner.run([
      timeCommand(key),
      { key, name: 'zrangebyscore', args: [key, '-inf', '+inf', 'WITHSCORES'] },
    ]);
    const now = parseTimeReply(time as RedisReply);
    return membersOf(reply as RedisReply).flatMap(({ member, seconds }) => {
      const [projectId, traceId] = member.split(':') as [string, string];
      return seconds > now ? [{ projectId, traceId, leftSeconds: seconds - now }] : [];
    });
  }

  async watch(trace: TraceRef, seconds: number): Promise<boolean> {
    const [reply] = await this.#runner.run([
      evalsha(watchTrace, [this.#key], [seconds, MAX_WATCHED_TRACES, memberOf(trace)]),
    ]);
    return reply === 1;
  }

  async unwatch(trace: TraceRef): Promise<boolean> {
    const [reply] = await this.#runner.run([{ key: this.#key, name: 'zrem', args: [this.#key, memberOf(trace)] }]);
    return reply === 1;
  }
}

/** @throws {@link InvalidIdError} */
function memberOf({ projectId, traceId }: TraceRef): string {
  return `${checkId('projectId', projectId)}:${checkId('traceId', traceId)}`;
}

/** Under RESP3 a member and its score come as a pair, under RESP2 one after the other. */
function membersOf(reply: RedisReply): { member: string; seconds: number }[] {
  const flat = (reply as readonly RedisReply[]).flat() as readonly (Buffer | number)[];
  return Array.from({ length: flat.length / 2 }, (_, i) => ({
    member: String(flat[2 * i]),
    seconds: Number(flat[2 * i + 1]),
  }));
}
