/** One run of chaos: load, faults, recovery, judgement. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { verifyTopics } from '@spanbuf/stack/verify';
import { prepareKafka } from '@spanbuf/tooling/kafka-servers';
import { ChaosSystem, type CommitMode, callRedis, SETTINGS, TOPICS } from './chaos-system.ts';
import { bringAbout } from './faults.ts';
import { findEnds } from './find-ends.ts';
import { findRepeats } from './find-repeats.ts';
import { type ChaosReport, type FaultEvent, judge } from './judge.ts';
import { openButOut } from './judge-ledger.ts';
import type { FaultGroup, PlannedFault } from './schedule.ts';

export interface ChaosOptions {
  readonly mode: CommitMode;
  /** Of the load. */
  readonly seed: number;
  readonly groups: readonly FaultGroup[];
  /** The load goes on for so long, and until the last group of faults is over. */
  readonly minutes: number;
  readonly spansPerSecond: number;
  /** Of segments with a span that comes late, 0 to 1. Where Redis has lost a trace, it does not find its root any more. */
  readonly lateShare: number;
  /** For logs of the apps. */
  readonly folder: string;
  /** Told what happens. */
  readonly say: (text: string) => void;
  /** Ends it early, without a report. */
  readonly signal?: AbortSignal;
}

const INVALID_SHARE = 0.002;

/**
 * Starts the whole system, brings the faults about, heals everything, waits until all is out, and judges. Nothing is left
 * running.
 * @throws Error when the system does not start, the load ends by itself, or `signal` is aborted.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { mode, seed, groups, minutes, spansPerSecond, lateShare, folder, say, signal } = options;
  const startedMs = Date.now();
  say('starting Redis Cluster, Kafka and the apps …');
  const system = await ChaosSystem.start({ mode, folder });
  try {
    const versions = await versionsOf(system);
    const load = { spansPerSecond, invalidShare: INVALID_SHARE, lateShare, seed };
    await system.startLoad([
      ...['--rate', `${spansPerSecond}`, '--seed', `${seed}`],
      ...['--invalid-share', `${INVALID_SHARE}`, '--late-share', `${lateShare}`],
    ]);
    const run = new Run(system, { say, signal });
    const untilMs = performance.now() + minutes * 60_000;
    await run.all(groups);
    await delay(Math.max(0, untilMs - performance.now()), undefined, { signal });
    await system.stopLoad();
    say('the load has stopped; waiting until all is out …');
    await system.drained().catch((error: Error) => run.failures.push(`not drained: ${error.message}`));
    const books = await system.readBooks();
    const parkedSegments = await system.parkedCount();
    await system.stopApps();
    say('reading the topics …');
    const verification = await verifyTopics({
      kafka: system.kafka,
      inputTopic: TOPICS.input,
      outputTopic: TOPICS.output,
      deadLetterTopic: TOPICS.deadLetters,
      runId: randomBytes(4).toString('hex'),
    });
    // Nothing, as a rule.
    const ends = await findEnds({ kafka: system.kafka, topics: TOPICS }, openButOut(books, verification.lost));
    const areRepeated = verification.problems.countOf('twice under different flush ids') > 0;
    const repeats = areRepeated ? await findRepeats(system.kafka, TOPICS.output) : [];
    const apps = [...system.apps.values()].map(({ name, startCount, unexpectedEnds }) => ({
      name,
      startCount,
      unexpectedEnds,
    }));
    const about = { mode, startedMs, endedMs: Date.now(), versions, settings: SETTINGS, load, apps };
    return judge({
      about,
      events: run.events,
      failures: run.failures,
      verification,
      books,
      ends,
      repeats,
      parkedSegments,
    });
  } finally {
    say('stopping …');
    await system.stop();
  }
}

/** What was done, and what went wrong with doing it. */
class Run {
  readonly events: FaultEvent[] = [];
  readonly failures: string[] = [];
  readonly #system: ChaosSystem;
  readonly #say: (text: string) => void;
  readonly #signal: AbortSignal | undefined;

  constructor(system: ChaosSystem, { say, signal }: Pick<ChaosOptions, 'say'> & { signal: AbortSignal | undefined }) {
    this.#system = system;
    this.#say = say;
    this.#signal = signal;
  }

  /** Ends early when the system does not recover. */
  async all(groups: readonly FaultGroup[]): Promise<void> {
    const startMs = performance.now();
    for (const [index, { atSeconds, faults }] of groups.entries()) {
      await delay(Math.max(0, startMs + 1_000 * atSeconds - performance.now()), undefined, { signal: this.#signal });
      const events = await Promise.all(faults.map((planned) => this.#bring(planned, index + 1)));
      const overMs = Date.now();
      const problem = await this.#system.recovered().then(
        () => undefined,
        (error: Error) => error.message,
      );
      const recoverySeconds = Math.round((Date.now() - overMs) / 100) / 10;
      events.sort((a, b) => a.startedMs - b.startedMs);
      for (const event of events) this.events.push({ ...event, recoverySeconds });
      if (problem === undefined) {
        this.#say(`  all is well after ${recoverySeconds} s`);
        continue;
      }
      this.failures.push(`group ${index + 1}: did not recover: ${problem}`);
      this.#say(`  NOT WELL: ${problem}`);
      return;
    }
  }

  async #bring(planned: PlannedFault, group: number): Promise<Omit<FaultEvent, 'recoverySeconds'>> {
    await delay(1_000 * planned.delaySeconds);
    const startedMs = Date.now();
    const { fault, target, seconds, amount } = planned;
    this.#say(`${group}: ${fault} ${target} for ${seconds} s${amount === undefined ? '' : ` (${amount})`}`);
    let [detail, error] = ['', ''];
    try {
      detail = await bringAbout(this.#system, planned);
    } catch (reason) {
      error = (reason as Error).message;
      this.failures.push(`group ${group}: ${fault} of ${target} could not be done: ${error}`);
      this.#say(`  ${fault} could not be done: ${error}`);
    }
    return { ...planned, group, startedMs, endedMs: Date.now(), detail, error };
  }
}

async function versionsOf({ redis }: ChaosSystem): Promise<Record<string, string>> {
  const [node] = redis.nodes;
  const info = node === undefined ? '' : String(await callRedis(node, 'INFO', 'server'));
  const commit = await promisify(execFile)('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname }).catch(
    () => undefined,
  );
  return {
    spanbuf: commit?.stdout.trim() ?? 'unknown',
    node: process.versions.node,
    redis: /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown',
    kafka: (await prepareKafka()).version,
  };
}
