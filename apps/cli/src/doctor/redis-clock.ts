import type { Redis } from 'ioredis';

export interface ClockReading {
  /** By how much the clock of the server is ahead of ours; negative where it is behind. */
  readonly aheadSeconds: number;
  /** It may be as much more or less: the answer was so long on its way. */
  readonly uncertainSeconds: number;
}

const READINGS = 5;

/** Asks a server for its time, some times: of these the answer that came quickest says most. */
export async function readClock(client: Redis, clockMs: () => number): Promise<ClockReading> {
  const readings: ClockReading[] = [];
  for (let i = 0; i < READINGS; i++) {
    const sentMs = clockMs();
    const [seconds, micros] = (await client.time()).map(Number) as [number, number];
    const gotMs = clockMs();
    const serverMs = seconds * 1_000 + micros / 1_000;
    readings.push({
      aheadSeconds: (serverMs - (sentMs + gotMs) / 2) / 1_000,
      uncertainSeconds: Math.max(0, gotMs - sentMs) / 2_000,
    });
  }
  return readings.reduce((best, each) => (each.uncertainSeconds < best.uncertainSeconds ? each : best));
}
