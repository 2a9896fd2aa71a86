import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** One metric, as it is documented and exposed. Names carry the unit: `…_seconds`, `…_bytes`, `…_total`. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** One sentence. */
  readonly help: string;
  readonly labels?: readonly string[];
  /**
   * Of a counter or gauge with one label: the values that it is known to have. They begin at 0; a series that begins with its
   * first event hides that event from `increase` and `rate`.
   */
  readonly values?: readonly string[];
  /** Upper bounds; of a histogram only. */
  readonly buckets?: readonly number[];
}

/** Property name -> metric. `registry` and `ready` are taken. */
export type MetricDefinitions = Readonly<Record<string, MetricDefinition>> & {
  readonly registry?: never;
  readonly ready?: never;
};

/** Metrics by property name, `spanbuf_ready`, and the registry that holds them beside those of Node itself. */
export type Metrics<D extends MetricDefinitions> = {
  readonly [K in Exclude<keyof D, 'registry' | 'ready'>]: MetricOf<D[K]>;
} & { readonly registry: Registry; readonly ready: Gauge };

/** Names of the labels of a definition. */
export type LabelsOf<D> = D extends { readonly labels: readonly (infer L extends string)[] } ? L : never;

/** What a definition becomes. */
export type MetricOf<D> = D extends { readonly type: 'counter' }
  ? Counter<LabelsOf<D>>
  : D extends { readonly type: 'gauge' }
    ? Gauge<LabelsOf<D>>
    : Histogram<LabelsOf<D>>;

/** Of every app, set when it is asked for: gauges of an app that does not get on stay as they were. */
const READY = { name: 'spanbuf_ready', help: '1 while /readyz says ready, else 0. While it is 0, gauges may be old.' };

/** Makes the metrics in a registry of their own. Those without labels begin at 0, and so do the values that a label is known to have. */
export function createMetrics<const D extends MetricDefinitions>(definitions: D): Metrics<D> {
  const registry = new Registry();
  const metrics: Record<string, unknown> = { registry, ready: new Gauge({ ...READY, registers: [registry] }) };
  for (const [property, definition] of Object.entries<MetricDefinition>(definitions)) {
    const { name, type, help, labels = [], values = [], buckets } = definition;
    const configuration = { name, help, labelNames: [...labels], registers: [registry] };
    if (type === 'histogram') {
      metrics[property] = new Histogram({ ...configuration, ...(buckets && { buckets: [...buckets] }) });
      continue;
    }
    const metric = type === 'counter' ? new Counter(configuration) : new Gauge(configuration);
    for (const value of values) metric.inc({ [labels[0] as string]: value }, 0);
    metrics[property] = metric;
  }
  collectDefaultMetrics({ register: registry });
  return metrics as Metrics<D>;
}
