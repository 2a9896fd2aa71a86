import { layoutNamed, storagesOf } from '../layout.ts';
import type { Member } from '../redis/members.ts';
import type { PayloadStorage } from '../redis/payload-storage.ts';
import type { RedisCommand, RedisReply, RedisRunner } from '../redis/redis-runner.ts';

const LAYOUT = layoutNamed('distributed');

/** Asks for payloads in the places they were written to, one after the other. `undefined` where all answer null or 0. */
export async function firstFound(
  runner: RedisRunner,
  members: readonly Member[],
  ask: (storage: PayloadStorage, ref: Member['ref']) => RedisCommand,
): Promise<(RedisReply | undefined)[]> {
  const found = new Array<RedisReply | undefined>(members.length);
  let open = [...members.entries()];
  for (let place = 0; open.length > 0; place++) {
    const asked = open.flatMap(([at, { mark, ref }]) => {
      const storage = storagesOf(mark, LAYOUT)[place];
      return storage ? [{ at, command: ask(storage, ref) }] : [];
    });
    const replies = await runner.run(asked.map(({ command }) => command));
    for (const [i, { at }] of asked.entries()) if (replies[i] !== null && replies[i] !== 0) found[at] = replies[i];
    open = asked
      .map(({ at }) => [at, members[at] as Member] as [number, Member])
      .filter(([at]) => found[at] === undefined);
  }
  return found;
}
