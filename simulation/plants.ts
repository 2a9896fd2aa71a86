import { createHash } from 'node:crypto';
import { loadScripts, type Script } from '@spanbuf/store/testing/controlled';
import type { Mode } from './scenario.ts';
import type { Command, Result } from './servers.ts';

/** Sends a pipeline to a node, in the name of a process. */
export type Exec = (
  node: number,
  commands: readonly Command[],
  process: string,
) => Promise<{ results: Result[]; eternalKeys: number }>;

/** A mistake in the protocol, put between the store and Redis. */
export interface Plant {
  /** In which it shows; by default where offsets are committed once spans are buffered. */
  readonly mode?: Mode;
  /** The promise that it breaks, where any other one would not do. */
  readonly breaks?: string;
  /** The script as it is with the mistake. */
  readonly script?: (script: Script) => Script;
  /** Made anew for each run. */
  readonly around?: (exec: (node: number, commands: readonly Command[]) => ReturnType<Exec>) => Exec;
}

export const NO_PLANT: Plant = {};

/** Mistakes that the simulation must find, by what they are. */
export const PLANTS: Readonly<Record<string, Plant>> = {
  'done deletes a live generation': rewrite(
    'complete',
    "if waiting <= 0 and window == '0' then",
    'if waiting <= 1 then',
  ),
  'unlink before the record': { around: unlinkFirst },
  'schedule lost': { around: forgetSchedules },
  'two writers of one payload key': { around: withoutWriteIds },
  'lease without fencing': rewrite('settle', 'if tonumber(leases[i] or 0) == lease then', 'if leases[i] then'),
  'dedupe off by one': rewrite('link', 'sub(offsets, 21) <= taken', 'sub(offsets, 21) < taken'),
  'payloads live shorter than they wait': { around: shortLived },
  'merge of a sealed segment': rewrite(
    'seal',
    'fields[count + 4] = field, packed, handle, record',
    'fields[count + 4] = field, packed, field, packed',
  ),
  'a repeated call counts as another one': rewrite(
    'link',
    "fields[size + 1], fields[size + 2] = token, ''",
    "fields[size + 1], fields[size + 2] = '!', ''",
  ),
  'a payload is listed twice': {
    ...rewrite(
      'link',
      'r[ENTRIES], r[SPANS], r[BYTES], r[TOUCHED] = r[ENTRIES] + 1,',
      "fields[size + 1], fields[size + 2], size = handle .. '.' .. r[LIST] .. '.' .. r[ENTRIES] + 1, ARGV[at], size + 2 " +
        'r[ENTRIES], r[SPANS], r[BYTES], r[TOUCHED] = r[ENTRIES] + 2,',
    ),
    breaks: 'a generation holds a span once',
  },
  'redirects go with the segment': rewrite('complete', "call('EXPIRE', trace, window)", "call('UNLINK', trace)"),
  'a dead flusher keeps its segments': rewrite(
    'claim',
    'local moreAgain = takeAgain(math.ceil(limit / 2))',
    'local moreAgain = false',
  ),
  'a trace without a time to live': rewrite(
    'link',
    "if incarnation then call('EXPIRE', trace, ARGV[1], 'GT') else call('EXPIRE', trace, ARGV[1]) end",
    "call('EXPIRE', trace, ARGV[1], 'GT')",
  ),
  'a receipt too many': rewrite(
    'settle-offsets',
    "struct.unpack('<I2I2', ranges, at)",
    "struct.unpack('<I2I2', ranges, at); last = last + 1",
    'flushed',
  ),
  'a receipt is counted again': {
    ...rewrite('settle-offsets', 'local new = settled - known', 'local new = asked'),
    breaks: 'the books say what they do',
  },
  'what is told again is not counted': {
    ...rewrite('settle-offsets', "asked > new and fate ~= 'restored'", 'false'),
    breaks: 'the books balance at any moment',
  },
  'a receipt is lost': { around: forgetReceipts },
  'what is of an epoch before is kept': rewrite(
    'link',
    'elseif of and of + 0 < epoch + 0 then',
    'elseif false then',
    'flushed',
  ),
  'a loss goes unnoticed': { mode: 'flushed', around: withoutLosses },
};

/** Replaces text of a script. @throws Error when it is not there: then the mistake has to be made in another way. */
function rewrite(name: string, from: string, to: string, mode: Mode = 'buffered'): Plant {
  return {
    mode,
    script: (script) => {
      if (script.name !== name) return script;
      if (!script.source.includes(from)) throw new Error(`${name}.lua does not have: ${from}`);
      const source = script.source.replace(from, () => to);
      return { name, source, sha1: createHash('sha1').update(source).digest('hex') };
    },
  };
}

type Node = (node: number, commands: readonly Command[]) => ReturnType<Exec>;

const scripts = new Map(loadScripts().map(({ sha1, name }) => [sha1, name]));

function scriptOf({ name, args }: Command): string | undefined {
  return name === 'evalsha' ? scripts.get(String(args[0])) : undefined;
}

/** Holds back what deletes the record until the payloads are gone. */
function unlinkFirst(exec: Node): Exec {
  const heldBack = new Map<string, Command[]>();
  return async (node, commands, process) => {
    const completes = commands.filter((command) => scriptOf(command) === 'complete');
    if (completes.length > 0) {
      heldBack.set(`${process} ${node}`, completes);
      const others = await exec(
        node,
        commands.filter((command) => scriptOf(command) !== 'complete'),
      );
      const replies = [...others.results];
      const results = commands.map(
        (command): Result => (completes.includes(command) ? [null, Buffer.from('KNOWN')] : (replies.shift() as Result)),
      );
      return { ...others, results };
    }
    if (!commands.some((command) => scriptOf(command) === 'settle')) return exec(node, commands);
    for (const [key, held] of heldBack) {
      if (!key.startsWith(`${process} `)) continue;
      heldBack.delete(key);
      await exec(Number(key.split(' ')[1]), held);
    }
    return exec(node, commands);
  };
}

/** A writer that does not wait for the answer: every third time nothing is scheduled, and nobody learns of it. */
function forgetSchedules(exec: Node): Exec {
  let count = 0;
  return (node, commands) => {
    const isLost = commands.some((command) => scriptOf(command) === 'schedule') && ++count % 3 === 0;
    return exec(
      node,
      isLost ? commands.map((command) => (scriptOf(command) === 'schedule' ? NOTHING : command)) : commands,
    );
  };
}

/** Every third time nothing gets its receipt, and nobody learns of it. */
function forgetReceipts(exec: Node): Exec {
  let count = 0;
  return async (node, commands) => {
    const isLost = commands.some((command) => scriptOf(command) === 'settle-offsets') && ++count % 3 === 0;
    if (!isLost) return exec(node, commands);
    const sent = commands.map((command) => (scriptOf(command) === 'settle-offsets' ? NOTHING : command));
    const { results, ...rest } = await exec(node, sent);
    // As if there were no books.
    return { ...rest, results: results.map((result, i): Result => (sent[i] === NOTHING ? [null, -1] : result)) };
  };
}

const NOTHING: Command = { name: 'exists', args: ['nothing'] };

/** The key of a payload as it would be without the id of its writer. */
function withoutWriteIds(exec: Node): Exec {
  return (node, commands) =>
    exec(
      node,
      commands.map(({ name, args }) =>
        name === 'evalsha' || !/^span-buf:s:\{[^}]*\}:[0-9a-f]+:/.test(String(args[0]))
          ? { name, args }
          : { name, args: [String(args[0]).replace(/:[^:]*$/, ':w'), ...args.slice(1)] },
      ),
    );
}

/** As if the epoch and the sentinels were still there, and every server the one that it was. */
function withoutLosses(exec: Node): Exec {
  let epoch: string | undefined;
  return async (node, commands) => {
    const answer = await exec(node, commands);
    for (const command of commands) if (scriptOf(command) === 'set-sentinel') epoch = String(command.args[4]);
    if (epoch === undefined) return answer;
    const known = Buffer.from(epoch);
    const results = answer.results.map((result, i): Result => {
      const { name, args } = commands[i] as Command;
      const [key] = args;
      if (name === 'hgetall' && key === 'span-buf:epoch') return [null, { epoch: known }];
      if (name === 'hget' && /^span-buf:(epoch|sentinel:.*)$/.test(String(key))) return [null, known];
      return result;
    });
    return { ...answer, results };
  };
}

/** Payloads that live for a minute. */
function shortLived(exec: Node): Exec {
  return (node, commands) =>
    exec(
      node,
      commands.map(({ name, args }) => (name === 'set' ? { name, args: [...args.slice(0, 3), 60] } : { name, args })),
    );
}
