import { createTraceWatch, MAX_WATCHED_TRACES, type TraceWatch } from '@spanbuf/store';
import { LineWriter } from '../line-writer.ts';
import { UsageError } from '../settings.ts';
import type { OperateHost } from './operate-host.ts';
import { openSystemRedis } from './redis-connection.ts';
import { parseTraceSettings, type RawTraceSettings, type TraceAction, type TraceSettings } from './trace-settings.ts';

/** How long Redis may stay away while it is worked with. */
const DEADLINE_SECONDS = 10;

/**
 * `spanbuf trace`.
 * @returns Whether it did what was asked: false where a trace was not watched that is to be no longer.
 * @throws UsageError, or what the store throws when Redis cannot be used.
 */
export async function runTrace(
  action: TraceAction,
  names: readonly string[],
  raw: RawTraceSettings,
  { env, stdout }: Omit<OperateHost, 'signal'>,
): Promise<boolean> {
  const settings = parseTraceSettings(action, names, raw);
  const output = new LineWriter(stdout, 'stdout');
  const { client, close, sliceId } = await openSystemRedis(raw, env, 'trace');
  try {
    const watch = createTraceWatch(client, { sliceId, deadlineSeconds: DEADLINE_SECONDS });
    const { lines, isDone } = await act(watch, settings);
    for (const line of lines) await output.write(Buffer.from(line));
    await output.flush();
    return isDone;
  } finally {
    close();
  }
}

async function act(watch: TraceWatch, settings: TraceSettings): Promise<{ lines: string[]; isDone: boolean }> {
  if (settings.action === 'list') return { lines: await list(watch, settings.isJson), isDone: true };
  const { projectId, traceId } = settings.trace;
  const name = `trace ${traceId} of project ${projectId}`;
  if (settings.action === 'off') {
    const isDone = await watch.unwatch(settings.trace);
    return { lines: [isDone ? `${name} is no longer watched` : `${name} was not watched`], isDone };
  }
  if (!(await watch.watch(settings.trace, settings.seconds)))
    throw new UsageError(`${MAX_WATCHED_TRACES} traces are watched already, no more can be: see spanbuf trace list`);
  const greppable = `look for "traceId":"${traceId}" in the logs of consumers and flushers`;
  return { lines: [`${name} is watched for ${lasting(settings.seconds)}: ${greppable}`], isDone: true };
}

async function list(watch: TraceWatch, isJson: boolean): Promise<string[]> {
  const watched = await watch.read();
  if (isJson)
    return watched.map(({ projectId, traceId, leftSeconds }) =>
      JSON.stringify({ project_id: projectId, trace_id: traceId, left_seconds: Math.round(leftSeconds) }),
    );
  if (watched.length === 0) return ['no trace is watched'];
  return watched.map(({ projectId, traceId, leftSeconds }) => `${projectId} ${traceId}  for ${lasting(leftSeconds)}`);
}

/** `10m`, `9m 41s`, `1h 30m`. */
function lasting(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  const parts = [
    [Math.floor(whole / 3_600), 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ] as const;
  return parts.flatMap(([count, unit]) => (count > 0 ? [`${count}${unit}`] : [])).join(' ');
}
