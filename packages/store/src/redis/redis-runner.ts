import { hashSlot } from '@spanbuf/keys';
import type { ChainableCommander, Cluster, Redis } from 'ioredis';
import { StoreRefusedError, StoreUnavailableError } from '../errors.ts';
import type { Script } from './script.ts';

/** One command on one slot. Every command the store sends may be sent twice without harm. */
export interface RedisCommand {
  /** A key of the slot it belongs to. */
  readonly key: string;
  readonly name: string;
  readonly args: readonly (string | number | Buffer)[];
  /** Of an EVALSHA: what to load where the node does not know it. */
  readonly script?: Script;
}

/** What a command answers: bulk strings as buffers. */
export type RedisReply = Buffer | number | null | readonly RedisReply[];

export interface RunnerOptions {
  /** How long to go on trying, milliseconds. Covers a failover with the default node timeout of 15 s. */
  readonly deadlineMs: number;
  /** How long one attempt may stay unanswered before the connection counts as lost, milliseconds. */
  readonly attemptMs: number;
}

/** An EVALSHA of `script`; its keys all belong to the slot of the first. */
export function evalsha(
  script: Script,
  keys: readonly string[],
  args: readonly (string | number | Buffer)[],
): RedisCommand {
  return { key: keys[0] as string, name: 'evalsha', args: [script.sha1, keys.length, ...keys, ...args], script };
}

/** Where one command goes next. */
interface Route {
  readonly node: Redis;
  readonly asking: boolean;
}

type Outcome =
  | { readonly kind: 'reply'; readonly reply: RedisReply }
  | { readonly kind: 'again'; readonly error: Error; readonly askNode?: string; readonly pause: boolean }
  | { readonly kind: 'refused'; readonly error: StoreRefusedError };

/** After a redirection or a missing script it goes on at once, unless nodes send it to and fro: MOVED, ASK, NOSCRIPT. */
const FREE_ATTEMPTS = 3;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 500;
/** With less time left no attempt is begun: nobody would wait for what it does. */
const SHORTEST_ATTEMPT_MS = 10;
const CONNECT_POLL_MS = 2;

/** Errors that pass: slots on the move, a failover, a node that starts, a script that runs long, a full disk. */
const PASSING =
  /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN|LOADING|MASTERDOWN|READONLY|MISCONF|BUSY|NOREPLICAS|UNBLOCKED|NOSCRIPT) ?/;

/**
 * What a script gets that empties a key while its slot moves: on the old node, a key that is not there any more counts as
 * moved. What it did before stays done, so every script must be able to begin again from there.
 */
const KEY_LEFT_SCRIPT = /attempted to access a non local key in a cluster node/;

/**
 * Sends commands to the nodes that own their slots, one pipeline per node, and repeats those that a moving, failing or
 * starting node did not take. A plain `Redis` counts as one node that owns every slot.
 */
export class RedisRunner {
  readonly #client: Redis | Cluster;
  readonly #deadlineMs: number;
  readonly #attemptMs: number;
  readonly #connection: { readonly error?: Error };

  constructor(client: Redis | Cluster, { deadlineMs, attemptMs }: RunnerOptions) {
    this.#client = client;
    this.#deadlineMs = deadlineMs;
    this.#attemptMs = Math.min(attemptMs, deadlineMs);
    this.#connection = watchConnection(client);
  }

  /**
   * Runs all commands; the replies are in their order, the commands run in no particular one.
   * @throws {@link StoreUnavailableError} when some have not been answered within the deadline. Some may have taken effect.
   * @throws {@link StoreRefusedError} when Redis refuses one for a reason that waiting does not mend.
   */
  async run(commands: readonly RedisCommand[]): Promise<RedisReply[]> {
    const replies = new Array<RedisReply>(commands.length);
    const askNodes = new Map<number, string>();
    const endMs = performance.now() + this.#deadlineMs;
    const leftMs = (): number => endMs - performance.now();
    let pending = commands.map((_, index) => index);
    for (let attempt = 0; pending.length > 0; attempt++) {
      const patienceMs = attempt === 0 ? this.#attemptMs : Math.min(this.#attemptMs, leftMs());
      const outcomes = await this.#attempt(commands, pending, askNodes, patienceMs);
      const refused = outcomes.find((outcome) => outcome?.kind === 'refused');
      if (refused?.kind === 'refused') throw refused.error;
      askNodes.clear();
      let error: Error | undefined;
      let pause = false;
      pending = pending.filter((index, i) => {
        const outcome = outcomes[i] as Outcome;
        if (outcome.kind === 'reply') {
          replies[index] = outcome.reply;
          return false;
        }
        if (outcome.kind === 'again') {
          error = outcome.error;
          pause ||= outcome.pause;
          if (outcome.askNode !== undefined) askNodes.set(index, outcome.askNode);
        }
        return true;
      });
      if (error === undefined) continue;
      if (askNodes.size < pending.length) await this.#refreshSlots(Math.min(this.#attemptMs, leftMs()));
      if (leftMs() < SHORTEST_ATTEMPT_MS) {
        throw new StoreUnavailableError(
          `${pending.length} of ${commands.length} commands were not answered within ${this.#deadlineMs} ms: ${error.message}`,
          { cause: error },
        );
      }
      const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempt, 16), LONGEST_PAUSE_MS, leftMs() / 2);
      if (pause || attempt >= FREE_ATTEMPTS) await sleep(pauseMs);
    }
    return replies;
  }

  async #attempt(
    commands: readonly RedisCommand[],
    pending: readonly number[],
    askNodes: ReadonlyMap<number, string>,
    patienceMs: number,
  ): Promise<Outcome[]> {
    const outcomes = new Array<Outcome>(pending.length);
    const nodeOfSlot = this.#routes();
    const groups = new Map<Redis, { at: number; command: RedisCommand; asking: boolean }[]>();
    const strays: { at: number; command: RedisCommand }[] = [];
    for (const [at, index] of pending.entries()) {
      const command = commands[index] as RedisCommand;
      const askNode = askNodes.get(index);
      const asked = askNode === undefined ? undefined : this.#nodeByName(askNode);
      if (askNode !== undefined && asked === undefined) {
        strays.push({ at, command });
        continue;
      }
      const route: Route | undefined = asked
        ? { node: asked, asking: true }
        : nodeOfSlot(hashSlot(`${this.#client.options.keyPrefix ?? ''}${command.key}`));
      if (route === undefined) {
        outcomes[at] = { kind: 'again', error: new Error(`no node serves the slot of ${command.key}`), pause: true };
        continue;
      }
      const item = { at, command, asking: route.asking };
      const group = groups.get(route.node);
      if (group === undefined) groups.set(route.node, [item]);
      else group.push(item);
    }
    await Promise.all([
      ...[...groups].map(async ([node, group]) => {
        for (const [i, outcome] of (await this.#send(node, group, patienceMs)).entries()) {
          outcomes[group[i]?.at as number] = outcome;
        }
      }),
      ...strays.map(async ({ at, command }) => {
        outcomes[at] = await this.#sendAlone(command, patienceMs);
      }),
    ]);
    return outcomes;
  }

  /**
   * Through ioredis' own redirection: it connects to a node that has no slot yet, which a pipeline cannot. With the source of
   * the script, since that node knows none, and ioredis drops it again when the slots are refreshed.
   */
  async #sendAlone({ name, args, script }: RedisCommand, patienceMs: number): Promise<Outcome> {
    const sent = script
      ? this.#client.callBuffer('eval', script.source, ...args.slice(1))
      : this.#client.callBuffer(name, ...args);
    try {
      return outcomeOf([null, await withTimeout(sent, patienceMs)]);
    } catch (error) {
      return outcomeOf([error as Error, null]);
    }
  }

  async #send(
    node: Redis,
    group: readonly { command: RedisCommand; asking: boolean }[],
    patienceMs: number,
  ): Promise<Outcome[]> {
    const endMs = performance.now() + patienceMs;
    const again = (error: Error): Outcome[] => group.map(() => ({ kind: 'again', error, pause: true }));
    // A connection that leaves a whole attempt unanswered counts as lost, and is made anew.
    const isPatient = patienceMs >= this.#attemptMs;
    if (!(await becomesReady(node, endMs))) {
      if (isPatient && performance.now() >= endMs) node.stream?.destroy();
      const cause = this.#connection.error;
      // A server that was reached, and does not let this user in.
      if (cause?.name === 'ReplyError' && node === this.#client) return group.map(() => outcomeOf([cause, null]));
      return again(new Error(`not connected to ${nodeName(node)}${cause ? `: ${cause.message}` : ''}`, { cause }));
    }
    const { stream } = node;
    const pipeline: ChainableCommander = node.pipeline();
    const positions: number[] = [];
    for (const { command, asking } of group) {
      if (asking) pipeline.call('asking');
      positions.push(pipeline.length);
      pipeline.callBuffer(command.name, ...command.args);
    }
    let results: [Error | null, unknown][] | null;
    try {
      results = await withTimeout(pipeline.exec(), endMs - performance.now());
    } catch (error) {
      if (isPatient && error instanceof NoReplyError) stream.destroy();
      return again(error as Error);
    }
    const outcomes = positions.map((at) => outcomeOf(results?.[at]));
    await this.#loadMissing(node, group, outcomes, endMs - performance.now());
    return outcomes;
  }

  /** Loads the scripts that this node did not know, so that the next attempt finds them. */
  async #loadMissing(
    node: Redis,
    group: readonly { command: RedisCommand }[],
    outcomes: Outcome[],
    patienceMs: number,
  ): Promise<void> {
    const missing = new Map<Script, number[]>();
    for (const [i, outcome] of outcomes.entries()) {
      const script = group[i]?.command.script;
      if (!script || outcome.kind !== 'again' || !outcome.error.message.startsWith('NOSCRIPT')) continue;
      const waiting = missing.get(script);
      if (waiting) waiting.push(i);
      else missing.set(script, [i]);
    }
    if (missing.size === 0) return;
    const pipeline = node.pipeline();
    for (const { source } of missing.keys()) pipeline.script('LOAD', source);
    // A failure that passes shows as NOSCRIPT once more, and is tried again like everything else.
    const results = await withTimeout(pipeline.exec(), patienceMs).catch(() => null);
    for (const [k, waiting] of [...missing.values()].entries()) {
      const loaded = outcomeOf(results?.[k]);
      if (loaded.kind === 'refused') for (const i of waiting) outcomes[i] = loaded;
    }
  }

  #routes(): (slot: number) => Route | undefined {
    const client = this.#client;
    if (!isCluster(client)) {
      const route: Route = { node: client, asking: false };
      return () => route;
    }
    const routes = new Map<string, Route>();
    for (const node of client.nodes('all')) routes.set(nodeName(node), { node, asking: false });
    return (slot) => routes.get(client.slots[slot]?.[0] ?? '');
  }

  #nodeByName(name: string): Redis | undefined {
    if (!isCluster(this.#client)) return undefined;
    const { natMap } = this.#client.options;
    const mapped = typeof natMap === 'function' ? natMap(name) : natMap?.[name];
    const wanted = mapped ? `${mapped.host}:${mapped.port}` : name;
    return this.#client.nodes('all').find((node) => nodeName(node) === wanted);
  }

  /** Pipelines of single nodes never make ioredis ask again who owns what. */
  async #refreshSlots(patienceMs: number): Promise<void> {
    const client = this.#client;
    if (!isCluster(client)) return;
    const refreshed = new Promise<void>((resolve) => client.refreshSlotsCache(() => resolve()));
    await withTimeout(refreshed, patienceMs).catch(() => undefined);
  }
}

function outcomeOf(result: [Error | null, unknown] | undefined): Outcome {
  const error = result === undefined ? new Error('no reply') : result[0];
  if (error === null) return { kind: 'reply', reply: result?.[1] as RedisReply };
  // Anything but a reply of the server is a lost connection. Whether the command took effect is not known.
  if (error.name !== 'ReplyError') return { kind: 'again', error, pause: true };
  const passing = KEY_LEFT_SCRIPT.test(error.message) ? 'TRYAGAIN' : PASSING.exec(error.message)?.[1];
  if (passing === undefined) {
    const full = error.message.startsWith('OOM');
    const message = full ? `Redis is full: ${error.message}` : `Redis refused: ${error.message}`;
    return { kind: 'refused', error: new StoreRefusedError(message, full, { cause: error }) };
  }
  if (passing === 'ASK') {
    const askNode = error.message.split(' ')[2];
    if (askNode !== undefined) return { kind: 'again', error, askNode, pause: false };
  }
  return { kind: 'again', error, pause: passing !== 'MOVED' && passing !== 'NOSCRIPT' };
}

function isCluster(client: Redis | Cluster): client is Cluster {
  return client.isCluster;
}

function nodeName(node: Redis): string {
  return `${node.options.host}:${node.options.port}`;
}

const connections = new WeakMap<Redis | Cluster, { error?: Error }>();

/** Why the last connection was lost or not made: ioredis says so in events alone. One listener, however many stores. */
function watchConnection(client: Redis | Cluster): { readonly error?: Error } {
  const known = connections.get(client);
  if (known !== undefined) return known;
  const connection: { error?: Error } = {};
  const note = (error: Error): void => {
    connection.error = error;
  };
  if (isCluster(client)) client.on('node error', note);
  else client.on('error', note);
  // What went wrong before says nothing about a connection that is lost later.
  client.on('ready', () => {
    delete connection.error;
  });
  connections.set(client, connection);
  return connection;
}

/**
 * Waits for a connection that is being made. Commands do not wait in the offline queue of ioredis: it outlives the call that
 * filled it, and a claim that takes effect after its call was given up leases segments to nobody.
 */
async function becomesReady(node: Redis, endMs: number): Promise<boolean> {
  if (node.status === 'wait') node.connect().catch(() => undefined);
  while ((node.status === 'connecting' || node.status === 'connect') && performance.now() < endMs)
    await sleep(CONNECT_POLL_MS);
  return node.status === 'ready';
}

class NoReplyError extends Error {}

async function withTimeout<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new NoReplyError(`no reply within ${Math.round(milliseconds)} ms`)),
      Math.max(0, milliseconds),
    );
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
