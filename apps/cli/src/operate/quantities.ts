const KIB = 1_024;
const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const [MINUTE, HOUR, DAY] = [60, 3_600, 86_400] as const;

/** `12.3 MiB` */
export function bytesText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= KIB && unit < BYTE_UNITS.length - 1) [value, unit] = [value / KIB, unit + 1];
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

/** `7.2 s`, `12 min`, `3.4 h`, `2.0 d`: of two digits or more. */
export function durationText(seconds: number): string {
  const size = Math.abs(seconds);
  if (size < 2 * MINUTE) return `${seconds.toFixed(1)} s`;
  if (size < 2 * HOUR) return `${Math.round(seconds / MINUTE)} min`;
  if (size < 2 * DAY) return `${(seconds / HOUR).toFixed(1)} h`;
  return `${(seconds / DAY).toFixed(1)} d`;
}

const LAST_DATE_SECONDS = 8.64e12;

/** UTC, to the second. */
export function timeText(seconds: number): string {
  if (!(Math.abs(seconds) <= LAST_DATE_SECONDS)) return String(seconds);
  return `${new Date(seconds * 1_000).toISOString().replace(/\.\d+Z$/, '')}Z`;
}
