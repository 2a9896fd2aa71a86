import { setTimeout as sleep } from 'node:timers/promises';
import { createInspector, type QueueReport } from '@spanbuf/store';
import { LineWriter } from '../line-writer.ts';
import { showLive } from './live-screen.ts';
import type { LiveHost } from './operate-host.ts';
import { orOutage } from './outage-frame.ts';
import { queuesJson } from './queues-json.ts';
import { parseQueuesSettings, type RawQueuesSettings } from './queues-settings.ts';
import { formatQueues } from './queues-text.ts';
import { openSystemRedis } from './redis-connection.ts';

/** How long Redis may stay away while it is looked at. */
const DEADLINE_SECONDS = 5;

/**
 * `spanbuf queues`.
 * @throws UsageError, FileError, or what the inspector throws when Redis cannot be used; on a terminal that is watched, an
 * outage is shown instead.
 */
export async function runQueues(raw: RawQueuesSettings, host: LiveHost): Promise<void> {
  const { isWatching, intervalSeconds, isJson } = parseQueuesSettings(raw);
  const { env, stdout, signal } = host;
  const { client, close, sliceId, clockGraceSeconds } = await openSystemRedis(raw, env, 'queues');
  try {
    const inspector = createInspector(client, { sliceId, clockGraceSeconds, deadlineSeconds: DEADLINE_SECONDS });
    if (isWatching && !isJson && stdout.isTTY === true) {
      await showLive(host, intervalSeconds, () => orOutage(async () => formatQueues(await inspector.readQueues())));
      return;
    }
    const output = new LineWriter(stdout, 'stdout');
    const print = async (report: QueueReport): Promise<void> => {
      const lines = isJson ? [queuesJson(report)] : formatQueues(report).map((line) => Buffer.from(line));
      for (const line of lines) await output.write(line);
      await output.flush();
    };
    await print(await inspector.readQueues());
    while (isWatching && !signal.aborted) {
      await sleep(intervalSeconds * 1_000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) break;
      const report = await inspector.readQueues();
      if (!isJson) await output.write(Buffer.alloc(0));
      await print(report);
    }
  } finally {
    close();
  }
}
