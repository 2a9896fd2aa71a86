/** The whole of spanbuf for one test: both apps, built, on the run's own Kafka and Redis Cluster, with topics and queues of its own. */
import { execFile } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { createKafka, type Kafka, type OutgoingMessage } from '@spanbuf/kafka';
import { formatQueueKey } from '@spanbuf/keys';
import { type AppProcess, ChildProgram, startApp } from '@spanbuf/stack/processes';
import { type ProblemKind, type Verification, verifyTopics } from '@spanbuf/stack/verify';
import { connectCluster } from '@spanbuf/tooling/redis-clients';
import { type Cluster, Redis } from 'ioredis';
import { expect, inject, onTestFailed, onTestFinished } from 'vitest';

const ROOT = `${import.meta.dirname}/../..`;
export const mainOf = (app: string) => `${ROOT}/apps/${app}/dist/main.js`;

const METADATA_SECONDS = '2';
export const LEASE_SECONDS = 8;

/** Short, so that a test sees a segment end, and longer than the pauses inside a generated one. */
const TIMEOUTS = {
  SPANBUF_ROOT_TIMEOUT_SECONDS: '4',
  SPANBUF_TIMEOUT_SECONDS: '12',
  SPANBUF_SESSION_TIMEOUT_SECONDS: '6',
  // Longer than any pause of a busy machine, so that what comes out in pieces has another reason.
  SPANBUF_CLOCK_GRACE_SECONDS: '90',
  SPANBUF_LEASE_SECONDS: String(LEASE_SECONDS),
  SPANBUF_KAFKA_METADATA_SECONDS: METADATA_SECONDS,
};

export type Env = Readonly<Record<string, string>>;

export interface SystemOptions {
  /** Of the input topic; default 4. */
  readonly partitionCount?: number;
  /** For both apps. */
  readonly env?: Env;
  readonly brokers?: string;
  /** `redis-cluster://host:port,…`, reachable without a login. */
  readonly redisUrl?: string;
  /** Of the topics. */
  readonly inputConfig?: Readonly<Record<string, string>>;
  readonly outputConfig?: Readonly<Record<string, string>>;
}

export interface Load {
  readonly spans: number;
  /** Spans a second; as fast as possible without. */
  readonly rate?: number;
  /** Share of segments with a span that comes late; such a load takes up to 40 s longer. Default 0. */
  readonly lateShare?: number;
  readonly seed?: number;
  /** More options of `spanbuf generate`. */
  readonly args?: readonly string[];
}

/** Its last traces are cut wherever it is stopped. */
export interface EndlessLoad {
  readonly isRunning: boolean;
  /** Resolves when all that was sent is in Kafka. Expects that it has not ended by itself. */
  stop(): Promise<void>;
}

export class System {
  readonly brokers: string;
  readonly kafka: Kafka;
  readonly topics: { readonly input: string; readonly output: string; readonly deadLetters: string };
  readonly apps: AppProcess[] = [];
  readonly #env: Env;
  readonly #redisUrl: string;
  readonly #partitionCount: number;
  #redis: Cluster | undefined;
  readonly #id = randomBytes(4).toString('hex');

  private constructor({
    brokers = inject('kafkaBrokers'),
    redisUrl = inject('redisClusterUrl'),
    env = {},
    partitionCount = 4,
  }: SystemOptions) {
    this.#partitionCount = partitionCount;
    this.brokers = brokers;
    this.kafka = createKafka({ brokers: brokers.split(','), clientId: `e2e-${this.#id}` });
    this.topics = { input: `in-${this.#id}`, output: `out-${this.#id}`, deadLetters: `dlq-${this.#id}` };
    this.#redisUrl = redisUrl;
    this.#env = {
      ...TIMEOUTS,
      SPANBUF_KAFKA_BROKERS: brokers,
      SPANBUF_INPUT_TOPIC: this.topics.input,
      SPANBUF_OUTPUT_TOPIC: this.topics.output,
      SPANBUF_DLQ_TOPIC: this.topics.deadLetters,
      SPANBUF_CONSUMER_GROUP: `group-${this.#id}`,
      // The servers are shared with other tests; queues, clocks and flushers are not.
      SPANBUF_SLICE_ID: String(randomInt(1, 2 ** 24)),
      ...env,
    };
  }

  /** Topics are made, no app runs yet. Everything ends with the test. */
  static async open(options: SystemOptions = {}): Promise<System> {
    const system = new System(options);
    onTestFinished(() => system.#close());
    onTestFailed(() => system.#keepLogs());
    await setUsers(system.#redisUrl);
    const { input, output, deadLetters } = system.topics;
    await system.kafka.createTopics([
      { topic: input, partitionCount: system.#partitionCount, config: options.inputConfig ?? {} },
      { topic: output, partitionCount: 3, config: { 'max.message.bytes': '2000000', ...options.outputConfig } },
      { topic: deadLetters, partitionCount: 1 },
    ]);
    return system;
  }

  /** Ready when it resolves. */
  async consumer(env: Env = {}): Promise<AppProcess> {
    return this.#start('consumer', env);
  }

  async flusher(env: Env = {}): Promise<AppProcess> {
    return this.#start('flusher', env);
  }

  async #start(name: 'consumer' | 'flusher', env: Env): Promise<AppProcess> {
    const app = await startApp({ name, main: mainOf(name), env: { ...this.envOf(name), ...env } });
    this.apps.push(app);
    return app;
  }

  /** That the consumers are in. */
  get group(): string {
    return this.#env['SPANBUF_CONSUMER_GROUP'] as string;
  }

  /** Of its queues. */
  get sliceId(): number {
    return Number(this.#env['SPANBUF_SLICE_ID']);
  }

  /** How many segments are leased for longer than that from now on. */
  async leased(seconds: number): Promise<number> {
    const counts = Array.from({ length: this.#partitionCount }, (_, shard) => {
      const key = formatQueueKey({ shard, sliceId: this.sliceId, part: 'in-flight' });
      return this.redis.zcount(key, (Date.now() + seconds * 1_000) * 1_000, '+inf');
    });
    return (await Promise.all(counts)).reduce((sum, each) => sum + each);
  }

  /** A client that may do anything. */
  get redis(): Cluster {
    if (this.#redis === undefined) {
      const redis = connectCluster(this.#redisUrl);
      onTestFinished(() => redis.disconnect());
      this.#redis = redis;
    }
    return this.#redis;
  }

  /** As the app is run: under its own Redis user, which may do no more than it has to. */
  envOf(name: 'consumer' | 'flusher'): Env {
    return { ...this.#env, SPANBUF_REDIS_URL: withLogin(this.#redisUrl, `spanbuf-${name}`) };
  }

  /** `spanbuf rollout check`: what it says, where it says no. */
  async whyNot(layout: string): Promise<string> {
    const args = ['rollout', 'check', layout];
    const env = { ...this.#env, SPANBUF_REDIS_URL: this.#redisUrl };
    const program = new ChildProgram({ name: 'rollout', main: mainOf('cli'), args, env });
    const { code } = await program.ended;
    if (code !== 0) expect(code, program.lastWords).toBe(1);
    return code === 0 ? '' : program.stdout.join('\n');
  }

  /** Resolves when everything is in Kafka. */
  async generate({ spans, ...load }: Load): Promise<void> {
    const generator = this.#startGenerator({ ...load, args: ['--spans', String(spans), ...(load.args ?? [])] });
    const { code } = await generator.ended;
    expect(code, generator.lastWords).toBe(0);
  }

  /** A load that lasts for as long as the test needs it. */
  startLoad(load: Omit<Load, 'spans'> & { readonly rate: number }): EndlessLoad {
    const generator = this.#startGenerator(load);
    return {
      get isRunning() {
        return !generator.hasEnded;
      },
      stop: async () => {
        expect(generator.hasEnded, generator.lastWords).toBe(false);
        const { code } = await generator.stop();
        expect(code, generator.lastWords).toBe(0);
      },
    };
  }

  /** Sends messages, those of one partition in one batch. Resolves when they are in Kafka. */
  async send(messages: readonly OutgoingMessage[]): Promise<void> {
    const producer = await this.kafka.createProducer();
    const outcomes = await producer.send(this.topics.input, messages);
    await producer.close();
    for (const outcome of outcomes) if (outcome.status !== 'acked') throw outcome.error;
  }

  #startGenerator({ rate, seed = 1, lateShare = 0, args = [] }: Omit<Load, 'spans'>): ChildProgram {
    const all = [
      ...['generate', '--kafka', this.brokers, '--topic', this.topics.input],
      ...['--seed', String(seed), '--late-share', String(lateShare)],
      ...(rate === undefined ? [] : ['--rate', String(rate)]),
      ...args,
    ];
    const env = { SPANBUF_KAFKA_METADATA_SECONDS: METADATA_SECONDS };
    const generator = new ChildProgram({ name: 'generate', main: mainOf('cli'), args: all, env });
    onTestFinished(async () => void (await generator.kill()));
    return generator;
  }

  /** Resolves when everything that was sent is read, and nothing is left in the queues. */
  async drained(timeoutMs = 60_000): Promise<void> {
    await expect.poll(() => this.#left(), { timeout: timeoutMs, interval: 500 }).toEqual({ lag: 0, queued: 0 });
  }

  async #left(): Promise<{ lag: number; queued: number }> {
    const watermarks = await this.kafka.readWatermarks(this.topics.input);
    const committed = await this.kafka.readCommitted(this.group, this.topics.input);
    let lag = 0n;
    for (const [partition, { high, low }] of watermarks) lag += high - (committed.get(partition) ?? low);
    const flusher = this.apps.findLast(({ name, hasEnded }) => name === 'flusher' && !hasEnded);
    const queued = flusher === undefined ? Number.NaN : await sumOf(flusher, 'spanbuf_flusher_queued_segments');
    return { lag: Number(lag), queued };
  }

  /**
   * Judges what came out against what went in, and expects nothing lost, nothing changed, nothing in a wrong segment.
   * @param options - `maySplit`: segments had to go before they were complete, so that their pieces may have other roots.
   * `mayRepeat`: what was produced may have been forgotten, so that parts of it may come again.
   */
  async verified({ deadLetters = false, maySplit = false, mayRepeat = false } = {}): Promise<Verification> {
    const { input, output } = this.topics;
    const verification = await verifyTopics({
      kafka: this.kafka,
      inputTopic: input,
      outputTopic: output,
      deadLetterTopic: deadLetters ? this.topics.deadLetters : undefined,
      runId: randomBytes(4).toString('hex'),
    });
    const { problems, text } = verification;
    const isAllowed = (kind: ProblemKind) =>
      (maySplit && OF_SPLITS.has(kind)) || (mayRepeat && (OF_SPLITS.has(kind) || kind === OF_REPEATS));
    expect(
      problems.kinds.filter((kind) => !isAllowed(kind)),
      text,
    ).toEqual([]);
    return verification;
  }

  #keepLogs(): void {
    const folder = `${ROOT}/build/e2e-logs`;
    mkdirSync(folder, { recursive: true });
    for (const app of this.apps) {
      writeFileSync(`${folder}/${this.#id}-${app.name}-${app.pid}.log`, [...app.stdout, ...app.stderr].join('\n'));
    }
  }

  async #close(): Promise<void> {
    await Promise.all(this.apps.map((app) => app.kill()));
    await this.kafka.close();
  }
}

/** Sum of all samples of a metric. */
export async function sumOf(app: AppProcess, metric: string, labels: Env = {}): Promise<number> {
  return (await app.metrics()).sum(metric, labels);
}

/** Asks an app to end, and expects it to do so properly. */
export async function stop(app: AppProcess): Promise<void> {
  const { code } = await app.stop();
  expect(code, app.lastWords).toBe(0);
}

/** Spans as `spanbuf generate` writes them to a file, a line each. */
export async function generateLines({ spans, seed = 1, args = [] }: Load): Promise<string[]> {
  const all = ['generate', '--spans', String(spans), '--seed', String(seed), '--rate', '1000', ...args];
  const { stdout } = await promisify(execFile)(process.execPath, [mainOf('cli'), ...all], { maxBuffer: 2 ** 28 });
  return stdout.trimEnd().split('\n');
}

/** What a segment in pieces looks like: a piece without its root has another one, and so may what comes after the dedupe window. */
const OF_SPLITS: ReadonlySet<ProblemKind> = new Set([
  'wrong segment',
  'wrong is_segment',
  'wrong segment attribute',
  'generation with several flush ids',
]);

const OF_REPEATS: ProblemKind = 'twice under different flush ids';

const PASSWORDS = { 'spanbuf-consumer': 'consumer-password', 'spanbuf-flusher': 'flusher-password' } as const;

function withLogin(url: string, user: keyof typeof PASSWORDS): string {
  return url.replace('://', `://${user}:${PASSWORDS[user]}@`);
}

/** The users of deploy/redis/users.acl, with passwords of this run. */
async function setUsers(redisUrl: string): Promise<void> {
  const lines = readFileSync(`${ROOT}/deploy/redis/users.acl`, 'utf8').split('\n');
  for (const address of redisUrl.replace(/^.*:\/\//, '').split(',')) {
    const node = new Redis(`redis://${address}`);
    for (const [user, password] of Object.entries(PASSWORDS)) {
      // Selectors have blanks inside.
      const [, , ...rules] = lines.find((line) => line.startsWith(`user ${user} `))?.match(/\([^)]*\)|\S+/g) ?? [];
      await node.acl('SETUSER', user, 'reset', ...rules.filter((rule) => !rule.startsWith('>')), `>${password}`);
    }
    node.disconnect();
  }
}
