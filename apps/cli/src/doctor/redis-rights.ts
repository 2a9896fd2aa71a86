import type { Redis } from 'ioredis';
import type { AppName } from './doctor-settings.ts';
import { isDenied } from './redis-nodes.ts';

/** What a service needs to be permitted: as in deploy/redis/users.acl. */
interface Needs {
  /** Beginnings of keys. */
  readonly writes: readonly string[];
  readonly reads: readonly string[];
  /** On keys, or without any. */
  readonly commands: readonly string[];
  /** On some keys alone. */
  readonly on: readonly (readonly [command: string, keys: string])[];
}

const SHARED = ['ssr:', 's:', 'q:', 'shards', 'processes', 'ledger:', 'receipts:', 'epoch'];
const COMMANDS =
  'evalsha eval script|load unlink exists expire ttl hset hdel hget hmget hgetall hexists hlen hincrby zadd zrem zcard zcount zrangebyscore time info client|setname cluster|slots cluster|info asking bitcount bitfield setrange'.split(
    ' ',
  );
const RECEIPTS_RANGE = ['getrange', 'receipts:'] as const;

export const NEEDS: Readonly<Record<AppName, Needs>> = {
  consumer: {
    writes: [...SHARED, 'clocks', 'sentinel:'],
    reads: ['flushers', 'watched'],
    commands: [...COMMANDS, 'set', 'bitfield_ro', 'bitpos', 'wait'],
    on: [RECEIPTS_RANGE],
  },
  flusher: {
    writes: [...SHARED, 'flushers'],
    reads: ['clocks', 'sentinel:', 'watched'],
    commands: [...COMMANDS, 'get', 'hscan', 'zscore', 'zmscore', 'zremrangebyscore'],
    on: [RECEIPTS_RANGE],
  },
};

/** What is sent after the key, to no effect: writes are refused before they are done, and nothing is under these keys. */
const ARGS: Readonly<Record<string, readonly string[]>> = {
  set: ['v'],
  expire: ['1'],
  hset: ['f', 'v'],
  hdel: ['f'],
  hget: ['f'],
  hmget: ['f'],
  hexists: ['f'],
  hscan: ['0'],
  hincrby: ['f', '1'],
  zadd: ['1', 'm'],
  zrem: ['m'],
  zcount: ['0', '1'],
  zscore: ['m'],
  zmscore: ['m'],
  zrangebyscore: ['0', '1'],
  zremrangebyscore: ['0', '1'],
  bitfield: ['GET', 'u8', '0'],
  bitfield_ro: ['GET', 'u8', '0'],
  bitpos: ['1'],
  setrange: ['0', 'v'],
  getrange: ['0', '1'],
};

/** Those that scripts may not call, as they are called to no effect. `eval` is tried by trying all the others. */
const DIRECT: Readonly<Record<string, readonly string[]>> = {
  evalsha: ['EVALSHA', '0'.repeat(40), '0'],
  'script|load': ['SCRIPT', 'LOAD', 'return 1'],
  info: ['INFO', 'server'],
  'client|setname': ['CLIENT', 'SETNAME', 'spanbuf-doctor'],
  wait: ['WAIT', '0', '1'],
};
const ON_A_CLUSTER: Readonly<Record<string, readonly string[]>> = {
  'cluster|slots': ['CLUSTER', 'SLOTS'],
  'cluster|info': ['CLUSTER', 'INFO'],
  asking: ['ASKING'],
};

/**
 * Of each call, whether this user may make it: 0, else 1 for a command and 2 for keys that it may not use. A script that may not write is refused a write after it was asked for the
 * permission, so nothing is ever written; a key of another node is refused later still.
 */
const TRY = `#!lua flags=no-writes
local out = {}
for i, text in ipairs(ARGV) do
  local reply = redis.pcall(unpack(cjson.decode(text)))
  local message = type(reply) == 'table' and reply.err or ''
  local isRefused = string.find(message, 'user executing the script', 1, true) or string.find(message, 'permission', 1, true)
  local isKey = string.find(message, 'keys', 1, true)
  out[i] = not isRefused and 0 or isKey and 2 or 1
end
return out`;

/** No trace, shard or slice has such a name. */
const PROBE = '{doctor}';

interface Try {
  /** As in an ACL: `+hget`, `~span-buf:s:*`. */
  readonly right: string;
  readonly call: readonly string[];
  /** Which answers mean that it is lacking. */
  readonly why: readonly number[];
}

const COMMAND = 1;
const KEYS = 2;

/**
 * Rights that this user lacks on one node, as rules of an ACL.
 * @throws whatever the connection does.
 */
export async function missingRights(
  client: Redis,
  app: AppName,
  { isCluster }: { readonly isCluster: boolean },
): Promise<string[]> {
  const { writes, reads, commands, on } = NEEDS[app];
  const missing: string[] = [];
  const direct = { ...DIRECT, ...(isCluster && ON_A_CLUSTER) };
  for (const [name, [command = '', ...args]] of Object.entries(direct)) {
    if (commands.includes(name) && (await isRefused(client.call(command, args)))) missing.push(`+${name}`);
  }
  const onKeys = commands.filter((name) => !(name in DIRECT) && !(name in ON_A_CLUSTER) && name !== 'eval');
  const tries: Try[] = [
    ...onKeys.map((name) => ({ right: `+${name}`, call: callOf(name, 's:'), why: [COMMAND] })),
    ...on.map(([name, keys]) => ({
      right: `(+${name} ~span-buf:${keys}*)`,
      call: callOf(name, keys),
      why: [COMMAND, KEYS],
    })),
    ...writes.map((keys) => ({ right: `~span-buf:${keys}*`, call: callOf('hset', keys), why: [KEYS] })),
    ...reads.map((keys) => ({ right: `%R~span-buf:${keys}*`, call: callOf('hget', keys), why: [KEYS] })),
  ];
  const sent = tries.map(({ call }) => JSON.stringify(call));
  try {
    const refused = (await client.call('EVAL', [TRY, '0', ...sent])) as number[];
    // A command with which keys are tried, and that is lacking itself, says nothing of the keys.
    return [...missing, ...tries.filter(({ why }, i) => why.includes(refused[i] as number)).map(({ right }) => right)];
  } catch (error) {
    // Nothing else can be asked then, and the services can do nothing.
    if (isDenied(error)) return [...missing, '+eval'];
    throw error;
  }
}

function callOf(name: string, keys: string): string[] {
  if (name === 'time') return ['TIME'];
  return [name.toUpperCase(), `span-buf:${keys}${PROBE}`, ...(ARGS[name] ?? [])];
}

async function isRefused(reply: Promise<unknown>): Promise<boolean> {
  try {
    await reply;
    return false;
  } catch (error) {
    return isDenied(error);
  }
}
