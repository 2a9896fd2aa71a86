/** Does on this machine, in a folder, what a Dockerfile says: for machines without Docker. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { basename, delimiter, join, matchesGlob, relative } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../toolchain.mjs';

const RUN_TIMEOUT_MS = 240_000;
const NODE = join(ROOT, 'node_modules', 'node', 'bin');

/** What a Dockerfile's last stage makes, as files in a folder. */
export interface BuiltImage {
  /** The folder that stands for `/`. Only what COPY brought is in it, nothing of the base image. */
  readonly root: string;
  /** Folder that stands for the last WORKDIR. */
  readonly workdir: string;
  readonly entrypoint: readonly string[];
  /** As in the file, by instruction; those of the last stage that take no part in the building: USER, EXPOSE, … */
  readonly settings: Readonly<Record<string, string>>;
}

/**
 * Carries out every FROM, WORKDIR, COPY and RUN. Each stage has a folder for `/`; commands run in it, so a file may
 * name absolute paths in WORKDIR and COPY, and only relative ones in RUN. Cache mounts are left out.
 * @param dockerfile - Its path; the context is the root of the workspace.
 * @param scratch - An empty folder outside of the workspace.
 * @throws Error naming the instruction that failed or is not known here, with the command's output.
 */
export async function buildImage(dockerfile: string, scratch: string): Promise<BuiltImage> {
  const stages = new Map<string, string>();
  let [root, directory, entrypoint, settings] = ['', '/', [] as string[], {} as Record<string, string>];
  for (const [instruction, rest] of readInstructions(readFileSync(dockerfile, 'utf8'))) {
    if (instruction === 'FROM') {
      const name = /^\S+ AS (\S+)$/.exec(rest)?.[1] ?? 'last';
      [root, directory, entrypoint, settings] = [join(scratch, name), '/', [], {}];
      mkdirSync(root);
      stages.set(name, root);
    } else if (instruction === 'WORKDIR') {
      directory = rest;
      mkdirSync(join(root, directory), { recursive: true });
    } else if (instruction === 'COPY') {
      const [, from, source = '', target = ''] = /^(?:--from=(\S+) )?(\S+) (\S+)$/.exec(rest) ?? [];
      const stage = from === undefined ? undefined : stages.get(from);
      if (!target.endsWith('/') || (from !== undefined && stage === undefined)) throw new Error(`COPY ${rest}`);
      copy(join(stage ?? ROOT, source), join(root, directory, target), stage === undefined);
    } else if (instruction === 'RUN') {
      const command = rest.replace(/^(?:--mount=type=cache,\S+ )*/, '');
      await runIn(root, join(root, directory), command);
    } else if (instruction === 'ENTRYPOINT') {
      entrypoint = JSON.parse(rest);
    } else if (/^(?:ARG|LABEL|USER|EXPOSE|STOPSIGNAL)$/.test(instruction)) {
      settings[instruction] = rest;
    } else {
      throw new Error(`${dockerfile}: no rule for ${instruction}`);
    }
  }
  return { root, workdir: join(root, directory), entrypoint, settings };
}

/** Instructions in order, continued lines joined, comments left out. */
export function readInstructions(text: string): [instruction: string, rest: string][] {
  const lines = text.replace(/^#.*\n/gm, '').replace(/\\\n\s*/g, '');
  return [...lines.matchAll(/^([A-Z]+) (.+)$/gm)].map(([, instruction = '', rest = '']) => [instruction, rest]);
}

/** Copies a file into a folder, or what a folder holds; from the context without what .dockerignore names. */
function copy(source: string, target: string, fromContext: boolean): void {
  mkdirSync(target, { recursive: true });
  const isIgnored = fromContext ? readIgnoreFile() : () => false;
  const filter = (path: string) => !isIgnored(relative(ROOT, path));
  const to = statSync(source).isDirectory() ? target : join(target, basename(source));
  cpSync(source, to, { recursive: true, verbatimSymlinks: true, filter });
}

function readIgnoreFile(): (path: string) => boolean {
  const patterns = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
  const rules = patterns.filter((line) => line !== '' && !line.startsWith('#'));
  if (rules.some((rule) => rule.startsWith('!'))) throw new Error('.dockerignore: no rule for "!" here');
  // A folder that is left out is not entered, so what it holds needs no rule.
  return (path) => rules.some((rule) => matchesGlob(path, rule));
}

/** With the pinned Node, and `npm install --global` into the stage. Package clients may use what this machine has. */
async function runIn(root: string, cwd: string, command: string): Promise<void> {
  const prefix = join(root, 'usr', 'local');
  const env = {
    ...plainEnvironment(),
    PATH: [join(prefix, 'bin'), NODE, process.env['PATH']].join(delimiter),
    npm_config_prefix: prefix,
    npm_config_prefer_offline: 'true',
  };
  if (!existsSync(join(NODE, 'node'))) throw new Error(`${NODE} has no node: run npm start once`);
  try {
    await promisify(execFile)('sh', ['-c', command], { cwd, env, timeout: RUN_TIMEOUT_MS, maxBuffer: 2 ** 26 });
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error(`RUN ${command}\n${stdout}${stderr}\n${message.split('\n')[0]}`, { cause: error });
  }
}

/** Without what vitest, npm and this workspace set: a build and an app must not depend on it. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const foreign = /^(?:NODE_PATH|NODE_OPTIONS|NODE_ENV|VITEST.*|SPANBUF_.*|npm_(?:package|lifecycle)_.*)$/;
  const own = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return { ...Object.fromEntries(own), TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1', NO_COLOR: '1' };
}
