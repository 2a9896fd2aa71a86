/** One Kafka broker process, which is a controller as well: see kafka-servers.ts. */
import { once } from 'node:events';
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KafkaConfig } from './kafka-config.ts';
import type { KafkaJars } from './kafka-jars.ts';
import { ServerProcess, until } from './server-process.ts';

/** For a machine that is busy with other things. It takes 2 to 4 seconds on two idle cores. */
const START_TIMEOUT_MS = 60_000;
const LOG_CONFIG = join(import.meta.dirname, 'kafka', 'log4j2.properties');

/** After `kill()` it can be started again with `restart()`, on the same ports and with its data. */
export class KafkaServer extends ServerProcess {
  /** 1, 2, …: the id of the broker, as clients see it. */
  readonly nodeId: number;
  readonly #jars: KafkaJars;
  readonly #config: KafkaConfig;
  readonly #formatArgs: readonly string[];
  readonly #heapMegabytes: number;

  /** Use `startKafka` instead. `formatArgs` are passed to StorageTool's `format`. */
  constructor(
    jars: KafkaJars,
    nodeId: number,
    config: KafkaConfig,
    formatArgs: readonly string[],
    heapMegabytes: number,
  ) {
    super('kafka');
    this.#jars = jars;
    this.nodeId = nodeId;
    this.#config = config;
    this.#formatArgs = formatArgs;
    this.#heapMegabytes = heapMegabytes;
  }

  /**
   * Kills the process if it runs, starts it again and waits until it takes requests. After `kill()` that takes longer
   * by `broker.session.timeout.ms` at most: the controller first has to believe that the process of before is gone.
   * @throws Error with what Kafka printed when it does not start.
   */
  async restart(): Promise<void> {
    await this.kill('SIGKILL');
    await this.#start(`-XX:SharedArchiveFile=${this.#jars.archive}`);
  }

  /** Writes the class-data archive: starts the broker and ends it in an orderly way. Another process may do the same. */
  async writeArchive(): Promise<void> {
    const { archive } = this.#jars;
    const written = `${archive}-${process.pid}`;
    try {
      await this.#start(`-XX:ArchiveClassesAtExit=${written}`);
      await this.kill('SIGTERM');
      renameSync(written, archive);
    } finally {
      rmSync(written, { force: true });
    }
  }

  async #start(archiveOption: string): Promise<void> {
    const data = join(this.directory, 'data');
    const properties = join(this.directory, 'server.properties');
    if (!existsSync(data)) {
      const lines = Object.entries({ ...this.#config, 'log.dirs': data }).map(([name, value]) => `${name}=${value}\n`);
      writeFileSync(properties, lines.join(''));
      const formatting = this.#java(archiveOption, 'kafka.tools.StorageTool', [
        'format',
        '--config',
        properties,
        ...this.#formatArgs,
      ]);
      formatting.ref();
      const [code] = await once(formatting, 'exit');
      if (code !== 0) throw new Error(`Kafka's storage cannot be formatted:\n${this.output}`);
    }
    const child = this.#java(archiveOption, 'kafka.Kafka', [properties]);
    await until(`Kafka broker ${this.nodeId} has started`, START_TIMEOUT_MS, () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`Kafka did not start:\n${this.output}`);
      return this.output.includes('Kafka Server started');
    });
  }

  #java(archiveOption: string, mainClass: string, args: readonly string[]) {
    const options = [
      `-Xmx${this.#heapMegabytes}m`,
      '-XX:+UseSerialGC',
      // The optimising compiler would take 40 % more processor time to start, and no test runs long enough to get it back.
      '-XX:TieredStopAtLevel=1',
      archiveOption,
      `-Dlog4j2.configurationFile=${LOG_CONFIG}`,
    ];
    return this.spawn('java', [...options, '-cp', this.#jars.classPath, mainClass, ...args]);
  }
}
