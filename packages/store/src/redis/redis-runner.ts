import { hashSlot } from '@spanbuf/keys';
import type { Cluster, Redis } from 'ioredis';
import { StoreRefusedError, StoreUnavailableError } from '../errors.ts';
import type { Script } from './script.ts';
import { type NodeCommand, type NodeResult, sendTogether } from './send-together.ts';

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

/** Time as a runner needs it. */
export interface RunnerClock {
  /** Milliseconds since any fixed moment; never goes back. */
  nowMs(): number;
  /** Calls back once, `milliseconds` from now. Returns what calls it off. */
  after(milliseconds: number, callback: () => void): () => void;
}

export interface RunnerOptions {
  /** How long to go on trying, milliseconds. Covers a failover with the default node timeout of 15 s. */
  readonly deadlineMs: number;
  /** How long one attempt may stay unanswered before the connection counts as lost, milliseconds. */
  readonly attemptMs: number;
  readonly clock: RunnerClock;
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

/** Before each command that a node is to take for a slot that is on its way to it. */
const ASKING: NodeCommand = { name: 'asking', args: [] };

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
 * Sends commands to the nodes that own their slots, one write per node, and repeats those that a moving, failing or
 * starting node did not take. A plain `Redis` counts as one node that owns every slot.
 */
export class RedisRunner {
  readonly #client: Redis | Cluster;
  readonly #deadlineMs: number;
  readonly #attemptMs: number;
  readonly #clock: RunnerClock;
  readonly #connection: { readonly error?: Error };

  constructor(client: Redis | Cluster, { deadlineMs, attemptMs, clock }: RunnerOptions) {
    this.#client = client;
    this.#clock = clock;
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
    const endMs = this.#clock.nowMs() + this.#deadlineMs;
    const leftMs = (): number => endMs - this.#clock.nowMs();
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
      if (pause || attempt >= FREE_ATTEMPTS) await sleep(this.#clock, pauseMs);
    }
    return replies;
  }

  /** What every master answers to a command without a key; `undefined` where it refuses, or does not answer at once. */
  async askMasters(name: string, args: readonly string[]): Promise<{ node: string; reply: RedisReply | undefined }[]> {
    const nodes = isCluster(this.#client) ? this.#client.nodes('master') : [this.#client];
    const command = { key: '', name, args };
    return Promise.all(
      nodes.map(async (node) => {
        const [outcome] = await this.#send(node, [{ command, asking: false }], this.#attemptMs);
        return { node: nodeName(node), reply: outcome?.kind === 'reply' ? outcome.reply : undefined };
      }),
    );
  }

  /**
   * Waits until `replicas` of every master have acknowledged what was written before, over the same connections.
   * @throws {@link StoreUnavailableError} when some have not within `waitMs`.
   */
  async awaitReplicas(replicas: number, waitMs: number): Promise<void> {
    const nodes = isCluster(this.#client) ? this.#client.nodes('master') : [this.#client];
    const command = { key: '', name: 'wait', args: [replicas, Math.ceil(waitMs)] };
    await Promise.all(
      nodes.map(async (node) => {
        const [outcome] = await this.#send(node, [{ command, asking: false }], waitMs + this.#attemptMs);
        if (outcome?.kind === 'refused') throw outcome.error;
        const acknowledged = outcome?.kind === 'reply' ? (outcome.reply as number) : 0;
        if (acknowledged >= replicas) return;
        throw new StoreUnavailableError(
          `${acknowledged} of ${replicas} replicas of ${nodeName(node)} acknowledged within ${waitMs} ms`,
        );
      }),
    );
  }

  /**
   * Keys of all masters that match a pattern, some `count` at a time, as Latin-1: each key that is there all the while at least
   * once, unless its slot moves meanwhile. One node after the other.
   * @throws {@link StoreUnavailableError} when a node has not answered within the deadline.
   */
  async *scan(pattern: string, count: number): AsyncGenerator<string[]> {
    const prefix = this.#client.options.keyPrefix ?? '';
    const match = prefix.replace(/[\\*?[\]]/g, '\\$&') + pattern;
    for (const node of isCluster(this.#client) ? this.#client.nodes('master') : [this.#client]) {
      let cursor = '0';
      do {
        const command = { key: '', name: 'scan', args: [cursor, 'MATCH', match, 'COUNT', count] };
        const [next, keys] = (await this.#ask(node, command)) as readonly [Buffer, readonly Buffer[]];
        if (keys.length > 0) yield keys.map((key) => key.toString('latin1').slice(prefix.length));
        cursor = String(next);
      } while (cursor !== '0');
    }
  }

  /** What one node answers, however often it has to be asked. */
  async #ask(node: Redis, command: RedisCommand): Promise<RedisReply> {
    const endMs = this.#clock.nowMs() + this.#deadlineMs;
    for (let attempt = 0; ; attempt++) {
      const [outcome] = await this.#send(node, [{ command, asking: false }], this.#attemptMs);
      if (outcome?.kind === 'reply') return outcome.reply;
      if (outcome?.kind === 'refused') throw outcome.error;
      if (this.#clock.nowMs() >= endMs) {
        const message = `${nodeName(node)} has not answered within ${this.#deadlineMs} ms: ${outcome?.error.message}`;
        throw new StoreUnavailableError(message, { cause: outcome?.error });
      }
      await sleep(this.#clock, Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempt, 16), LONGEST_PAUSE_MS));
    }
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
      return outcomeOf([null, await withTimeout(this.#clock, sent, patienceMs)]);
    } catch (error) {
      return outcomeOf([error as Error, null]);
    }
  }

  async #send(
    node: Redis,
    group: readonly { command: RedisCommand; asking: boolean }[],
    patienceMs: number,
  ): Promise<Outcome[]> {
    const endMs = this.#clock.nowMs() + patienceMs;
    const again = (error: Error): Outcome[] => group.map(() => ({ kind: 'again', error, pause: true }));
    // A connection that leaves a whole attempt unanswered counts as lost, and is made anew.
    const isPatient = patienceMs >= this.#attemptMs;
    if (!(await becomesReady(this.#clock, node, endMs))) {
      if (isPatient && this.#clock.nowMs() >= endMs) node.stream?.destroy();
      const cause = this.#connection.error;
      // A server that was reached, and does not let this user in.
      if (cause?.name === 'ReplyError' && node === this.#client) return group.map(() => outcomeOf([cause, null]));
      return again(new Error(`not connected to ${nodeName(node)}${cause ? `: ${cause.message}` : ''}`, { cause }));
    }
    const { stream } = node;
    const commands: NodeCommand[] = [];
    const positions: number[] = [];
    for (const { command, asking } of group) {
      if (asking) commands.push(ASKING);
      positions.push(commands.length);
      commands.push(command);
    }
    let results: NodeResult[];
    try {
      results = await withTimeout(this.#clock, sendTogether(node, commands), endMs - this.#clock.nowMs());
    } catch (error) {
      if (isPatient && error instanceof NoReplyError) stream.destroy();
      return again(error as Error);
    }
    const outcomes = positions.map((at) => outcomeOf(results[at]));
    await this.#loadMissing(node, group, outcomes, endMs - this.#clock.nowMs());
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
    const loads = [...missing.keys()].map(({ source }) => ({ name: 'script', args: ['LOAD', source] }));
    // A failure that passes shows as NOSCRIPT once more, and is tried again like everything else.
    const results = await withTimeout(this.#clock, sendTogether(node, loads), patienceMs).catch(() => null);
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
    await withTimeout(this.#clock, refreshed, patienceMs).catch(() => undefined);
  }
}

function outcomeOf(result: NodeResult | undefined): Outcome {
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
async function becomesReady(clock: RunnerClock, node: Redis, endMs: number): Promise<boolean> {
  if (node.status === 'wait') node.connect().catch(() => undefined);
  while ((node.status === 'connecting' || node.status === 'connect') && clock.nowMs() < endMs)
    await sleep(clock, CONNECT_POLL_MS);
  return node.status === 'ready';
}

class NoReplyError extends Error {}

async function withTimeout<T>(clock: RunnerClock, promise: Promise<T>, milliseconds: number): Promise<T> {
  let callOff: (() => void) | undefined;
  const timeout = new Promise<never>((_, reject) => {
    callOff = clock.after(Math.max(0, milliseconds), () =>
      reject(new NoReplyError(`no reply within ${Math.round(milliseconds)} ms`)),
    );
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    callOff?.();
  }
}

function sleep(clock: RunnerClock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(milliseconds, resolve);
  });
}
