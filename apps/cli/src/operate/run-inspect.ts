import { createInspector } from '@spanbuf/store';
import { NotFoundError } from '../exit.ts';
import { LineWriter } from '../line-writer.ts';
import { inspectedJson } from './inspect-json.ts';
import { parseInspectSettings, type RawInspectSettings } from './inspect-settings.ts';
import { formatInspected } from './inspect-text.ts';
import type { OperateHost } from './operate-host.ts';
import { openSystemRedis } from './redis-connection.ts';

/** How long Redis may stay away while it is looked at. */
const DEADLINE_SECONDS = 10;

/**
 * `spanbuf inspect`.
 * @throws NotFoundError where Redis knows nothing of the trace; UsageError, FileError, or what the inspector throws when Redis
 * cannot be used.
 */
export async function runInspect(
  project: string,
  traceText: string,
  raw: RawInspectSettings,
  { env, stdout }: OperateHost,
): Promise<void> {
  const { trace, mostPayloads, isJson } = parseInspectSettings(project, traceText, raw);
  const output = new LineWriter(stdout, 'stdout');
  const { client, close, sliceId, clockGraceSeconds } = await openSystemRedis(raw, env, 'inspect');
  try {
    const inspector = createInspector(client, { sliceId, clockGraceSeconds, deadlineSeconds: DEADLINE_SECONDS });
    const inspected = await inspector.inspectTrace(trace, { mostPayloads });
    if (inspected === undefined) {
      const { projectId, traceId } = trace;
      throw new NotFoundError(
        `nothing is known of trace ${traceId} of project ${projectId}: nothing of it came, or it was flushed and its dedupe window is over`,
      );
    }
    const lines = isJson
      ? [inspectedJson(inspected)]
      : formatInspected(inspected, { sliceId }).map((line) => Buffer.from(line));
    for (const line of lines) await output.write(line);
    await output.flush();
  } finally {
    close();
  }
}
