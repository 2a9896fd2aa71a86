import { ChildProgram, type ProgramOptions, until } from './child-program.ts';
import { type MetricSamples, parseMetrics } from './prometheus-text.ts';

export { ChildProgram, type Ended, type ProgramOptions, until } from './child-program.ts';
export { type MetricSample, MetricSamples, parseMetrics } from './prometheus-text.ts';

/** A line of an app's log. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

const MAX_LOG_LINES = 5_000;
/** For a busy machine. */
const START_SECONDS = 60;
const ANSWER_MS = 5_000;
/** As in the images of the apps. */
const NODE_ARGS = ['--max-semi-space-size=16'];

export interface AppOptions extends ProgramOptions {
  /** How long it may take until it says that it is ready. */
  readonly startSeconds?: number;
  /** Called for each line of its log, as it is written. */
  readonly onLog?: (line: LogLine) => void;
}

/**
 * Starts an app and waits until it is ready. It listens on a free port of the loopback address unless `env` says otherwise.
 * @throws Error with the last lines of its log when it ends before, or takes too long; it is gone then.
 */
export async function startApp(options: AppOptions): Promise<AppProcess> {
  const app = new AppProcess(options);
  try {
    await app.untilReady(options.startSeconds ?? START_SECONDS);
    return app;
  } catch (error) {
    await app.kill();
    throw error;
  }
}

/** The consumer or the flusher as a child process. */
export class AppProcess extends ChildProgram {
  /** The latest lines of its log. */
  readonly log: readonly LogLine[] = [];
  readonly #onLog: ((line: LogLine) => void) | undefined;
  #port: number | undefined;

  /** Starts it; see `startApp`. */
  constructor(options: AppOptions) {
    const env = { SPANBUF_HTTP_HOST: '127.0.0.1', SPANBUF_HTTP_PORT: '0', ...options.env };
    super({ nodeArgs: NODE_ARGS, ...options, env });
    this.#onLog = options.onLog;
  }

  /** Where health and metrics are. @throws Error before it listens. */
  get url(): string {
    if (this.#port === undefined) throw new Error(`${this.name} does not listen yet`);
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Waits until `/readyz` says so. @throws Error when the app ends first, or not in time. */
  async untilReady(timeoutSeconds = START_SECONDS): Promise<void> {
    let problem = 'it does not listen yet';
    try {
      await until(`${this.name} is ready`, timeoutSeconds, async () => {
        if (this.hasEnded) throw new Error(`${this.name} ended`);
        problem = await this.readyProblem();
        return problem === '';
      });
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${problem}\n${this.lastWords}`, { cause: error });
    }
  }

  /** What `/readyz` says is wrong; '' when it is ready. */
  async readyProblem(): Promise<string> {
    if (this.#port === undefined) return 'it does not listen yet';
    const answer = await this.#get('/readyz').catch((error: Error) => error);
    if (answer instanceof Error) return `it does not answer: ${answer.message}`;
    return answer.status === 200 ? '' : answer.text.trim();
  }

  /** What it counts. @throws Error when it does not answer. */
  async metrics(): Promise<MetricSamples> {
    return parseMetrics((await this.#get('/metrics')).text);
  }

  /** The latest line of the log that contains `text`. */
  findLog(text: string): LogLine | undefined {
    return this.log.findLast(({ msg }) => msg.includes(text));
  }

  protected override onLine(line: string): void {
    const entry = parseLog(line);
    const log = this.log as LogLine[];
    log.push(entry);
    if (log.length > 2 * MAX_LOG_LINES) log.splice(0, log.length - MAX_LOG_LINES);
    this.#onLog?.(entry);
    // The only line with a port is the one that says where health and metrics are.
    if (typeof entry['port'] === 'number') this.#port = entry['port'];
  }

  async #get(path: string): Promise<{ status: number; text: string }> {
    const response = await fetch(this.url + path, { signal: AbortSignal.timeout(ANSWER_MS) });
    return { status: response.status, text: await response.text() };
  }
}

function parseLog(line: string): LogLine {
  try {
    const { level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
    return { level: String(level), msg: String(msg), ...fields };
  } catch {
    return { level: 'none', msg: line };
  }
}
