import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Tracing } from './tracing.ts';

/** What a service says of itself to others. */
export interface Telemetry {
  readonly tracing: Tracing;
  /** Sends what is left. Never rejects. */
  stop(): Promise<void>;
}

export interface TelemetryOptions {
  readonly name: string;
  readonly version: string;
  readonly instanceId: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** Goes out as metrics, as it is. */
  readonly registry: Registry;
  /** Unix milliseconds. */
  readonly clockMs: () => number;
}
