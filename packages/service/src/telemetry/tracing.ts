/** Values that describe a span. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** A span under way. */
export interface ActiveSpan {
  /** Says more of it, before it ends. */
  set(attributes: SpanAttributes): void;
}

export interface SpanOptions {
  readonly attributes?: SpanAttributes;
  /** Where its messages come from, or go to; otherwise it is internal. */
  readonly kind?: 'consumer' | 'producer';
  /** Unix milliseconds; now when absent. */
  readonly startMs?: number;
}

/** Spans of the service's own work. Without OpenTelemetry it does nothing but call the task. */
export interface Tracing {
  /**
   * Runs `task` in a span, a child of the one it is called in. The span ends with the task; where that rejects it is marked as
   * failed. For steps of whole batches, never for single messages or commands.
   */
  span<T>(name: string, options: SpanOptions, task: (span: ActiveSpan) => Promise<T>): Promise<T>;
}

const NO_SPAN: ActiveSpan = { set: () => undefined };

export const NO_TRACING: Tracing = { span: (_name, _options, task) => task(NO_SPAN) };
