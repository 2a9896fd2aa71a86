import { integer, oneOf } from '@spanbuf/service';
import { createRollout, LAYOUTS, type LayoutName, type Rollout } from '@spanbuf/store';
import { LineWriter } from '../line-writer.ts';
import type { OperateHost } from '../operate/operate-host.ts';
import { OptionReader } from '../operate/option-reader.ts';
import { openSystemRedis, type RawRedisOptions } from '../operate/redis-connection.ts';
import { UsageError } from '../settings.ts';
import { checkJson, formatCheck, formatStatus, statusJson } from './rollout-text.ts';

/** Options of `spanbuf rollout` as they stand on the command line. */
export interface RawRolloutSettings extends RawRedisOptions {
  readonly sample?: string | undefined;
  readonly json?: boolean | undefined;
}

/** How long Redis may stay away while it is worked with. */
const DEADLINE_SECONDS = 10;
const MOST_SAMPLE = 10_000;

/**
 * `spanbuf rollout status`, or `check` with a layout.
 * @returns Whether the layout can be entered; `true` for a status.
 * @throws UsageError, FileError, or what the store throws when Redis cannot be used.
 */
export async function runRollout(
  action: 'status' | 'check',
  layoutText: string | undefined,
  raw: RawRolloutSettings,
  { env, stdout }: OperateHost,
): Promise<boolean> {
  const { sample, layout } = parse(layoutText, raw);
  const output = new LineWriter(stdout, 'stdout');
  const { client, close, sliceId, clockGraceSeconds } = await openSystemRedis(raw, env, 'rollout');
  const say = async (lines: readonly string[]): Promise<void> => {
    for (const line of lines) await output.write(Buffer.from(line));
    await output.flush();
  };
  try {
    const rollout = createRollout(client, { sliceId, deadlineSeconds: DEADLINE_SECONDS });
    const query = { sample, graceSeconds: clockGraceSeconds };
    if (action === 'status') {
      const status = await rollout.readStatus(query);
      await say(raw.json === true ? [statusJson(status)] : formatStatus(status));
      return true;
    }
    const check = await rollout.check(layout ?? (await nextLayout(rollout)), query);
    await say(raw.json === true ? [checkJson(check)] : formatCheck(check));
    return check.isSafe;
  } finally {
    close();
  }
}

/** @throws {@link UsageError} where it cannot be told. */
async function nextLayout(rollout: Rollout): Promise<LayoutName> {
  const { processes } = await rollout.readStatus({ sample: 0 });
  const running = [...new Set(processes.map(({ layout }) => layout))];
  const [only, ...others] = running;
  if (only === undefined) throw new UsageError('no process has announced itself: name the layout to enter');
  if (others.length > 0) throw new UsageError(`several layouts run (${running.join(', ')}): name the one to enter`);
  const next = LAYOUTS[LAYOUTS.indexOf(only) + 1];
  if (next === undefined) throw new UsageError(`${only} is the last layout: name the one to enter`);
  return next;
}

/** @throws UsageError with every problem, on one line. */
function parse(layoutText: string | undefined, { sample }: RawRolloutSettings) {
  const reader = new OptionReader();
  const settings = {
    layout: layoutText === undefined ? undefined : reader.read('LAYOUT', oneOf(LAYOUTS), layoutText),
    sample: sample === undefined ? undefined : reader.read('--sample', integer(0, MOST_SAMPLE), sample),
  };
  reader.end();
  return settings;
}
