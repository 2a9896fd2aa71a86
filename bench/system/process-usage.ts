/** What Linux says of other processes. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Ticks of `/proc/PID/stat` are hundredths of a second on every Linux there is. */
const TICK_SECONDS = 0.01;

/** User and system time of a process since its start, all threads. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may have blanks. User time is the 12th word after it.
  const words = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(words[11]) + Number(words[12])) * TICK_SECONDS;
}

/** The most memory that a process has ever had in use at once. */
export function peakRssBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

/** Of the files of a folder, and of those in it. */
export function folderBytes(folder: string, isCounted: (path: string) => boolean): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(isCounted)
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}
