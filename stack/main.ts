/** `npm run stack`: see `USAGE`. Run by tooling/stack.mjs, once everything is built. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Flow, formatBalance, formatFlow, isDrained, readFlow } from './flow.ts';
import { grouped } from './format-audit.ts';
import { parseOptions, type StackOptions, StackUsageError, USAGE } from './options.ts';
import type { ChildProgram } from './processes.ts';
import { runProgram } from './run-program.ts';
import { Stack, TOPICS } from './stack.ts';
import { verifyTopics } from './verify.ts';

const isTerminal = process.stdout.isTTY === true;
const STATUS_MS = isTerminal ? 1_000 : 5_000;
/** Nothing has moved for so long: it will not any more. Longer than the longest time-out of a segment. */
const STUCK_SECONDS = 300;

const stop = new AbortController();
const stack = new Stack();
let hasStatus = false;

function say(text: string): void {
  process.stdout.write(`${hasStatus ? '\r\x1b[K' : ''}${text}\n`);
  hasStatus = false;
}

function showStatus(text: string): void {
  if (!isTerminal) {
    say(text);
    return;
  }
  // A line that is longer than the terminal would not be written over.
  process.stdout.write(`\r\x1b[K${text.slice(0, (process.stdout.columns ?? 80) - 1)}`);
  hasStatus = true;
}

function loadArgs({ spans, rate, seed, invalidShare, lateShare }: StackOptions): string[] {
  const limits = [
    ...(spans === undefined ? [] : ['--spans', `${spans}`]),
    ...(rate === undefined ? [] : ['--rate', `${rate}`]),
  ];
  return [...limits, '--seed', `${seed}`, '--invalid-share', invalidShare, '--late-share', lateShare];
}

/** Shows what flows, until all of a load that has an end is out. @throws Error when an app or the load fails. */
async function watch(load: ChildProgram, hasEnd: boolean): Promise<Flow> {
  let before: Flow | undefined;
  let beforeMs = performance.now();
  let movedMs = beforeMs;
  for (;;) {
    const flow = await readFlow(stack);
    const nowMs = performance.now();
    showStatus(formatFlow(flow, before, (nowMs - beforeMs) / 1_000));
    for (const app of stack.apps) {
      if (app.hasEnded) throw new Error(`${app.name} ended:\n${app.lastWords}`);
    }
    if (load.hasEnded) {
      const { code } = await load.ended;
      if (code !== 0) throw new Error(`the load ended with ${code}:\n${load.lastWords}`);
      if (hasEnd && isDrained(flow)) return flow;
    }
    if (flow.sent !== before?.sent || flow.stored !== before.stored || flow.spansOut !== before.spansOut)
      movedMs = nowMs;
    if (nowMs - movedMs > STUCK_SECONDS * 1_000) throw new Error(`nothing has moved for ${STUCK_SECONDS} s`);
    [before, beforeMs] = [flow, nowMs];
    await delay(STATUS_MS, undefined, { signal: stop.signal });
  }
}

function secondsSince(startedMs: number): number {
  return Math.round((performance.now() - startedMs) / 1_000);
}

async function judge(flow: Flow, verify: boolean): Promise<boolean> {
  const { text, isBalanced } = formatBalance(flow);
  let isRight = true;
  if (verify) {
    say('reading the topics …');
    const startedMs = performance.now();
    const verification = await verifyTopics({
      kafka: stack.kafka,
      inputTopic: TOPICS.input,
      outputTopic: TOPICS.output,
      deadLetterTopic: TOPICS.deadLetters,
      runId: randomBytes(4).toString('hex'),
    });
    say(`${verification.text} (${secondsSince(startedMs)} s)`);
    isRight = verification.ok;
  }
  say(text);
  return isBalanced && isRight;
}

async function run(options: StackOptions): Promise<boolean> {
  const startedMs = performance.now();
  await stack.start({ ...options, say });
  stop.signal.throwIfAborted();
  say(`running, everything on this machine:\n${stack.addresses}`);
  say(options.spans === undefined ? 'Ctrl-C stops all of it.' : `sending ${grouped(options.spans)} spans …`);
  const flow = await watch(stack.startLoad(loadArgs(options), say), options.spans !== undefined);
  say(`all is out after ${secondsSince(startedMs)} s`);
  return judge(flow, options.verify);
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === undefined) {
    say(USAGE);
    return 0;
  }
  try {
    return (await run(options)) ? 0 : 1;
  } catch (error) {
    if (!stop.signal.aborted) say(`error: ${(error as Error).message}`);
    return stop.signal.aborted ? 0 : 1;
  } finally {
    say('stopping …');
    await stack.stop();
    say('stopped');
  }
}

await runProgram(main, stop, StackUsageError);
