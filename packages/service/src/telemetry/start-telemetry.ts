import type { Telemetry, TelemetryOptions } from './telemetry.ts';
import { NO_TRACING } from './tracing.ts';

const NO_TELEMETRY: Telemetry = { tracing: NO_TRACING, stop: async () => undefined };

/** OpenTelemetry is loaded only where it is wanted: off, it costs neither time nor memory. */
export async function startTelemetry(isWanted: boolean, options: TelemetryOptions): Promise<Telemetry> {
  if (!isWanted) return NO_TELEMETRY;
  const { startOpenTelemetry } = await import('./open-telemetry.ts');
  return startOpenTelemetry(options);
}
