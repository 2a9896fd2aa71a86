import { SpanBuffer } from '@spanbuf/buffer';
import { formatLedgerKey } from '@spanbuf/keys';
import type { LayoutName } from '@spanbuf/store';
import {
  createLedgerIn,
  createLossWatchIn,
  createRedisStoreIn,
  loadScripts,
  type Script,
} from '@spanbuf/store/testing/controlled';
import type { ModelBooks } from './books-model.ts';
import { Chance } from './chance.ts';
import { Consumer } from './consumer.ts';
import { describeTrip } from './describe.ts';
import { runFlusher } from './flusher.ts';
import { ModelKafka, type Tenure } from './model-kafka.ts';
import { type Exec, NO_PLANT, type Plant } from './plants.ts';
import { SimulatedProcess, type Trip, type Turn } from './process.ts';
import { type Cut, type Mode, type Scenario, scenarioOf } from './scenario.ts';
import type { Command, Result, SimulationServers } from './servers.ts';
import { simulatedClient } from './simulated-client.ts';
import type { Connections, Stage } from './stage.ts';
import { Violation } from './violation.ts';
import { Witness } from './witness.ts';

/** What can happen to a round trip. */
const TRIP_FAULTS = {
  /** The connection is lost before anything has taken effect; or when some commands, or all, have. */
  'lost before': 3,
  'cut short': 2,
  'lost after': 4,
  /** The connection is lost, and the commands take effect all the same, some time later. */
  'lost, arrives late': 2,
  'dies before': 1,
  'dies after': 1,
  'freezes before': 2,
  'freezes after': 2,
} as const;
type TripFault = keyof typeof TRIP_FAULTS;

/** What happens besides round trips. Those that are not faults keep the world going. */
const EVENTS = {
  input: 30,
  'time passes': 30,
  'takes over': 12,
  wakes: 12,
  starts: 12,
  'puts back': 4,
  rebalance: 4,
  'scripts flushed': 1,
  'time jumps': 3,
  'no reply': 3,
  emptied: 2,
} as const;
type Event = keyof typeof EVENTS;
const EVENT_FAULTS: ReadonlySet<Event> = new Set(['rebalance', 'scripts flushed', 'time jumps', 'no reply', 'emptied']);

/** Part of the steps that are events, while everything may happen. */
const EVENT_SHARE = 0.15;
/** How often the process that went last goes on. */
const STREAK = 0.5;
const START_MS = 1_700_000_000_000;
/** Steps after everything has healed: far more than anything needs. */
const MOST_STEPS = 3_000;
/** Times that everything is read and flushed in the end, until nothing is missing. */
const HEALING_TURNS = 4;
const NO_BOOKS: ModelBooks = { base: 0, taken: 0, ended: new Set() };
const NO_BOOKS_READ = { takenOffset: 0n, firstOpenOffset: 0n, openCount: 0 };
/** Left of the life of a payload, for the end to come. */
const SAFETY_MS = 20_000;

export interface RunOptions {
  readonly seed: number;
  readonly layout: LayoutName;
  readonly mode: Mode;
  readonly plant?: Plant;
  readonly cut?: Cut;
  /** Which faults happen, by the order in which they would; by default all. */
  readonly faults?: ReadonlySet<number>;
  /** Whether to write down every step. */
  readonly isTraced?: boolean;
}

export interface RunResult {
  readonly violation: Violation | undefined;
  /** Round trips. */
  readonly steps: number;
  readonly faults: ReadonlyMap<string, number>;
  /** How many faults might have happened: their ordinals are below it. */
  readonly faultCount: number;
  /** Steps in which anything could happen. */
  readonly chaosSteps: number;
  readonly spanCount: number;
  readonly trace: readonly string[];
}

const scripts = loadScripts();

/** Runs one seed on servers that nobody else uses meanwhile. The same options give the same result, to the letter. */
export async function runSeed(servers: SimulationServers, options: RunOptions): Promise<RunResult> {
  return new World(servers, options).run();
}

/** One run: processes, and a scheduler that lets one round trip happen after the other. */
class World implements Stage {
  readonly scenario: Scenario;
  readonly kafka: ModelKafka;
  readonly witness: Witness;
  readonly #servers: SimulationServers;
  readonly #options: RunOptions;
  readonly #exec: (trip: Trip) => Promise<{ results: Result[]; incarnations: string[]; books: Result[] }>;
  readonly #processes: SimulatedProcess[] = [];
  /** Commands whose sender has given them up. */
  readonly #late: Trip[] = [];
  readonly #faults = new Map<string, number>();
  readonly #trace: string[] = [];
  readonly #works = new Map<SimulatedProcess, (tenure: Tenure) => void>();
  /** Partitions that are being read, by whom. */
  readonly #reading = new Set<{ readonly process: SimulatedProcess }>();
  #haveBegun = false;
  #putBack = false;
  /** How often each node was started. */
  readonly #starts: number[];
  readonly #planted: readonly Script[];
  #phase: 'chaos' | 'stopping' | 'healed' = 'chaos';
  #step = 0;
  #trips = 0;
  #chaosSteps = 0;
  #faultCount = 0;
  #sent = 0;
  #started = 0;
  #last: SimulatedProcess | undefined;
  /** Message time, Unix seconds. */
  #messageSeconds = START_MS / 1000;
  #violation: Violation | undefined;

  constructor(servers: SimulationServers, options: RunOptions) {
    const { seed, layout, mode, cut, plant = NO_PLANT } = options;
    this.#servers = servers;
    this.#options = options;
    this.scenario = scenarioOf(seed, layout, mode, cut);
    this.kafka = new ModelKafka(this.scenario.partitions);
    const planted = scripts.map((script) => plant.script?.(script) ?? script);
    this.witness = new Witness(this.scenario, this.kafka, new Map(scripts.map(({ sha1, name }) => [sha1, name])));
    const exec = (node: number, commands: readonly Command[]): ReturnType<Exec> =>
      servers.exec(
        node,
        commands.map((command) => withPlanted(command, planted)),
      );
    const send: Exec = plant.around?.(exec) ?? exec;
    this.#exec = async (trip) => {
      const traces = this.witness.linkedTraces(trip);
      const looks = traces.map((key): Command => ({ name: 'hget', args: [key, 'i'] }));
      const booksReads = this.witness.books.reads(trip.commands);
      const commands = [...trip.commands, ...looks, ...booksReads];
      const { results, eternalKeys } = await send(trip.node, commands, trip.process.name);
      if (eternalKeys > 0) {
        const keys = await servers.keysWithoutTtl(trip.node);
        this.violate(new Violation('every key has a time to live', `${keys.join(' ')} has none`));
      }
      // Each server has another one.
      for (const [i, { name }] of trip.commands.entries())
        if (name === 'info') results[i] = [null, `run_id:n${trip.node}s${this.#starts[trip.node]}`];
      const books = results.splice(results.length - booksReads.length);
      const incarnations = results.splice(results.length - traces.length).map(([, reply]) => String(reply));
      return { results, incarnations, books };
    };
    this.#planted = planted;
    this.#starts = Array.from({ length: servers.nodeCount }, () => 1);
  }

  async run(): Promise<RunResult> {
    await this.#servers.reset(START_MS, this.#planted);
    this.witness.nowMs = START_MS;
    for (let i = 0; i < this.scenario.consumers; i++) this.#start('consumer');
    for (let i = 0; i < this.scenario.flushers; i++) this.#start('flusher');
    try {
      await this.#chaos();
      if (this.#violation === undefined) await this.#heal();
      if (this.#violation === undefined) await this.#judgeKeys();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.violate(error);
    }
    return {
      violation: this.#violation,
      steps: this.#trips,
      faults: this.#faults,
      faultCount: this.#faultCount,
      chaosSteps: this.#chaosSteps,
      spanCount: this.scenario.spans.length,
      trace: this.#trace,
    };
  }

  // What programs of processes use.

  get messageSeconds(): number {
    return this.#messageSeconds;
  }

  get isCommitOnFlush(): boolean {
    return this.scenario.mode === 'flushed';
  }

  get isStopping(): boolean {
    return this.#phase === 'stopping';
  }

  get isReadingOver(): boolean {
    return this.isStopping && [...this.#reading].every(({ process }) => process.state === 'dead');
  }

  get haveBegun(): boolean {
    return this.#haveBegun;
  }

  get isHealed(): boolean {
    return this.#phase === 'healed';
  }

  /** Waits until the scheduler lets the process go on. */
  turn(process: SimulatedProcess, what: string, isReady: () => boolean = () => true): Promise<void> {
    return new Promise((resolve) => {
      if (process.state !== 'dead') process.waiting.add({ kind: 'turn', process, what, isReady, resolve });
    });
  }

  note(who: string, what: string): void {
    if (!this.#options.isTraced) return;
    const seconds = ((this.witness.nowMs - START_MS) / 1000).toFixed(1);
    this.#trace.push(`${String(this.#step).padStart(5)} ${seconds.padStart(8)} s  ${who.padEnd(4)} ${what}`);
  }

  violate(violation: Violation): void {
    this.#violation ??= violation;
    this.note('', `VIOLATION ${violation.invariant}: ${violation.message}`);
  }

  #connect(process: SimulatedProcess, layout: LayoutName): Connections {
    const { redisTtlSeconds, dedupeWindowSeconds, leaseSeconds, ...terms } = this.scenario;
    const { rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds, maxSegmentBytes, maxMessageBytes } = terms;
    const client = simulatedClient(this.#servers, (node, commands) => {
      const batches = new Map(process.batches);
      return new Promise((resolve, reject) => {
        if (process.state === 'dead') return;
        process.waiting.add({
          kind: 'trip',
          process,
          node,
          commands,
          sentMs: this.witness.nowMs,
          batches,
          resolve,
          reject,
        });
      });
    });
    const { clock, chance, name } = process;
    const policy = { rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds, maxSegmentBytes, maxMessageBytes };
    let stores = 0;
    return {
      openStore: (epoch) =>
        createRedisStoreIn(
          client,
          { layout, redisTtlSeconds, dedupeWindowSeconds, leaseSeconds, epoch },
          { clock, storeId: `${name}w${++stores}-`, nextList: () => chance.int(0, 2 ** 31 - 1) },
        ),
      openBuffer: (store, own) => new SpanBuffer(store, { ...policy, ...own }),
      ledger: this.scenario.hasBooks ? createLedgerIn(client, {}, clock) : undefined,
      losses: this.isCommitOnFlush ? createLossWatchIn(client, {}, clock) : undefined,
    };
  }

  // The scheduler.

  async #chaos(): Promise<void> {
    while (this.#step < this.scenario.steps && this.#violation === undefined) {
      await quiescence();
      if (this.#violation !== undefined) return;
      this.#step++;
      this.#chaosSteps++;
      const chance = new Chance(this.#options.seed, 3, this.#step);
      const ready = this.#ready();
      const isEvent = chance.is(EVENT_SHARE) || ready.length === 0;
      if (isEvent) await this.#event(chance);
      else await this.#let(this.#choose(chance, ready), chance);
    }
  }

  #ready(): (Trip | Turn | SimulatedProcess)[] {
    return this.#processes.flatMap((process) => {
      if (process.state !== 'running') return [];
      const waiting = [...process.waiting].filter((one) => one.kind === 'trip' || one.isReady());
      return process.isPausing ? [...waiting, process] : waiting;
    });
  }

  #choose(chance: Chance, ready: readonly (Trip | Turn | SimulatedProcess)[]): Trip | Turn | SimulatedProcess {
    const own = ready.filter((one) => processOf(one) === this.#last);
    const chosen = own.length > 0 && chance.is(STREAK) ? chance.pick(own) : chance.pick(ready);
    this.#last = processOf(chosen);
    return chosen;
  }

  async #let(chosen: Trip | Turn | SimulatedProcess, chance: Chance): Promise<void> {
    if (chosen instanceof SimulatedProcess) {
      chosen.nextTimer();
    } else if (chosen.kind === 'turn') {
      chosen.process.waiting.delete(chosen);
      chosen.resolve();
    } else {
      chosen.process.waiting.delete(chosen);
      const isFault = this.#phase === 'chaos' && chance.is(this.scenario.faultRate) && this.#mayFail();
      await this.#trip(chosen, isFault ? chance.weighted(TRIP_FAULTS) : undefined, chance);
    }
  }

  /** Counts a fault, and says whether it is to happen. */
  #mayFail(): boolean {
    const ordinal = this.#faultCount++;
    return this.#options.faults?.has(ordinal) ?? true;
  }

  #count(fault: string): void {
    this.#faults.set(fault, (this.#faults.get(fault) ?? 0) + 1);
  }

  async #trip(trip: Trip, fault: TripFault | undefined, chance: Chance): Promise<void> {
    const { process } = trip;
    if (fault !== undefined) this.#count(fault);
    const lost = new Error('Connection is closed.');
    switch (fault) {
      case undefined:
        trip.resolve(await this.#execute(trip, ''));
        return;
      case 'lost before':
        this.note(process.name, describeTrip(trip, undefined, fault, scripts));
        trip.reject(lost);
        return;
      case 'cut short': {
        const commands = trip.commands.slice(0, chance.int(0, trip.commands.length - 1));
        if (commands.length > 0) await this.#execute({ ...trip, commands }, `${fault}: of ${trip.commands.length}`);
        trip.reject(lost);
        return;
      }
      case 'lost after':
        await this.#execute(trip, fault);
        trip.reject(lost);
        return;
      case 'lost, arrives late':
        this.note(process.name, describeTrip(trip, undefined, fault, scripts));
        this.#late.push(trip);
        trip.reject(lost);
        return;
      case 'dies before':
      case 'dies after':
        if (fault === 'dies after') await this.#execute(trip, fault);
        else this.note(process.name, describeTrip(trip, undefined, fault, scripts));
        this.#die(process);
        return;
      case 'freezes before':
        this.note(process.name, fault);
        process.waiting.add(trip);
        process.state = 'frozen';
        return;
      case 'freezes after':
        process.state = 'frozen';
        trip.resolve(await this.#execute(trip, fault));
        return;
    }
  }

  #die(process: SimulatedProcess): void {
    process.die();
    this.witness.died(process.name);
  }

  async #execute(trip: Trip, what: string): Promise<Result[]> {
    // No two things happen at the same moment.
    this.#setClock(this.witness.nowMs + 1);
    const { results, ...seen } = await this.#exec(trip);
    this.#trips++;
    this.note(trip.process.name, describeTrip(trip, results, what, scripts));
    this.witness.executed(trip, results, seen, this.#step);
    return results;
  }

  async #event(chance: Chance): Promise<void> {
    const event = chance.weighted(EVENTS);
    if (event === 'emptied' && !this.scenario.mayLoseData) return;
    if (EVENT_FAULTS.has(event) && (this.scenario.faultRate === 0 || !this.#mayFail())) return;
    if (EVENT_FAULTS.has(event)) this.#count(event);
    switch (event) {
      case 'input':
        this.#input(chance.int(1, 8));
        return;
      case 'time passes':
        this.#pass(chance.pick([0.1, 1, 1, 6, 6, 21, 31, 121]), chance.is(0.8));
        return;
      case 'time jumps':
        this.#pass(chance.pick([11, 61, 190]), false);
        return;
      case 'takes over':
        this.#takeOver(chance, false);
        return;
      case 'rebalance':
        this.#takeOver(chance, true);
        return;
      case 'wakes': {
        const frozen = this.#processes.filter(({ state }) => state === 'frozen');
        if (frozen.length > 0) this.#wake(chance.pick(frozen), chance.is(0.5));
        else if (this.#late.length > 0)
          await this.#arrive(this.#late.splice(chance.int(0, this.#late.length - 1), 1)[0] as Trip);
        return;
      }
      case 'starts':
        this.#restart(chance);
        return;
      case 'puts back':
        this.#putBack = true;
        return;
      case 'scripts flushed':
        this.note('', event);
        for (let node = 0; node < this.#servers.nodeCount; node++)
          await this.#servers.exec(node, [{ name: 'script', args: ['FLUSH'] }]);
        return;
      case 'emptied':
        await this.#empty(chance);
        return;
      case 'no reply': {
        const patient = this.#processes.filter(
          ({ state, hasTimer, isPausing }) => state === 'running' && hasTimer && !isPausing,
        );
        if (patient.length > 0) this.#giveUp(chance.pick(patient), chance);
        return;
      }
    }
  }

  #input(count: number): void {
    for (const span of this.scenario.spans.slice(this.#sent, this.#sent + count)) {
      this.kafka.append(span, this.#messageSeconds);
      this.note(
        '',
        `input ${span.partition}/${span.offset}: ${span.spanId} in ${span.traceId} under ${span.parentSpanId}`,
      );
    }
    this.#sent = Math.min(this.scenario.spans.length, this.#sent + count);
  }

  /** Never so much that spans may expire which wait, or which are being stored. */
  #pass(seconds: number, inMessages: boolean): void {
    const oldestMs = Math.min(this.witness.oldestMs, ...this.#storingSinceMs());
    const passMs = Math.max(0, Math.min(seconds * 1000, this.#usefulUntilMs(oldestMs) - this.witness.nowMs));
    this.#setClock(this.witness.nowMs + passMs);
    if (inMessages) this.#messageSeconds += passMs / 1000;
    this.note('', `${passMs / 1000} s pass${inMessages ? '' : ', not in messages'}`);
  }

  /** Until when payloads may be needed that were written at a time. */
  #usefulUntilMs(writtenMs: number): number {
    const { redisTtlSeconds, maxAgeSeconds, timeoutSeconds, leaseSeconds } = this.scenario;
    const ttlSeconds = Math.max(redisTtlSeconds, 3 * maxAgeSeconds + timeoutSeconds + 2 * leaseSeconds);
    return writtenMs + ttlSeconds * 1000 - SAFETY_MS;
  }

  #storingSinceMs(): number[] {
    return this.#processes
      .filter(({ state }) => state !== 'dead')
      .flatMap(({ batches }) => [...batches.values()].map(({ sinceMs }) => sinceMs));
  }

  #setClock(nowMs: number): void {
    this.#servers.clock.set(nowMs);
    this.witness.nowMs = nowMs;
  }

  #takeOver(chance: Chance, isForced: boolean): void {
    const alive = this.#processes.filter(({ name, state }) => name.startsWith('C') && state === 'running');
    const owners = new Set(alive.map(({ name }) => name));
    const open = this.kafka.partitions.filter(
      (partition) => isForced || !owners.has(this.kafka.tenureOf(partition)?.owner ?? ''),
    );
    if (open.length === 0) return;
    const partition = chance.pick(open);
    // A process finishes what it has in hand of a partition before it takes it again.
    const free = alive.filter(({ batches }) => !batches.has(partition));
    if (free.length > 0) this.#assign(partition, chance.pick(free));
  }

  #assign(partition: number, consumer: SimulatedProcess): void {
    this.note(consumer.name, `has partition ${partition} from ${this.kafka.committed(partition)} on`);
    this.#works.get(consumer)?.(this.kafka.assign(partition, consumer.name));
  }

  takePutBack(): boolean {
    const is = this.#putBack;
    this.#putBack = false;
    return is;
  }

  get isPutBackWanted(): boolean {
    return this.#putBack;
  }

  #wake(process: SimulatedProcess, timersFirst: boolean): void {
    this.note(process.name, 'wakes');
    process.state = 'running';
    // It sees at once how late it is: what it waited for counts as lost, before it looks at any reply.
    if (timersFirst && process.hasTimer) this.#giveUp(process, undefined);
  }

  /** Lets a process run out of patience with its replies. */
  #giveUp(process: SimulatedProcess, chance: Chance | undefined): void {
    this.note(process.name, 'has waited long enough for a reply');
    for (const one of [...process.waiting]) {
      if (one.kind !== 'trip') continue;
      process.waiting.delete(one);
      if (chance === undefined || chance.is(0.5)) this.#late.push(one);
    }
    while (process.hasTimer && !process.isPausing) process.nextTimer();
  }

  /** Nothing is on its way for longer than the payloads live that it refers to. */
  async #arrive(trip: Trip): Promise<void> {
    const sinceMs = Math.min(...[...trip.batches.values()].map((batch) => batch.sinceMs));
    if (this.witness.nowMs >= this.#usefulUntilMs(sinceMs) && this.witness.linkedTraces(trip).length > 0) return;
    await this.#execute({ ...trip, isLate: true }, 'arrives late');
  }

  /** A node loses its data, or all do: it is flushed, or it comes back empty. */
  async #empty(chance: Chance): Promise<void> {
    const nodes = [...this.#starts.keys()];
    const isRestart = chance.is(0.5);
    const emptied = chance.is(0.3) ? nodes : [chance.pick(nodes)];
    for (const node of emptied) {
      this.note('', `node ${node} ${isRestart ? 'restarts without its data' : 'is flushed'}`);
      await this.#servers.exec(node, [{ name: 'flushall', args: [] }]);
      if (isRestart) this.#starts[node] = (this.#starts[node] as number) + 1;
    }
    this.#setClock(this.witness.nowMs + 1);
    this.witness.emptied({
      isEverythingLost: emptied.length === nodes.length,
      areBooksLost: (partition) => emptied.includes(this.#servers.nodeOf(formatLedgerKey({ shard: partition }))),
    });
  }

  /** A process in place of one that is dead, or a restart of one that lives, perhaps with another layout. */
  #restart(chance: Chance): void {
    const { consumers, flushers, faultRate } = this.scenario;
    for (const [kind, letter, wanted] of [
      ['consumer', 'C', consumers],
      ['flusher', 'F', flushers],
    ] as const) {
      const alive = this.#processes.filter(({ name, state }) => name.startsWith(letter) && state === 'running');
      if (alive.length < wanted) {
        this.#start(kind, chance);
        return;
      }
      if (faultRate > 0 && chance.is(0.1) && this.#mayFail()) {
        const process = chance.pick(alive);
        this.#count('killed');
        this.note(process.name, 'is killed');
        this.#die(process);
        this.#start(kind, chance);
        return;
      }
    }
  }

  #start(kind: 'consumer' | 'flusher', chance?: Chance): void {
    const { layout, otherLayouts } = this.scenario;
    const name = `${kind === 'consumer' ? 'C' : 'F'}${++this.#started}`;
    const process = new SimulatedProcess(name, new Chance(this.#options.seed, 4, this.#started));
    const own = chance !== undefined && otherLayouts.length > 0 ? chance.pick(otherLayouts) : layout;
    if (own !== layout) this.#count('layout');
    this.note(name, `starts: ${kind}, ${own}`);
    this.#processes.push(process);
    const failed = (error: unknown): void => {
      if (error instanceof Violation) this.violate(error);
      else this.violate(new Violation('nothing unexpected happens', (error as Error).stack ?? String(error)));
    };
    const connections = this.#connect(process, own);
    if (kind === 'flusher') {
      runFlusher(this, process, connections).catch(failed);
    } else {
      const consumer = new Consumer(this, process, connections);
      this.#works.set(process, (tenure) => {
        const reading = { process };
        this.#reading.add(reading);
        consumer
          .work(tenure)
          .catch(failed)
          .finally(() => this.#reading.delete(reading));
      });
    }
  }

  // The end.

  /** Nothing fails any more: everything is read, and flushed. */
  async #heal(): Promise<void> {
    this.note('', 'everything heals');
    for (const process of this.#processes) if (process.state === 'frozen') this.#wake(process, false);
    this.#phase = 'stopping';
    await this.#untilIdle();
    for (const trip of this.#late.splice(0)) await this.#arrive(trip);
    await this.#untilIdle();
    this.#input(this.scenario.spans.length);
    this.#phase = 'healed';
    this.#start('consumer');
    const consumer = this.#processes.at(-1) as SimulatedProcess;
    for (const partition of this.kafka.partitions) this.#assign(partition, consumer);
    await this.#untilIdle();
    this.#haveBegun = true;
    await this.#untilIdle();
    // Once more, so that this consumer has to notice, and no other one comes that would read everything again anyway.
    const chance = new Chance(this.#options.seed, 6);
    if (this.isCommitOnFlush && this.scenario.faultRate > 0 && chance.is(0.3) && this.#mayFail()) {
      this.#count('emptied');
      await this.#empty(chance);
      await this.#untilIdle();
    }
    // It may be the flusher who finds that something is missing.
    for (let turn = 0; turn === 0 || (this.isCommitOnFlush && !this.#isAllCommitted && turn < HEALING_TURNS); turn++) {
      this.#setClock(this.witness.nowMs + this.scenario.leaseSeconds * 1000 + 1000);
      this.#start('flusher');
      await this.#untilIdle();
    }
    if (this.#violation !== undefined) return;
    this.witness.complete();
    await this.#judgeBooks();
  }

  async #untilIdle(): Promise<void> {
    for (let steps = 0; this.#violation === undefined; steps++) {
      await quiescence();
      const ready = this.#ready();
      if (ready.length === 0 || this.#violation !== undefined) return;
      if (steps > MOST_STEPS) throw new Violation('everything comes to an end', `it goes on after ${MOST_STEPS} steps`);
      this.#step++;
      const chance = new Chance(this.#options.seed, 5, this.#step);
      await this.#let(this.#choose(chance, ready), chance);
    }
  }

  get #isAllCommitted(): boolean {
    return this.kafka.partitions.every((partition) => this.kafka.committed(partition) === this.kafka.endOf(partition));
  }

  /** Everything in them has come to its end, and is counted once; also as they are read. */
  async #judgeBooks(): Promise<void> {
    if (!this.scenario.hasBooks) return;
    const client = simulatedClient(this.#servers, (node, commands) =>
      this.#servers.exec(node, commands).then(({ results }) => results),
    );
    const ledger = createLedgerIn(client, {}, new SimulatedProcess('', new Chance(0)).clock);
    const committed = new Map(this.kafka.partitions.map((each) => [each, BigInt(this.kafka.committed(each))]));
    const books = new Map((await ledger.read(this.kafka.partitions, committed)).map((each) => [each.partition, each]));
    for (const partition of this.kafka.partitions) {
      const end = this.kafka.endOf(partition);
      const settledFrom = this.witness.settledFrom(partition);
      // Nobody has written in them since they were lost: all of it was committed.
      if (this.isCommitOnFlush && settledFrom === end) continue;
      const model = this.witness.books.of(partition) ?? NO_BOOKS;
      const open = openIn(model);
      const { takenOffset, firstOpenOffset, openCount } = books.get(partition) ?? NO_BOOKS_READ;
      const wrong = this.isCommitOnFlush
        ? open.filter((offset) => offset >= settledFrom)
        : this.witness.wronglySettled(partition, model);
      if (Number(takenOffset) !== end || Number(firstOpenOffset) !== end || wrong.length > 0)
        throw new Violation(
          'the books come to an end',
          `${partition}: taken ${takenOffset} of ${end}, first open ${firstOpenOffset}, wrong ${wrong.join(' ')} of open ${open.join(' ')}`,
        );
      if (openCount !== open.length)
        throw new Violation(
          'the books are read as they are',
          `partition ${partition}: open ${openCount} of ${open.length}`,
        );
    }
  }

  async #judgeKeys(): Promise<void> {
    const { dedupeWindowSeconds } = this.scenario;
    this.#setClock(this.witness.nowMs + dedupeWindowSeconds * 1000 + 1);
    const traces = (await this.#servers.keys()).filter(
      (key) => key.startsWith('span-buf:ssr:') && !this.witness.mayStay(key),
    );
    if (traces.length > 0) throw new Violation('a trace is forgotten after its window', traces.join(' '));
    this.#setClock(this.witness.nowMs + 31 * 86_400_000);
    const keys = await this.#servers.keys();
    if (keys.length > 0) throw new Violation('nothing is left in the end', keys.join(' '));
  }
}

/** Everybody waits for the scheduler: promises are settled before the loop turns. */
function quiescence(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function openIn({ base, taken, ended }: ModelBooks): number[] {
  return Array.from({ length: taken - base }, (_, i) => base + i).filter((offset) => !ended.has(offset));
}

function processOf(one: Trip | Turn | SimulatedProcess): SimulatedProcess {
  return one instanceof SimulatedProcess ? one : one.process;
}

/** The command with its script as it is planted. */
function withPlanted(command: Command, planted: readonly Script[]): Command {
  const [first, ...rest] = command.args;
  if (command.name === 'evalsha') {
    const i = scripts.findIndex(({ sha1 }) => sha1 === first);
    return i < 0 ? command : { name: 'evalsha', args: [(planted[i] as Script).sha1, ...rest] };
  }
  if (command.name === 'script' && first === 'LOAD') {
    const i = scripts.findIndex(({ source }) => source === rest[0]);
    return i < 0 ? command : { name: 'script', args: ['LOAD', (planted[i] as Script).source] };
  }
  return command;
}
