/**
 * Where the Kafka broker comes from: its jars, fetched once with Maven into node_modules, beside a class-data archive
 * that halves the time a broker takes to start.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify, stripVTControlCharacters } from 'node:util';

const POM = join(import.meta.dirname, 'kafka', 'pom.xml');
/** In node_modules: Git ignores it, and it goes when they go. */
const CACHE = join(import.meta.dirname, '..', 'node_modules', '.cache', 'kafka');
const MIN_JAVA_MAJOR = 17;
const FETCH_TIMEOUT_MS = 5 * 60_000;

/** There can be no Kafka broker on this machine; the message says in one line what is missing. */
export class KafkaMissingError extends Error {
  override readonly name = 'KafkaMissingError';
  readonly code = 'KAFKA_MISSING';
}

/** What `java` needs to run Kafka. */
export interface KafkaJars {
  readonly classPath: string;
  /** Where the class-data archive is, or will be once somebody has made one. Made for one version of Java. */
  readonly archive: string;
  /** Of Kafka, as `4.3.1`. */
  readonly version: string;
}

/**
 * Finds the jars, and fetches them when they are not there yet (about 45 MB). Two processes may do so at once.
 * @throws KafkaMissingError when Java or Maven is missing, or when Maven cannot fetch them.
 */
export async function kafkaJars(): Promise<KafkaJars> {
  const java = await javaVersion();
  const pom = readFileSync(POM, 'utf8');
  const version = /<kafka\.version>(.*)<\/kafka\.version>/.exec(pom)?.[1] ?? 'unknown';
  const directory = join(CACHE, `${version}-${digest(pom)}`);
  if (!existsSync(directory)) await fetchJars(directory);
  const jars = readdirSync(directory).filter((name) => name.endsWith('.jar'));
  return {
    // In one order always: the archive is refused for another one.
    classPath: jars
      .sort()
      .map((name) => join(directory, name))
      .join(':'),
    archive: join(directory, `classes-${digest(java)}.jsa`),
    version,
  };
}

const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 8);

/** What `java -version` prints. */
async function javaVersion(): Promise<string> {
  const { stderr } = await promisify(execFile)('java', ['-version']).catch(() => {
    throw new KafkaMissingError(`Kafka needs Java ${MIN_JAVA_MAJOR}. On Debian: apt-get install default-jre-headless`);
  });
  const major = Number(/version "(\d+)/.exec(stderr)?.[1]);
  if (major >= MIN_JAVA_MAJOR) return stderr;
  throw new KafkaMissingError(`Kafka needs Java ${MIN_JAVA_MAJOR} or newer, this is ${stderr.split('\n')[0]}`);
}

/** Into a directory beside it first: whoever sees the directory sees all the jars. */
async function fetchJars(directory: string): Promise<void> {
  mkdirSync(dirname(directory), { recursive: true });
  const fetched = mkdtempSync(`${directory}-`);
  try {
    await maven(['dependency:copy-dependencies', `-DoutputDirectory=${fetched}`, '-DincludeScope=runtime']);
    renameSync(fetched, directory);
  } catch (error) {
    // Another process was quicker: it has put the same jars there.
    if (!existsSync(directory)) throw error;
  } finally {
    rmSync(fetched, { recursive: true, force: true });
  }
}

async function maven(goals: readonly string[]): Promise<void> {
  const child = spawn('mvn', ['--batch-mode', '--quiet', '--file', POM, ...goals], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: FETCH_TIMEOUT_MS,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const [code] = await once(child, 'close').catch(() => {
    throw new KafkaMissingError('Kafka is fetched with Maven, which is missing. On Debian: apt-get install maven');
  });
  if (code === 0) return;
  const reason = /\[ERROR\] (.+)/.exec(stripVTControlCharacters(output))?.[1] ?? `exit code ${code}`;
  throw new KafkaMissingError(`Maven cannot fetch Kafka: ${reason}`);
}
