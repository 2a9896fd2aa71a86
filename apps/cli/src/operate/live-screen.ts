import { setTimeout as sleep } from 'node:timers/promises';
import type { LiveHost } from './operate-host.ts';

const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE_END = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
const QUIT_KEYS = ['q', 'Q', '\x03'];

/** What a frame has room for. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

/**
 * Shows one frame after the other on a terminal, each in the place of the one before, until somebody presses q or Ctrl-C, or the
 * signal comes. The screen is as it was afterwards, however it ends.
 * @param frame - Lines of the next frame; those that there is no room for are cut off.
 */
export async function showLive(
  host: LiveHost,
  intervalSeconds: number,
  frame: (size: ScreenSize) => Promise<readonly string[]>,
): Promise<void> {
  const { stdin, stdout, signal } = host;
  const quit = new AbortController();
  const stopped = AbortSignal.any([signal, quit.signal]);
  const onKey = (key: Buffer): void => {
    if (QUIT_KEYS.includes(String(key))) quit.abort();
  };
  const hasKeys = stdin.isTTY === true;
  if (hasKeys) stdin.setRawMode(true).on('data', onKey).resume();
  stdout.write(ENTER);
  try {
    while (!stopped.aborted) {
      const size = { columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 };
      const lines = (await frame(size)).slice(0, size.rows).map((line) => cut(line, size.columns) + CLEAR_LINE_END);
      if (!stopped.aborted) stdout.write(HOME + lines.join('\r\n') + CLEAR_BELOW);
      await sleep(intervalSeconds * 1_000, undefined, { signal: stopped }).catch(() => undefined);
    }
  } finally {
    stdout.write(LEAVE);
    if (hasKeys) stdin.off('data', onKey).setRawMode(false).pause();
  }
}

function cut(line: string, columns: number): string {
  const characters = [...line];
  return characters.length > columns ? `${characters.slice(0, columns - 1).join('')}…` : line;
}
