import type { Logger } from 'pino';

/** Names a trace. */
export interface WatchedRef {
  readonly projectId: string;
  readonly traceId: string;
}

/** What is logged beside the trace and the step. No `bigint`: JSON has none. */
export type StepFacts = Readonly<Record<string, unknown>>;

/**
 * Logs every step in the life of a few traces, whatever the level of the log is. While none is watched, whoever has something
 * to log asks {@link isOn} and goes on.
 */
export class TraceLog {
  readonly #log: Logger;
  #watched: ReadonlySet<string> = new Set();

  constructor(log: Logger) {
    this.#log = log.child({}, { level: 'debug' });
  }

  get isOn(): boolean {
    return this.#watched.size > 0;
  }

  isWatched(trace: WatchedRef): boolean {
    return this.isOn && this.#watched.has(nameOf(trace));
  }

  /** Those that are watched. */
  get traces(): readonly WatchedRef[] {
    return [...this.#watched].map(refOf);
  }

  /** Watches these, and no others. Says of each that comes or goes that it does. */
  follow(traces: readonly (WatchedRef & { readonly leftSeconds: number })[]): void {
    if (traces.length === 0 && !this.isOn) return;
    const before = this.#watched;
    this.#watched = new Set(traces.map(nameOf));
    for (const { leftSeconds, ...trace } of traces) {
      if (!before.has(nameOf(trace))) this.note(trace, { step: 'watched', leftSeconds: Math.round(leftSeconds) });
    }
    for (const name of before) {
      if (!this.#watched.has(name)) this.#write(refOf(name), { step: 'unwatched' });
    }
  }

  /** Logs a step of a trace, unless it is not watched. */
  note(trace: WatchedRef, facts: { readonly step: string } & StepFacts): void {
    if (this.isWatched(trace)) this.#write(trace, facts);
  }

  #write({ projectId, traceId }: WatchedRef, facts: { readonly step: string } & StepFacts): void {
    this.#log.debug({ projectId, traceId, ...facts }, 'step of a watched trace');
  }
}

function nameOf({ projectId, traceId }: WatchedRef): string {
  return `${projectId}:${traceId}`;
}

function refOf(name: string): WatchedRef {
  const [projectId, traceId] = name.split(':') as [string, string];
  return { projectId, traceId };
}
