#!/usr/bin/env node
/** The only file that touches the process, its environment, clocks and randomness. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { addAbortSignal } from 'node:stream';
import { assemble } from './assemble.ts';
import { runDoctor } from './doctor/run-doctor.ts';
import { exitOf } from './exit.ts';
import { contentsOf, openInput, openOutput } from './files.ts';
import type { RawGenerateSettings } from './generate/generate-settings.ts';
import { runGenerate } from './generate/run-generate.ts';
import { LineWriter } from './line-writer.ts';
import { MessageClock } from './message-clock.ts';
import { openStore } from './open-store.ts';
import type { LiveHost } from './operate/operate-host.ts';
import { runAudit } from './operate/run-audit.ts';
import { runInspect } from './operate/run-inspect.ts';
import { runParked } from './operate/run-parked.ts';
import { runQueues } from './operate/run-queues.ts';
import { runTop } from './operate/run-top.ts';
import { runTrace } from './operate/run-trace.ts';
import { createProgram } from './program.ts';
import { printable, Reporter } from './reporter.ts';
import { runRollout } from './rollout/run-rollout.ts';
import { parseSettings, type RawSettings } from './settings.ts';
import { runSize } from './size/run-size.ts';

/** How long work in progress may take to end after a signal; the second is for what is on its way to Kafka. */
const STOP_MS = 1_000;
const STOP_SENDING_MS = 10_000;
/** As in the help text of `doctor`. */
const DIAGNOSIS_CODES = { healthy: 0, fault: 1, unknown: 2 } as const;
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

const stop = new AbortController();
let stopMs = STOP_MS;
const reporter = new Reporter({
  write: (text) => process.stderr.write(text),
  isTerminal: process.stderr.isTTY === true,
  clockMs: () => performance.now(),
});

async function runAssemble(input: string, raw: RawSettings): Promise<void> {
  const settings = parseSettings(input, raw);
  const { limits, output, batchSize, shuffleSeed } = settings;
  if (settings.hasIdleLayout) reporter.say('note: --layout is about Redis and has no effect on --store memory');
  const stdin = settings.input === '-';
  const stream = addAbortSignal(stop.signal, stdin ? process.stdin : await openInput(settings.input));
  const clock = new MessageClock({
    maxStepSeconds: limits.rootTimeoutSeconds / 2,
    maxBackSeconds: limits.maxAgeSeconds,
  });
  const { store, close } = await openStore(settings.store, {
    layout: settings.layout,
    runId: randomBytes(6).toString('hex'),
    clock: () => clock.nowSeconds,
  });
  try {
    const stdout = output === '-';
    const writer = new LineWriter(
      stdout ? process.stdout : await openOutput(output, stdin ? undefined : settings.input),
      stdout ? 'stdout' : output,
    );
    const summary = await assemble({
      input: contentsOf(stream, stdin ? 'stdin' : settings.input),
      output: writer,
      store,
      clock,
      limits,
      batchSize,
      shuffleSeed,
      reporter,
      signal: stop.signal,
    });
    if (!stdout) await writer.end();
    reporter.say(summary.format(reporter.elapsedSeconds));
    if (summary.unaccounted !== 0)
      reporter.say('error: the spans that are unaccounted for went in and did not come out');
    process.exitCode = summary.isClean ? 0 : 1;
  } finally {
    close();
    stream.destroy();
  }
}

async function generate(raw: RawGenerateSettings): Promise<void> {
  if (raw.kafka !== undefined) stopMs = STOP_SENDING_MS;
  const isComplete = await runGenerate(raw, {
    env: process.env,
    stdout: process.stdout,
    stderr: process.stderr,
    clockMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    signal: stop.signal,
  });
  process.exitCode = isComplete ? 0 : 1;
}

function fail(error: unknown): void {
  const { code, message } = exitOf(error);
  if (message !== undefined) reporter.say(`error: ${printable(message)}`);
  if (message !== undefined && process.env['SPANBUF_DEBUG'] && error instanceof Error)
    reporter.say(String(error.stack));
  process.exitCode = code;
}

for (const [signal, code] of Object.entries(SIGNAL_CODES)) {
  process.once(signal, () => {
    stop.abort();
    process.exitCode = code;
    setTimeout(() => process.exit(code), stopMs).unref();
  });
}
process.stderr.on('error', () => undefined);
process.on('uncaughtException', (error) => {
  fail(error);
  process.exit();
});

/** Read when it is needed: the mere look at stdin would open it. */
function liveHost(): LiveHost {
  const { env, stdin, stdout } = process;
  return { env, stdin, stdout, signal: stop.signal, monotonicMs: () => performance.now() };
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
try {
  await createProgram({
    version,
    assemble: runAssemble,
    generate,
    inspect: (projectId, traceId, raw) =>
      runInspect(projectId, traceId, raw, { env: process.env, stdout: process.stdout, signal: stop.signal }),
    queues: (raw) => runQueues(raw, liveHost()),
    top: (raw) => runTop(raw, liveHost()),
    parked: (action, names, raw) =>
      runParked(action, names, raw, { env: process.env, stdout: process.stdout, signal: stop.signal }),
    audit: async (raw) => {
      const isClean = await runAudit(raw, { env: process.env, stdout: process.stdout, signal: stop.signal });
      process.exitCode = isClean ? 0 : 1;
    },
    rollout: async (action, layout, raw) => {
      const host = { env: process.env, stdout: process.stdout, signal: stop.signal };
      process.exitCode = (await runRollout(action, layout, raw, host)) ? 0 : 1;
    },
    doctor: async (raw) => {
      const host = { env: process.env, stdout: process.stdout, signal: stop.signal, clockMs: () => Date.now() };
      process.exitCode = DIAGNOSIS_CODES[await runDoctor(raw, host)];
    },
    size: (file, raw) =>
      runSize(file, raw, {
        env: process.env,
        stdin: process.stdin,
        stdout: process.stdout,
        reporter,
        signal: stop.signal,
      }),
    trace: async (action, names, raw) => {
      const isDone = await runTrace(action, names, raw, { env: process.env, stdout: process.stdout });
      process.exitCode = isDone ? 0 : 1;
    },
  }).parseAsync();
} catch (error) {
  if (!stop.signal.aborted) fail(error);
}
