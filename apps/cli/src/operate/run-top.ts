import { setTimeout as sleep } from 'node:timers/promises';
import { createInspector, type Inspector } from '@spanbuf/store';
import { LineWriter } from '../line-writer.ts';
import { showLive } from './live-screen.ts';
import { RateWindow } from './message-rates.ts';
import type { LiveHost } from './operate-host.ts';
import { orOutage } from './outage-frame.ts';
import { openSystemRedis } from './redis-connection.ts';
import { parseTopSettings, type RawTopSettings } from './top-settings.ts';
import { formatTop, rowsOfLists, type TopFrame } from './top-text.ts';

/** How long Redis may stay away while it is looked at. */
const DEADLINE_SECONDS = 5;
/** Shards, projects and traces of a frame that is printed. */
const PRINTED_ROWS = 10;

/**
 * `spanbuf top`.
 * @throws UsageError, FileError, or what the inspector throws when Redis cannot be used; on a terminal an outage is shown instead.
 */
export async function runTop(raw: RawTopSettings, host: LiveHost): Promise<void> {
  const { isOnce, intervalSeconds, sampleSize } = parseTopSettings(raw);
  const { env, stdout, signal, monotonicMs } = host;
  const { client, close, sliceId, clockGraceSeconds } = await openSystemRedis(raw, env, 'top');
  try {
    const inspector = createInspector(client, { sliceId, clockGraceSeconds, deadlineSeconds: DEADLINE_SECONDS });
    const reader = new FrameReader(inspector, sampleSize, monotonicMs);
    if (stdout.isTTY === true && !isOnce) {
      await showLive(host, intervalSeconds, ({ rows }) =>
        orOutage(async () => {
          const frame = await reader.read();
          return formatTop(frame, rowsOfLists(rows, frame.nodes.length));
        }),
      );
      return;
    }
    await reader.readRates();
    await sleep(intervalSeconds * 1_000, undefined, { signal });
    const output = new LineWriter(stdout, 'stdout');
    for (const line of formatTop(await reader.read(), PRINTED_ROWS)) await output.write(Buffer.from(line));
    await output.flush();
  } finally {
    close();
  }
}

/** Reads what a frame shows. */
class FrameReader {
  readonly #inspector: Inspector;
  readonly #sampleSize: number;
  readonly #monotonicMs: () => number;
  readonly #rates = new RateWindow();

  constructor(inspector: Inspector, sampleSize: number, monotonicMs: () => number) {
    this.#inspector = inspector;
    this.#sampleSize = sampleSize;
    this.#monotonicMs = monotonicMs;
  }

  async read(): Promise<TopFrame> {
    const { queues, ...books } = await this.readRates();
    const [nodes, sample] = await Promise.all([
      this.#inspector.readNodes(),
      this.#inspector.sampleQueues(queues, this.#sampleSize),
    ]);
    return { queues, nodes, sample, ...books };
  }

  /** Begins the window of the rates, or goes on with it. */
  async readRates(): Promise<Omit<TopFrame, 'nodes' | 'sample'>> {
    const queues = await this.#inspector.readQueues();
    const totals = await this.#inspector.readTotals(queues.shards.map(({ shard }) => shard));
    return {
      queues,
      rates: this.#rates.add(this.#monotonicMs(), totals),
      hasBooks: totals.length > 0,
      openCount: totals.reduce((sum, { openCount }) => sum + openCount, 0),
    };
  }
}
