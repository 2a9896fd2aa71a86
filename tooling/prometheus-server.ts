/** A real Prometheus for tests: reads metrics every second, and judges rules as often. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, HOST, releasePort, ServerProcess, until } from './server-process.ts';

const START_TIMEOUT_MS = 20_000;
const QUERY_TIMEOUT_MS = 10_000;

/** What is read. */
export interface ScrapeTarget {
  readonly job: string;
  /** `http://host:port`; `/metrics` is asked for. */
  readonly url: string;
}

export interface PrometheusOptions {
  /** A rule file, as text. */
  readonly rules: string;
  readonly targets: readonly ScrapeTarget[];
}

/** One series at one moment. */
export interface PrometheusSample {
  readonly labels: Readonly<Record<string, string>>;
  /** May be NaN. */
  readonly value: number;
}

export interface FiringAlert {
  readonly labels: Readonly<Record<string, string>>;
  /** Filled in. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Whether this machine has both, as Debian's package `prometheus` has. */
export function isPrometheusInstalled(): boolean {
  return ['prometheus', 'promtool'].every((program) => spawnSync(program, ['--version']).status === 0);
}

export class PrometheusServer extends ServerProcess {
  readonly #port: number;

  /** Use `startPrometheus` instead. */
  constructor(port: number) {
    super('prometheus');
    this.#port = port;
  }

  /** Starts the process and waits until it answers. */
  async start({ rules, targets }: PrometheusOptions): Promise<void> {
    const rulesFile = join(this.directory, 'rules.yml');
    const configFile = join(this.directory, 'prometheus.json');
    writeFileSync(rulesFile, rules);
    const groups = targets.map(({ job, url }) => ({ targets: [new URL(url).host], labels: { job } }));
    const config = {
      global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
      rule_files: [rulesFile],
      scrape_configs: [{ job_name: 'targets', static_configs: groups }],
    };
    writeFileSync(configFile, JSON.stringify(config));
    const child = this.spawn('prometheus', [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${join(this.directory, 'data')}`,
      `--web.listen-address=${HOST}:${this.#port}`,
      '--log.level=warn',
    ]);
    await until(`prometheus on port ${this.#port} answers`, START_TIMEOUT_MS, async () => {
      if (child.exitCode !== null) throw new Error(`prometheus did not start:\n${this.output}`);
      const answer = await fetch(`http://${HOST}:${this.#port}/-/ready`).catch(() => undefined);
      return answer?.ok === true;
    });
  }

  /** @param expr - PromQL that answers with a vector. @throws Error with what Prometheus says is wrong. */
  async query(expr: string): Promise<PrometheusSample[]> {
    const { result } = await this.#get('query', { query: expr });
    return (result as { metric: Record<string, string>; value: [number, string] }[]).map(({ metric, value }) => ({
      labels: metric,
      value: Number(value[1]),
    }));
  }

  async firingAlerts(): Promise<FiringAlert[]> {
    const { alerts } = await this.#get('alerts', {});
    return (alerts as (FiringAlert & { state: string })[]).filter(({ state }) => state === 'firing');
  }

  /** Stops the process at once and removes its directory. */
  async stop(): Promise<void> {
    await this.remove();
    releasePort(this.#port);
  }

  async #get(what: string, parameters: Record<string, string>): Promise<Record<string, unknown>> {
    const url = `http://${HOST}:${this.#port}/api/v1/${what}?${new URLSearchParams(parameters)}`;
    const response = await fetch(url, { signal: AbortSignal.timeout(QUERY_TIMEOUT_MS) });
    const answer = (await response.json()) as { data?: Record<string, unknown>; error?: string };
    if (answer.data === undefined) throw new Error(`${answer.error}: ${JSON.stringify(parameters)}`);
    return answer.data;
  }
}

/** Resolves when it answers, before it has read anything. @throws Error when it is not installed, or with its output when it does not start. */
export async function startPrometheus(options: PrometheusOptions): Promise<PrometheusServer> {
  const server = new PrometheusServer(await freePort());
  try {
    await server.start(options);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}
