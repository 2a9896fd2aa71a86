import { createWriteStream, mkdirSync, type WriteStream, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { AppProcess, type MetricSamples } from '@spanbuf/stack/processes';

/** An orchestrator's first pause before it starts something again. */
const RESTART_SECONDS = 1;
const CLOCK = `${import.meta.dirname}/shifted-clock.ts`;

export interface SupervisedAppOptions {
  readonly name: string;
  /** Path of its JavaScript file. */
  readonly main: string;
  readonly env: Readonly<Record<string, string>>;
  /** Where its log and its clock are kept. */
  readonly folder: string;
}

/** A process that ended without being asked to by a fault. */
export interface UnexpectedEnd {
  readonly app: string;
  /** Unix milliseconds. */
  readonly atMs: number;
  readonly code: number | null;
  readonly lastWords: string;
}

/** An app that is started again whenever it ends, until `stop()`. */
export class SupervisedApp {
  readonly name: string;
  readonly unexpectedEnds: UnexpectedEnd[] = [];
  readonly #options: SupervisedAppOptions;
  readonly #clockFile: string;
  readonly #log: WriteStream;
  #process: AppProcess | undefined;
  #startCount = 0;
  #isStopped = false;
  /** Of a process that a fault kills: how long until the next. */
  #downSeconds: number | undefined;
  #kept: Promise<void> = Promise.resolve();

  /** Does not start it yet. */
  constructor(options: SupervisedAppOptions) {
    this.name = options.name;
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
    this.#clockFile = `${options.folder}/${options.name}.clock`;
    this.#log = createWriteStream(`${options.folder}/${options.name}.log`);
    this.shiftClock(0);
  }

  start(): void {
    this.#kept = this.#keepRunning();
  }

  get startCount(): number {
    return this.#startCount;
  }

  /** Undefined while it is down. */
  get pid(): number | undefined {
    return this.#process?.hasEnded === false ? this.#process.pid : undefined;
  }

  /** `kill -9`; it is started again after so long. */
  async kill(downSeconds: number): Promise<void> {
    this.#downSeconds = downSeconds;
    await this.#process?.kill();
  }

  freeze(): void {
    this.#process?.freeze();
  }

  thaw(): void {
    this.#process?.thaw();
  }

  /** @param seconds - By how much the clock is wrong from now on. */
  shiftClock(seconds: number): void {
    writeFileSync(this.#clockFile, String(seconds));
  }

  /** What keeps it from being ready, '' when it is. */
  async readyProblem(): Promise<string> {
    return this.#process === undefined || this.#process.hasEnded ? 'it is down' : this.#process.readyProblem();
  }

  /** @throws Error when it does not answer. */
  async metrics(): Promise<MetricSamples> {
    if (this.#process === undefined) throw new Error(`${this.name} is down`);
    return this.#process.metrics();
  }

  /** Ends it at once, and for good. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#process?.kill();
    await this.#kept;
    this.#log.end();
  }

  async #keepRunning(): Promise<void> {
    const { name, main, env } = this.#options;
    while (!this.#isStopped) {
      this.#startCount += 1;
      const running = new AppProcess({
        name,
        main,
        env: { ...env, CHAOS_CLOCK_FILE: this.#clockFile, NODE_OPTIONS: `--import=${CLOCK}` },
        onLog: (line) => this.#log.write(`${JSON.stringify(line)}\n`),
        onStderr: (line) => this.#log.write(`stderr: ${line}\n`),
      });
      this.#process = running;
      const { code } = await running.ended;
      const downSeconds = this.#downSeconds;
      this.#downSeconds = undefined;
      if (downSeconds === undefined && !this.#isStopped) {
        const lastWords = running.lastWords.split('\n').slice(-3).join('\n');
        this.unexpectedEnds.push({ app: name, atMs: Date.now(), code, lastWords });
      }
      if (!this.#isStopped) await delay(1_000 * (downSeconds ?? RESTART_SECONDS));
    }
  }
}
